package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite"
	"github.com/keyturn/keyturn/worker"
)

// receivers take deliveries by the webhook's name.
type receivers struct {
	mu     sync.Mutex
	got    map[string][]keyturn.Delivery // taken, in their order, with repeats
	tries  map[string]int
	answer func(ctx context.Context, hook string, d keyturn.Delivery) keyturn.SendResult
}

func (r *receivers) Send(ctx context.Context, hook keyturn.Webhook, d keyturn.Delivery) keyturn.SendResult {
	result := keyturn.SendResult{Status: 200}
	r.mu.Lock()
	r.tries[hook.Name]++
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		result = answer(ctx, hook.Name, d)
	}
	if result.Err == nil {
		r.mu.Lock()
		r.got[hook.Name] = append(r.got[hook.Name], d)
		r.mu.Unlock()
	}
	return result
}

func (r *receivers) taken(hook string) []keyturn.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[hook])
}

func (r *receivers) tried(hook string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries[hook]
}

var errDown = errors.New("no answer")

func down() keyturn.SendResult { return keyturn.SendResult{Err: errDown, Whole: true} }

// hooked is a bundle with webhooks.
type hooked struct {
	*bundle
	receivers  *receivers
	deliveries worker.DeliveryStore
	listed     int // how often the webhooks were listed
	hooks      []keyturn.Webhook
	sender     worker.WebhookSender // nil: receivers
}

func (h *hooked) Webhooks(context.Context) ([]keyturn.Webhook, error) {
	h.receivers.mu.Lock()
	defer h.receivers.mu.Unlock()
	h.listed++
	return slices.Clone(h.hooks), nil
}

// webhooks makes webhooks with these names.
func (h *hooked) webhooks(hooks ...keyturn.Webhook) {
	h.t.Helper()
	for _, w := range hooks {
		spec, err := json.Marshal(w) //nolint:gosec // its secrets are references
		if err != nil {
			h.t.Fatal(err)
		}
		err = h.store.ApplyResources(h.t.Context(), []keyturn.ResourceChange{{Kind: keyturn.KindWebhook, Name: w.Name, Spec: spec}})
		if err != nil {
			h.t.Fatal(err)
		}
		h.receivers.mu.Lock()
		h.hooks = append(h.hooks, w.WithDefaults())
		h.receivers.mu.Unlock()
	}
}

func (h *hooked) run(owner string) (stop func()) {
	h.t.Helper()
	sender := h.sender
	if sender == nil {
		sender = h.receivers
	}
	w := worker.New(worker.Config{
		Owner: owner, Store: h.store, Queue: h.queue, Systems: h.one, Targets: h.one,
		Logger: zaptest.NewLogger(h.t), Metrics: worker.NewMetrics(prometheus.NewRegistry()),
		Deliveries: h.deliveries, Webhooks: h, Sender: sender,
	})
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("worker: %v", err)
		}
	}
}

// add enqueues events of the same order: "g1/3" is of the order g1.
func (h *hooked) add(webhook string, events ...string) {
	h.t.Helper()
	var ds []keyturn.Delivery
	for _, e := range events {
		order, _, _ := strings.Cut(e, "/")
		ds = append(ds, keyturn.Delivery{Webhook: webhook, EventID: e, Event: "alert.firing", Order: order, Body: []byte(`{}`)})
	}
	if err := h.deliveries.Enqueue(h.t.Context(), ds); err != nil {
		h.t.Fatal(err)
	}
}

// byOrder returns the events that were taken, by their order, each id once.
func byOrder(ds []keyturn.Delivery) map[string][]string {
	out, seen := map[string][]string{}, map[keyturn.ID]bool{}
	for _, d := range ds {
		if !seen[d.ID] {
			seen[d.ID] = true
			out[d.Order] = append(out[d.Order], d.EventID)
		}
	}
	return out
}

func (h *hooked) stateOf(webhook string) keyturn.WebhookState {
	h.t.Helper()
	states, err := h.store.WebhookStates(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	i := slices.IndexFunc(states, func(s keyturn.WebhookState) bool { return s.Webhook == webhook })
	return states[i]
}

// forgetful is a database that does not hear what came of attempts, as if the worker had died after it sent.
type forgetful struct {
	*sqlite.Store
	mu    sync.Mutex
	times int
}

func (f *forgetful) FinishDeliveries(ctx context.Context, webhook string, results []keyturn.DeliveryResult, giveUp time.Duration) error {
	f.mu.Lock()
	f.times--
	dead := f.times >= 0
	f.mu.Unlock()
	if dead {
		return errors.New("died here")
	}
	return f.Store.FinishDeliveries(ctx, webhook, results, giveUp)
}

func TestDeliverer(t *testing.T) {
	t.Parallel()
	run := func(name string, units int, test func(t *testing.T, h *hooked)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, units)
				defer b.close()
				test(t, &hooked{bundle: b, deliveries: b.store, receivers: &receivers{got: map[string][]keyturn.Delivery{}, tries: map[string]int{}}})
			})
		})
	}

	run("TellsEachEventOnce", 20, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "all", URL: "https://a"}, keyturn.Webhook{Name: "some", URL: "https://b", Events: []string{"rotation.*"}},
			keyturn.Webhook{Name: "pager", URL: "https://c", Format: keyturn.FormatPagerDuty})
		defer h.run("w1")()
		defer h.run("w2")()
		r := h.await(h.request("a").ID, time.Minute)
		pass(time.Minute)
		want := []string{"rotation.requested/" + r.ID.String(), "rotation.started/" + r.ID.String(), "rotation.completed/" + r.ID.String()}
		if got := byOrder(h.receivers.taken("some")); len(got) != 1 || !slices.Equal(got["rotation:"+r.ID.String()], want) {
			t.Errorf("some was told %v, want %v", got, want)
		}
		if got := len(h.receivers.taken("all")); got != 3+20+40 { // each unit: a task, the key before and the key now
			t.Errorf("all was told %d events", got)
		}
		if got := h.receivers.tried("pager"); got != 0 {
			t.Errorf("a pager was told %d rotations", got)
		}
	})

	run("RemovesWhatNobodyLooksAtAnyMore", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a"})
		h.add("a", "told/1")
		stop := h.run("w1")
		pass(time.Minute)
		stop()
		came := func(event string) {
			if err := h.store.SaveHookRequest(t.Context(), keyturn.HookRequest{Hook: "in", EventID: event, Verdict: keyturn.HookIgnored}); err != nil {
				t.Fatal(err)
			}
		}
		came("old")
		pass(keyturn.HookKept)
		came("new")
		defer h.run("w2")()
		pass(11 * time.Minute)
		left, _, err := h.store.HookRequests(t.Context(), "", keyturn.Page{})
		if err != nil || len(left) != 1 || left[0].EventID != "new" {
			t.Errorf("left are %+v, %v", left, err)
		}
		told, _, err := h.store.Deliveries(t.Context(), keyturn.DeliveryFilter{Webhook: "a"})
		if err != nil || len(told) != 0 {
			t.Errorf("deliveries that are left: %+v, %v", told, err)
		}
	})

	run("NobodyToTellCostsNothing", 50, func(t *testing.T, h *hooked) {
		defer h.run("w1")()
		h.await(h.request("a").ID, time.Minute)
		pass(10 * time.Second)
		h.receivers.mu.Lock()
		defer h.receivers.mu.Unlock()
		if h.listed == 0 || h.listed > 20 {
			t.Errorf("webhooks were listed %d times for 50 units", h.listed)
		}
	})

	run("AfterAnOutageEverythingArrivesOnceInOrder", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a"})
		up := time.Now().Add(3 * time.Minute)
		h.receivers.answer = func(context.Context, string, keyturn.Delivery) keyturn.SendResult {
			if time.Now().Before(up) {
				return down()
			}
			return keyturn.SendResult{Status: 200}
		}
		defer h.run("w1")()
		defer h.run("w2")()
		want := map[string][]string{}
		for i := range 10 {
			for _, group := range []string{"g1", "g2", "g3"} {
				event := fmt.Sprintf("%s/%d", group, i)
				h.add("a", event)
				want[group] = append(want[group], event)
			}
			pass(10 * time.Second)
		}
		if s := h.stateOf("a"); s.FailingSince == nil || s.LastError != "no answer" || s.Pending != 30 {
			t.Errorf("while it is away the state is %+v", s)
		}
		if n := h.receivers.tried("a"); n > 60 {
			t.Errorf("a receiver that is away was called %d times in 100 seconds", n)
		}
		pass(time.Until(up) + 2*time.Minute)
		taken := h.receivers.taken("a")
		if got := byOrder(taken); !equalLists(got, want) || len(taken) != 30 {
			t.Errorf("%d arrived: %v, want %v", len(taken), got, want)
		}
		if s := h.stateOf("a"); s.FailingSince != nil || s.Pending != 0 || s.Parked != 0 {
			t.Errorf("afterwards the state is %+v", s)
		}
	})

	run("DiedAfterTheSendSendsAgainUnderTheSameID", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a"})
		h.deliveries = &forgetful{Store: h.store, times: 2}
		h.add("a", "g/1", "g/2")
		defer h.run("w1")()
		pass(3 * time.Minute)
		taken := h.receivers.taken("a")
		if got := byOrder(taken); !slices.Equal(got["g"], []string{"g/1", "g/2"}) || len(taken) != 4 {
			t.Errorf("taken were %v, %d with repeats, want both in order and the first three times", got, len(taken))
		}
		for _, d := range taken[:3] {
			if d.ID != taken[0].ID {
				t.Errorf("a repeat came under another id: %+v", taken)
			}
		}
	})

	run("SlowReceiverMakesNobodyWait", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "slow", URL: "https://a"}, keyturn.Webhook{Name: "quick", URL: "https://b"})
		h.receivers.answer = func(ctx context.Context, hook string, _ keyturn.Delivery) keyturn.SendResult {
			if hook == "slow" {
				<-ctx.Done()
				return down()
			}
			return keyturn.SendResult{Status: 200}
		}
		var events []string
		for i := range 100 {
			events = append(events, fmt.Sprintf("%d/x", i))
		}
		h.add("slow", events...)
		h.add("quick", events...)
		defer h.run("w1")()
		pass(2 * time.Second)
		if got := len(h.receivers.taken("quick")); got != 100 {
			t.Errorf("beside a slow receiver %d of 100 arrived", got)
		}
	})

	run("OneThatIsRefusedHoldsUpOnlyItsOwnOrder", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a"})
		h.receivers.answer = func(_ context.Context, _ string, d keyturn.Delivery) keyturn.SendResult {
			if d.EventID == "bad/1" {
				return keyturn.SendResult{Status: 400, Err: errors.New("it answered 400")}
			}
			return keyturn.SendResult{Status: 200}
		}
		h.add("a", "bad/1", "bad/2", "good/1", "good/2")
		defer h.run("w1")()
		pass(time.Minute)
		if got := byOrder(h.receivers.taken("a")); !slices.Equal(got["good"], []string{"good/1", "good/2"}) || got["bad"] != nil {
			t.Errorf("taken were %v", got)
		}
	})

	run("RetryAfterIsHonoured", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a"})
		begin := time.Now()
		h.receivers.answer = func(context.Context, string, keyturn.Delivery) keyturn.SendResult {
			if time.Since(begin) < 90*time.Second {
				return keyturn.SendResult{Status: 429, Err: errors.New("it answered 429"), Whole: true, RetryAfter: 2 * time.Minute}
			}
			return keyturn.SendResult{Status: 200}
		}
		h.add("a", "g/1")
		defer h.run("w1")()
		pass(2 * time.Second)
		h.add("a", "h/1")
		pass(110 * time.Second)
		if n := h.receivers.tried("a"); n != 1 {
			t.Errorf("%d attempts before the time it asked for", n)
		}
		pass(20 * time.Second)
		if got := len(h.receivers.taken("a")); got != 2 {
			t.Errorf("%d arrived afterwards", got)
		}
	})

	run("GoneIsLeftAlone", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a"})
		h.receivers.answer = func(context.Context, string, keyturn.Delivery) keyturn.SendResult {
			return keyturn.SendResult{Status: 410, Err: errors.New("it answered 410 Gone"), Whole: true, Gone: true}
		}
		h.add("a", "g/1")
		defer h.run("w1")()
		pass(time.Minute)
		h.add("a", "g/2", "h/1")
		pass(time.Minute)
		if s := h.stateOf("a"); !s.Gone || s.Parked != 3 || h.receivers.tried("a") != 1 {
			t.Errorf("after %d attempts the state is %+v", h.receivers.tried("a"), s)
		}
	})

	run("PausedWaits", 0, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a", Paused: true})
		h.add("a", "g/1")
		defer h.run("w1")()
		pass(time.Minute)
		if h.receivers.tried("a") != 0 || h.stateOf("a").Pending != 1 {
			t.Errorf("a paused webhook was called; its state is %+v", h.stateOf("a"))
		}
		h.receivers.mu.Lock()
		h.hooks[0].Paused = false
		h.receivers.mu.Unlock()
		pass(2 * time.Second)
		if len(h.receivers.taken("a")) != 1 {
			t.Error("it was not told afterwards")
		}
	})

	run("BusThatIsAwayKeepsNobodyUninformed", 1, func(t *testing.T, h *hooked) {
		h.webhooks(keyturn.Webhook{Name: "a", URL: "https://a", Events: []string{"rotation.requested"}})
		h.queue.events = nil
		q := &deafQueue{memoryQueue: h.queue}
		w := worker.New(worker.Config{
			Owner: "w1", Store: h.store, Queue: q, Systems: h.one, Targets: h.one, Logger: zaptest.NewLogger(t),
			Metrics: worker.NewMetrics(prometheus.NewRegistry()), Deliveries: h.store, Webhooks: h, Sender: h.receivers,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		h.request("a")
		pass(90 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := h.receivers.taken("a"); len(got) != 1 {
			t.Errorf("told %d times while the bus was away, want once", len(got))
		}
	})
}

// deafQueue takes no events.
type deafQueue struct{ *memoryQueue }

func (q *deafQueue) PublishEvents(context.Context, []worker.Event) error {
	return errors.New("the bus is away")
}

func equalLists(a, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !slices.Equal(a[k], b[k]) {
			return false
		}
	}
	return true
}
