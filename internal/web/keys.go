package web

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/keyturn/keyturn"
)

// keyPage is what is known of keys that must be kept.
type keyPage struct {
	Rows              []keyRow
	Which             string // "old", "all" or "bad"
	Tabs              []tab
	Target, Unit, Key string
	Audits            []keyturn.KeyAudit
	Older             string
	Now               time.Time
}

// keyRow is a key in the list.
type keyRow struct {
	keyturn.RetainedKey
	Safe chip
	May  string // the page that asks whether it may go; empty: a unit uses it
	More int    // uses that are not shown
}

// keyUses is how many of a key's units are named.
const keyUses = 3

func (s *Site) keys(ctx context.Context, v *visit) (*view, error) {
	in := v.URL.Query()
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	page := keyPage{
		Which: oneOf(in.Get("which"), "old", "all", "bad"), Target: in.Get("target"), Unit: in.Get("unit"), Key: in.Get("key"), Now: now,
	}
	q := url.Values{"limit": {"50"}}
	for _, name := range []string{"target", "unit", "key", "after"} {
		if value := in.Get(name); value != "" {
			q.Set(name, value)
		}
	}
	switch page.Which {
	case "old":
		q.Set("old", "true")
	case "bad":
		q.Set("bad", "true")
		q.Del("unit")
		q.Del("key")
	}
	found, err := list[keyturn.RetainedKey](ctx, v, "/keys?"+q.Encode())
	if err != nil {
		return nil, err
	}
	for _, k := range found.Items {
		row := keyRow{RetainedKey: k, Safe: safeChip(k, now)}
		if !k.InUse {
			row.May = retirePath(k)
		}
		if len(k.Units) > keyUses {
			row.More, row.Units = len(k.Units)-keyUses, k.Units[:keyUses]
		}
		page.Rows = append(page.Rows, row)
	}
	if found.Next != "" {
		page.Older = "/keys" + with(in, "after", found.Next)
	}
	for _, which := range []string{"old", "all", "bad"} {
		first := url.Values{"target": {page.Target}, "unit": {page.Unit}, "key": {page.Key}}
		page.Tabs = append(page.Tabs, tab{
			Title: map[string]string{"old": "Old", "all": "All", "bad": "Gone or inactive"}[which], Link: "/keys" + with(first, "which", which), On: which == page.Which,
		})
	}
	audits, err := list[keyturn.KeyAudit](ctx, v, "/key-audits")
	if err != nil {
		return nil, err
	}
	page.Audits = audits.Items
	return &view{Title: "Keys", Nav: "keys", Template: "keys", Fragment: "key-list", Data: page, Wide: true}, nil
}

// safeChip says whether a key may go, as far as snapshots are known.
func safeChip(k keyturn.RetainedKey, now time.Time) chip {
	switch {
	case k.InUse:
		return chip{Tone: toneBusy, Icon: "key", Text: "in use"}
	case k.SafeToRetireAt == nil:
		return chip{Tone: toneWarn, Icon: "warn", Text: "not known"}
	case k.SafeToRetireAt.After(now):
		return chip{Tone: toneNeutral, Icon: "clock", Text: "needed"}
	default:
		return chip{Tone: toneOK, Icon: "check", Text: "not needed"}
	}
}

func (s *Site) askAuditKeys(_ context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	return v.form(ask{
		Title: "Ask the key server of " + name + " now?", Nav: "keys", Button: "Ask now", Back: "/keys?target=" + url.QueryEscape(name),
		What: []string{"Its KMIP server is asked about every key of the history: whether it is there, and in which state. Nothing is changed."},
	}), nil
}

func (s *Site) auditKeys(ctx context.Context, v *visit) (done, error) {
	name := v.PathValue("name")
	err := v.call(ctx, http.MethodPost, "/targets/"+url.PathEscape(name)+"/audit-keys", nil, nil)
	return done{To: "/keys?target=" + url.QueryEscape(name), Message: "The key server is asked soon."}, err
}

// lifeChip says in which state its server has a key.
func lifeChip(l keyturn.KeyLife) chip {
	tone := toneWarn
	switch l {
	case keyturn.KeyActive, keyturn.KeyPreActive:
		tone = toneOK
	case keyturn.KeyMissing, keyturn.KeyDestroyed, keyturn.KeyCompromised:
		tone = toneBad
	case keyturn.KeyDisabled, keyturn.KeyUnclear:
		tone = toneNeutral
	case keyturn.KeyDeactivated:
	}
	return chip{Tone: tone, Icon: toneIcon(tone), Text: string(l)}
}
