package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// silenceRow is a silence in a list.
type silenceRow struct {
	keyturn.Silence
	State string // "active", "planned" or "over"
}

type alertsPage struct {
	Rows                 []keyturn.Alert
	State                keyturn.AlertState
	Kind, Policy, Target string
	Kinds                []keyturn.AlertKind
	Silences             []silenceRow
	Older                string
	Now                  time.Time
	Filtered             bool
}

func (s *Site) alerts(ctx context.Context, v *visit) (*view, error) {
	in := v.URL.Query()
	q := url.Values{"limit": {"100"}}
	for _, name := range []string{"state", "kind", "policy", "target", "after"} {
		if value := in.Get(name); value != "" {
			q.Set(name, value)
		}
	}
	found, err := list[keyturn.Alert](ctx, v, "/alerts?"+q.Encode())
	if err != nil {
		return nil, err
	}
	page := alertsPage{
		Rows: found.Items, State: keyturn.AlertState(in.Get("state")), Kind: in.Get("kind"), Policy: in.Get("policy"), Target: in.Get("target"),
		Kinds: keyturn.AlertKinds(), Now: s.Now(),
	}
	page.Filtered = string(page.State)+page.Kind+page.Policy+page.Target != ""
	if found.Next != "" {
		in.Set("after", found.Next)
		page.Older = "/alerts?" + in.Encode()
	}
	silences, err := list[keyturn.Resource](ctx, v, "/silences")
	if err != nil {
		return nil, err
	}
	for _, r := range silences.Items {
		row, err := silenceOf(r, page.Now)
		if err != nil {
			return nil, err
		}
		page.Silences = append(page.Silences, row)
	}
	return &view{Title: "Alerts", Nav: "alerts", Template: "alerts", Fragment: "alert-list", Data: page}, nil
}

func silenceOf(r keyturn.Resource, now time.Time) (silenceRow, error) {
	silence, err := resource.SilenceOf(r)
	if err != nil {
		return silenceRow{}, err
	}
	row := silenceRow{Silence: silence, State: "over"}
	row.Name = r.Name
	switch {
	case row.Active(now):
		row.State = "active"
	case row.StartsAt != nil && now.Before(*row.StartsAt):
		row.State = "planned"
	}
	return row, nil
}

type alertPage struct {
	keyturn.Alert
	History []keyturn.AlertChange
	Now     time.Time
	Link    string // to what it is about
	Word    string // of the link
}

func (s *Site) alert(ctx context.Context, v *visit) (*view, error) {
	page := alertPage{Now: s.Now()}
	var stored struct {
		keyturn.Alert
		History []keyturn.AlertChange `json:"history"`
	}
	if err := v.get(ctx, "/alerts/"+url.PathEscape(v.PathValue("id")), &stored); err != nil {
		return nil, err
	}
	page.Alert, page.History = stored.Alert, stored.History
	page.Link, page.Word = subjectLink(stored.Alert)
	return &view{Title: "Alert", Nav: "alerts", Template: "alert", Data: page}, nil
}

// subjectLink leads to what an alert is about.
func subjectLink(a keyturn.Alert) (link, word string) {
	subject := url.PathEscape(a.Subject)
	switch a.Kind {
	case keyturn.AlertKeyAge, keyturn.AlertKeyDueSoon, keyturn.AlertKeyDrift:
		return "/units/" + subject, "The unit"
	case keyturn.AlertTaskParked:
		return "/tasks/" + subject, "The task"
	case keyturn.AlertRotationStuck:
		return "/rotations/" + subject, "The rotation"
	case keyturn.AlertRotationFailed, keyturn.AlertRotationPartial, keyturn.AlertPolicyMissed:
		return "/policies/" + subject, "The policy"
	case keyturn.AlertTargetUnreachable, keyturn.AlertCredentialsRejected:
		return "/targets/" + subject, "The target"
	case keyturn.AlertWebhookFailing:
		return "/webhooks/" + subject, "The webhook"
	case keyturn.AlertKeyMissing, keyturn.AlertKeyDeactivated, keyturn.AlertKeyOrphan:
		target, key, _ := strings.Cut(a.Subject, "/")
		return "/keys?" + url.Values{"which": {"all"}, "target": {target}, "key": {key}}.Encode(), "The key"
	case keyturn.AlertExternal:
		hook, _, _ := strings.Cut(a.Subject, "/")
		return "/incoming/" + url.PathEscape(hook), "The hook"
	default:
		if a.Policy != "" {
			return "/policies/" + url.PathEscape(a.Policy), "The policy"
		}
		return "", ""
	}
}

// readAlert reads the alert of the address.
func (v *visit) readAlert(ctx context.Context) (keyturn.Alert, error) {
	var a keyturn.Alert
	return a, v.get(ctx, "/alerts/"+url.PathEscape(v.PathValue("id")), &a)
}

func (s *Site) askAck(ctx context.Context, v *visit) (*view, error) {
	a, err := v.readAlert(ctx)
	if err != nil {
		return nil, err
	}
	return v.form(ask{
		Title: "Acknowledge this alert?", Nav: "alerts", Button: "Acknowledge", Back: "/alerts/" + a.ID.String(),
		What: []string{"You say that you care for it. Nobody is reminded of it until it gets worse, or your time is over. It ends when what it is about ends."},
		Facts: []fact{
			{"Alert", a.Message}, {"About", a.Subject},
		},
		Fields: []field{
			{Name: "note", Label: "What is being done", Kind: fieldText},
			{Name: "for", Label: "For how long", Kind: fieldText, Max: 40, Help: "such as 4h or 2d; empty: as long as it lasts"},
			{Name: "group", Label: "Which alerts", Kind: fieldChoice, Value: "", Options: []option{
				{Value: "", Label: "Only this one"},
				{Value: "yes", Label: "All open alerts of its group", Help: "of the same kind, policy and target"},
			}},
		},
	}), nil
}

func (s *Site) ack(ctx context.Context, v *visit) (done, error) {
	body := map[string]any{"note": v.PostFormValue("note"), "group": v.PostFormValue("group") == "yes"}
	if span := v.PostFormValue("for"); span != "" {
		body["for"] = span
	}
	path := "/alerts/" + url.PathEscape(v.PathValue("id"))
	return done{To: path, Message: "Acknowledged."}, v.call(ctx, http.MethodPost, path+"/ack", body, nil)
}

func (s *Site) askSilence(ctx context.Context, v *visit) (*view, error) {
	a, err := v.readAlert(ctx)
	if err != nil {
		return nil, err
	}
	return v.form(ask{
		Title: "Silence alerts like this?", Nav: "alerts", Button: "Silence", Back: "/alerts/" + a.ID.String(),
		What: []string{
			"A silence is applied: alerts that match it are still listed, but nobody is told of them until it ends.",
			"It needs the role admin, like everything that is applied.",
		},
		Facts: []fact{{"Alert", a.Message}},
		Fields: []field{
			{Name: "which", Label: "Which alerts", Kind: fieldChoice, Value: "subject", Required: true, Options: []option{
				{Value: "subject", Label: "Only about " + a.Subject, Help: "of the kind " + string(a.Kind)},
				{Value: "group", Label: "All of the kind " + string(a.Kind), Help: groupText(a)},
			}},
			{Name: "for", Label: "For how long", Kind: fieldText, Value: "4h", Max: 40, Required: true, Help: "such as 4h or 2d"},
			{Name: "reason", Label: "Why", Kind: fieldText, Required: true},
			{Name: "name", Label: "Name", Kind: fieldText, Value: "silence-" + a.ID.String()[24:], Max: 100, Required: true, Help: "of the silence"},
		},
	}), nil
}

func groupText(a keyturn.Alert) string {
	var of []string
	if a.Policy != "" {
		of = append(of, "policy "+a.Policy)
	}
	if a.Target != "" {
		of = append(of, "target "+a.Target)
	}
	if len(of) == 0 {
		return ""
	}
	return "of " + strings.Join(of, " and ")
}

func (s *Site) silence(ctx context.Context, v *visit) (done, error) {
	a, err := v.readAlert(ctx)
	if err != nil {
		return done{}, err
	}
	span, err := keyturn.ParseDuration(v.PostFormValue("for"))
	if err != nil || span <= 0 {
		return done{}, &apiError{Status: http.StatusUnprocessableEntity, Detail: "for how long: write a time such as 4h or 2d"}
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return done{}, err
	}
	silence := keyturn.Silence{
		Match: keyturn.SilenceMatch{Kinds: []string{string(a.Kind)}}, EndsAt: now.Add(span.Std()).UTC().Truncate(time.Second), Reason: v.PostFormValue("reason"),
	}
	if v.PostFormValue("which") == "group" {
		if a.Policy != "" {
			silence.Match.Policies = []string{a.Policy}
		}
		if a.Target != "" {
			silence.Match.Targets = []string{a.Target}
		}
	} else {
		silence.Match.Subjects = []string{a.Subject}
	}
	name := v.PostFormValue("name")
	if err := v.get(ctx, "/silences/"+url.PathEscape(name), nil); err == nil {
		return done{}, &apiError{Status: http.StatusConflict, Detail: "there is a silence " + name + " already: take another name"}
	}
	body := map[string]any{"resources": []map[string]any{{"apiVersion": resource.APIVersion, "kind": keyturn.KindSilence, "name": name, "spec": silence}}}
	return done{To: "/alerts", Message: "Silence " + name + " is applied."}, v.call(ctx, http.MethodPost, "/apply", body, nil)
}

type silencePage struct {
	silenceRow
	Source source
}

func (s *Site) silencePage(ctx context.Context, v *visit) (*view, error) {
	var stored keyturn.Resource
	if err := v.get(ctx, "/silences/"+url.PathEscape(v.PathValue("name")), &stored); err != nil {
		return nil, err
	}
	row, err := silenceOf(stored, s.Now())
	if err != nil {
		return nil, err
	}
	page := silencePage{silenceRow: row}
	if page.Source, err = sourceOf(stored); err != nil {
		return nil, err
	}
	return &view{Title: "Silence " + stored.Name, Nav: "alerts", Template: "silence", Data: page}, nil
}
