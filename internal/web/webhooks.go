package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// webhookRow is a webhook in a list.
type webhookRow struct {
	keyturn.Webhook
	Name   string
	Host   string // of its URL; empty: the URL is a reference
	Status keyturn.WebhookState
	State  string // "ok", "failing", "paused" or "gone"
}

type hookRow struct {
	keyturn.Hook
	Name string
}

type webhooksPage struct {
	Rows  []webhookRow
	Hooks []hookRow
	Now   time.Time
}

func webhookRowOf(r keyturn.Resource) (webhookRow, error) {
	hook, err := resource.WebhookOf(r)
	if err != nil {
		return webhookRow{}, err
	}
	row := webhookRow{Webhook: hook, Name: r.Name, State: "ok"}
	if u, err := url.Parse(hook.URL); err == nil && u.Host != "" {
		row.Host = u.Host // the path may be a secret
	}
	if r.Status.Webhook != nil {
		row.Status = *r.Status.Webhook
	}
	switch {
	case hook.Paused:
		row.State = "paused"
	case row.Status.Gone:
		row.State = "gone"
	case row.Status.FailingSince != nil:
		row.State = "failing"
	}
	return row, nil
}

func (s *Site) webhooks(ctx context.Context, v *visit) (*view, error) {
	page := webhooksPage{Now: s.Now()}
	stored, err := list[keyturn.Resource](ctx, v, "/webhooks")
	if err != nil {
		return nil, err
	}
	for _, r := range stored.Items {
		row, err := webhookRowOf(r)
		if err != nil {
			return nil, err
		}
		page.Rows = append(page.Rows, row)
	}
	hooks, err := list[keyturn.Resource](ctx, v, "/hooks")
	if err != nil {
		return nil, err
	}
	for _, r := range hooks.Items {
		hook, err := resource.HookOf(r)
		if err != nil {
			return nil, err
		}
		page.Hooks = append(page.Hooks, hookRow{Hook: hook, Name: r.Name})
	}
	return &view{Title: "Webhooks", Nav: "webhooks", Template: "webhooks", Data: page}, nil
}

type webhookPage struct {
	webhookRow
	Source     source
	Deliveries []keyturn.Delivery
	Filter     string
	States     []tab
	Older      string
	Now        time.Time
}

func (s *Site) webhook(ctx context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	var stored keyturn.Resource
	if err := v.get(ctx, "/webhooks/"+url.PathEscape(name), &stored); err != nil {
		return nil, err
	}
	row, err := webhookRowOf(stored)
	if err != nil {
		return nil, err
	}
	page := webhookPage{webhookRow: row, Now: s.Now(), Filter: v.URL.Query().Get("state")}
	if page.Source, err = sourceOf(stored); err != nil {
		return nil, err
	}
	here := "/webhooks/" + url.PathEscape(name)
	for _, state := range []string{"", "pending", "parked", "delivered"} {
		page.States = append(page.States, tab{Title: map[string]string{"": "all"}[state] + state, Link: here + with(url.Values{}, "state", state), On: page.Filter == state})
	}
	q := url.Values{"webhook": {name}, "limit": {"50"}}
	for _, key := range []string{"state", "after"} {
		if value := v.URL.Query().Get(key); value != "" {
			q.Set(key, value)
		}
	}
	found, err := list[keyturn.Delivery](ctx, v, "/deliveries?"+q.Encode())
	if err != nil {
		return nil, err
	}
	page.Deliveries = found.Items
	if found.Next != "" {
		page.Older = here + with(v.URL.Query(), "after", found.Next)
	}
	return &view{Title: "Webhook " + name, Nav: "webhooks", Template: "webhook", Fragment: "deliveries", Data: page}, nil
}

type deliveryPage struct {
	keyturn.Delivery
	Pretty string
	Now    time.Time
}

func (s *Site) delivery(ctx context.Context, v *visit) (*view, error) {
	page := deliveryPage{Now: s.Now()}
	if err := v.get(ctx, "/deliveries/"+url.PathEscape(v.PathValue("id")), &page.Delivery); err != nil {
		return nil, err
	}
	page.Pretty = pretty(page.Body)
	return &view{Title: "Delivery of " + page.Event, Nav: "webhooks", Template: "delivery", Data: page}, nil
}

// pretty writes JSON for people.
func pretty(doc json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, doc, "", "  ") != nil {
		return string(doc)
	}
	return b.String()
}

func (s *Site) askReplay(ctx context.Context, v *visit) (*view, error) {
	var d keyturn.Delivery
	if err := v.get(ctx, "/deliveries/"+url.PathEscape(v.PathValue("id")), &d); err != nil {
		return nil, err
	}
	return v.form(ask{
		Title: "Send this delivery again?", Nav: "webhooks", Button: "Send again", Back: "/deliveries/" + d.ID.String(),
		What: []string{"It is sent anew, under the same id: a receiver that took it before recognises the repeat."},
		Facts: []fact{
			{"Webhook", d.Webhook}, {"Event", d.Event}, {"State", string(d.State)}, {"Last error", d.LastError},
		},
	}), nil
}

func (s *Site) replay(ctx context.Context, v *visit) (done, error) {
	path := "/deliveries/" + url.PathEscape(v.PathValue("id"))
	return done{To: path, Message: "It is sent again."}, v.call(ctx, http.MethodPost, path+"/replay", nil, nil)
}

func (s *Site) askReplayAll(ctx context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	var stored keyturn.Resource
	if err := v.get(ctx, "/webhooks/"+url.PathEscape(name), &stored); err != nil {
		return nil, err
	}
	row, err := webhookRowOf(stored)
	if err != nil {
		return nil, err
	}
	return v.form(ask{
		Title: "Send what is parked again?", Nav: "webhooks", Button: "Send again", Back: "/webhooks/" + url.PathEscape(name),
		What: []string{"Everything that was given up for " + name + " is sent anew, under the same ids. What a later delivery has overtaken stays parked."},
		Facts: []fact{
			{"Parked", number(row.Status.Parked)},
		},
	}), nil
}

func (s *Site) replayAll(ctx context.Context, v *visit) (done, error) {
	path := "/webhooks/" + url.PathEscape(v.PathValue("name"))
	var out struct {
		Replayed int `json:"replayed"`
	}
	err := v.call(ctx, http.MethodPost, path+"/replay", nil, &out)
	return done{To: path, Message: plural(out.Replayed, "delivery is", "deliveries are") + " sent again."}, err
}

func (s *Site) askTest(_ context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	return v.form(ask{
		Title: "Send a test event to " + name + "?", Nav: "webhooks", Button: "Send the test", Back: "/webhooks/" + url.PathEscape(name),
		What: []string{"One event that says it is a test is sent now, and what the receiver answers is shown. It is not repeated."},
	}), nil
}

func (s *Site) testWebhook(ctx context.Context, v *visit) (done, error) {
	path := "/webhooks/" + url.PathEscape(v.PathValue("name"))
	var out struct {
		Delivered  bool   `json:"delivered"`
		Status     int    `json:"status"`
		Error      string `json:"error"`
		TookMillis int64  `json:"tookMillis"`
	}
	if err := v.call(ctx, http.MethodPost, path+"/test", nil, &out); err != nil {
		return done{}, err
	}
	if !out.Delivered {
		return done{}, &apiError{Status: http.StatusBadGateway, Detail: "the receiver did not take it: " + out.Error}
	}
	return done{To: path, Message: fmt.Sprintf("The receiver took it: %d after %d ms.", out.Status, out.TookMillis)}, nil
}

type hookPage struct {
	keyturn.Hook
	Name     string
	Source   source
	Requests []keyturn.HookRequest
	Older    string
	Now      time.Time
}

func (s *Site) hook(ctx context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	path := "/hooks/" + url.PathEscape(name)
	var stored keyturn.Resource
	if err := v.get(ctx, path, &stored); err != nil {
		return nil, err
	}
	hook, err := resource.HookOf(stored)
	if err != nil {
		return nil, err
	}
	page := hookPage{Hook: hook, Name: name, Now: s.Now()}
	if page.Source, err = sourceOf(stored); err != nil {
		return nil, err
	}
	q := url.Values{"limit": {"50"}}
	if after := v.URL.Query().Get("after"); after != "" {
		q.Set("after", after)
	}
	found, err := list[keyturn.HookRequest](ctx, v, path+"/requests?"+q.Encode())
	if err != nil {
		return nil, err
	}
	page.Requests = found.Items
	if found.Next != "" {
		page.Older = "/incoming/" + url.PathEscape(name) + with(v.URL.Query(), "after", found.Next)
	}
	return &view{Title: "Hook " + name, Nav: "webhooks", Template: "hook", Data: page}, nil
}
