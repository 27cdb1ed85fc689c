package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// retirePath is where the page asks whether a key may be disabled.
func retirePath(k keyturn.RetainedKey) string {
	return "/keys/retire?" + url.Values{"target": {k.Target}, "key": {k.KeyID}}.Encode()
}

// keyPath is where the list shows one key.
func keyPath(target, key string) string {
	return "/keys?" + url.Values{"which": {"all"}, "target": {target}, "key": {key}}.Encode()
}

// askRetire asks the target whether a key may go, and if it may, whether it shall.
func (s *Site) askRetire(ctx context.Context, v *visit) (*view, error) {
	target, key := v.FormValue("target"), v.FormValue("key")
	found, err := list[keyturn.Retirement](ctx, v, "/keys/retirement?"+query("name", key, "target", target))
	if err != nil {
		return nil, err
	}
	if len(found.Items) != 1 || found.Items[0].Key.KeyID != key {
		return nil, &apiError{Status: http.StatusNotFound, Detail: "there is no such key any more; the list of keys says which there are"}
	}
	r := found.Items[0]
	a := ask{
		Title: "Disable this key?", Nav: "keys", Danger: true, Back: keyPath(target, key), Hidden: map[string]string{"target": target, "key": key},
		What:  []string{sentence(r.Message)},
		Facts: []fact{{"Key", key}, {"Target", target}},
	}
	for _, need := range r.Needs {
		a.Facts = append(a.Facts, fact{"Needed", need})
	}
	for _, unknown := range r.Unknowns {
		a.Facts = append(a.Facts, fact{"Not known", unknown})
	}
	if r.Advice != "" {
		a.Facts = append(a.Facts, fact{"What to do", r.Advice})
	}
	if state := r.Key.State; state != nil && state.State == keyturn.KeyDisabled {
		a.Facts = append(a.Facts, fact{"State", "disabled, as seen last on " + state.SeenAt.UTC().Format(time.DateOnly)})
	}
	switch {
	case !r.Allowed(true):
		a.Title = "This key is not disabled from here"
	case !v.session.Role.Covers(keyturn.RoleAdmin):
		a.Title = "May this key be disabled?"
		a.What = append(a.What, "Somebody with the role admin may disable it here.")
	default:
		a.Button = "Disable the key"
		a.What = append(a.What, "The key is disabled in its key service, and never deleted: should a snapshot turn up that needs it, it can be enabled again there.")
		if len(r.Unknowns) > 0 {
			a.Fields = append(a.Fields, field{Name: "unknown", Label: "What is not known", Kind: fieldChoice, Required: true, Options: []option{
				{Value: "accept", Label: "I accept it", Help: "What is known to need a key always keeps it."},
			}})
		}
		a.Fields = append(a.Fields, reasonOf("Is kept in the audit."))
	}
	return v.form(a), nil
}

func (s *Site) retire(ctx context.Context, v *visit) (done, error) {
	target, key := v.PostFormValue("target"), v.PostFormValue("key")
	in := map[string]any{"name": key, "target": target, "acceptUnknown": v.PostFormValue("unknown") == "accept", "reason": v.PostFormValue("reason")}
	var out listing[keyturn.Retirement]
	if err := v.call(ctx, http.MethodPost, "/keys/retirement", in, &out); err != nil {
		return done{}, err
	}
	var kept []string
	for _, r := range out.Items {
		if r.DisabledAt == nil {
			kept = append(kept, r.Message)
		}
	}
	if len(out.Items) == 0 || len(kept) > 0 {
		return done{}, &apiError{Status: http.StatusConflict, Detail: "the key stays: " + strings.Join(kept, "; ")}
	}
	return done{To: keyPath(target, key), Message: "The key is disabled."}, nil
}
