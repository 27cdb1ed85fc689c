package webtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

// things is a world in which everything that can be applied is there.
type things struct {
	*world
	gone     atomic.Bool // the receiver of webhook desk wants nothing any more
	alert    keyturn.Alert
	delivery keyturn.Delivery // parked
}

// moreResources are beside those of the world.
const moreResources = `apiVersion: keyturn/v1
kind: Webhook
name: desk
spec: {url: "%s/told", secret: "file:%s", format: standard, events: ["rotation.*"]}
---
apiVersion: keyturn/v1
kind: Hook
name: prometheus
spec: {source: alertmanager, secret: "file:%[2]s", rules: [{match: {labels: {alertname: KeyTooOld}}, policy: quarterly}]}
---
apiVersion: keyturn/v1
kind: Silence
name: moving
spec: {match: {targets: [elsewhere]}, endsAt: "2090-01-01T00:00:00Z", reason: moving the data centre}
---
apiVersion: keyturn/v1
kind: Policy
name: windowed
spec:
  target: om-prod
  select: {projects: ["project-002"]}
  schedule: {cron: "0 4 * * *", timezone: Europe/Berlin, windows: [{days: [sat, sun], from: "02:00", to: "06:00"}], blackouts: [{from: "2020-12-20", to: "2090-01-06", note: for ever}]}
`

func newThings(t *testing.T) *things {
	t.Helper()
	w := &things{world: newWorld(t)}
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if w.gone.Load() {
			rw.WriteHeader(http.StatusGone)
		}
	}))
	t.Cleanup(receiver.Close)
	w.gone.Store(true)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := w.client.Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{
		Name: "more.yaml", Content: fmt.Sprintf(moreResources, receiver.URL, secret),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	w.ended(t, w.rotate(t, "careful", "to be told of"))
	w.waitFor(t, "a delivery that is given up", func() bool {
		parked, err := w.client.Deliveries(t.Context(), "desk", string(keyturn.DeliveryParked), 5)
		if err != nil || len(parked) == 0 {
			return false
		}
		w.delivery = parked[0]
		return true
	})
	alerts, err := w.client.Alerts(t.Context(), keyturn.AlertFilter{State: keyturn.AlertFiring, Kind: keyturn.AlertTaskParked}, 1)
	if err != nil || len(alerts) == 0 {
		t.Fatalf("there is no alert: %v", err)
	}
	w.alert = alerts[0]
	tasks, err := w.client.Tasks(t.Context(), w.parked.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if task.State == keyturn.TaskParked {
			w.task = task
		}
	}
	return w
}

// wantChange checks that the audit says who changed what, why, and from where.
func (w *things) wantChange(t *testing.T, actor, action, subject, reason string) {
	t.Helper()
	entries, err := w.client.Audit(t.Context(), 50)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(entries, func(e keyturn.AuditEntry) bool {
		return e.Actor == actor && e.Action == action && e.Subject == subject && e.Reason == reason && e.Remote == "127.0.0.1"
	}) {
		t.Errorf("the audit does not say that %s did %s to %s because of %q: %+v", actor, action, subject, reason, entries)
	}
}

// thingPages are tried like all pages.
func thingPages(w *things) []sitePage {
	unit, alert, delivery := "/units/"+w.task.Unit, "/alerts/"+w.alert.ID.String(), "/deliveries/"+w.delivery.ID.String()
	return []sitePage{
		{Name: "fleet", Path: at("/fleet"), Says: []string{"keys by age", "90 d and more", "can't be rotated"}, Photo: true, Dark: true},
		{Name: "fleet-clusters", Path: at("/fleet?group=cluster"), Says: []string{"keys by age"}},
		{Name: "fleet-projects", Path: at("/fleet?view=projects"), Says: []string{"project-002", "om-prod"}},
		{Name: "fleet-table", Path: at("/fleet?view=table&q=project-001"), Says: []string{"rs-000", "cluster-001"}},
		{Name: "fleet-none", Path: at("/fleet?q=nothing-is-called-so"), Says: []string{"No unit is like this"}},
		{Name: "unit", Path: at(unit), Says: []string{"waits for a person", "turned, confirmed", "found in use", "What comes next", "written down before anything was sent", "say what became of it"}, Photo: true},
		{Name: "keys", Path: at("/keys?which=all"), Says: []string{"May it go?", "in use", "not known"}, Photo: true},
		{Name: "keys-bad", Path: at("/keys?which=bad"), Says: []string{"No key is gone or inactive"}},
		{Name: "calendar", Path: at("/calendar"), Says: []string{"Monday", "blackout", "careful"}, Photo: true},
		{Name: "policies", Path: at("/policies"), Says: []string{"quarterly", "Europe/Berlin", "Pause"}, Photo: true},
		{Name: "policy", Path: at("/policies/quarterly"), Says: []string{"Next slots", "kind: Policy", "Generation 1"}},
		{Name: "policy-pause", Path: at("/policies/quarterly/pause"), Says: []string{"Pause policy quarterly?", "starts no rotation any more"}},
		{Name: "policy-resume", Path: at("/policies/quarterly/resume"), Says: []string{"Resume policy quarterly?"}},
		{Name: "alerts", Path: at("/alerts"), Says: []string{"is parked", "Acknowledge", "moving the data centre"}, Photo: true},
		{Name: "alert", Path: at(alert), Says: []string{"is parked", "Its life", "The task"}},
		{Name: "alert-ack", Path: at(alert + "/ack"), Says: []string{"Acknowledge this alert?"}},
		{Name: "alert-silence", Path: at(alert + "/silence"), Says: []string{"Silence alerts like this?"}},
		{Name: "silence", Path: at("/silences/moving"), Says: []string{"moving the data centre", "kind: Silence"}},
		{Name: "webhooks", Path: at("/webhooks"), Says: []string{"desk", "prometheus", "gone"}, Photo: true},
		{Name: "webhook", Path: at("/webhooks/desk"), Says: []string{"parked", "rotation.", "kind: Webhook"}, Photo: true},
		{Name: "webhook-replay", Path: at("/webhooks/desk/replay"), Says: []string{"Send what is parked again?"}},
		{Name: "webhook-test", Path: at("/webhooks/desk/test"), Says: []string{"Send a test event to desk?"}},
		{Name: "delivery", Path: at(delivery), Says: []string{"What is sent", "specversion"}},
		{Name: "delivery-replay", Path: at(delivery + "/replay"), Says: []string{"Send this delivery again?"}},
		{Name: "hook", Path: at("/incoming/prometheus"), Says: []string{"Nothing came in yet", "kind: Hook"}},
		{Name: "targets", Path: at("/targets"), Says: []string{"om-prod", "careful"}, Photo: true},
		{Name: "target", Path: at("/targets/om-prod"), Says: []string{"Its keys", "kind: Target", "privateKey: file:"}},
		{Name: "doctor", Path: at("/targets/om-prod/doctor"), Says: []string{"How keys would be turned", "credentials", "What to do"}, Photo: true},
		{Name: "target-thresholds", Path: at("/targets/om-prod/thresholds"), Says: []string{"No key is touched."}},
		{Name: "target-observe", Path: at("/targets/om-prod/observe"), Says: []string{"Nothing is changed."}},
		{Name: "audit", Path: at("/audit"), Says: []string{"rotation.request", "127.0.0.1"}, Photo: true},
		{Name: "unknown-unit", Path: at("/units/om-prod.none.none"), Says: []string{"There is nothing here", "the fleet lists them"}},
	}
}

// TestThings holds the tests of pages about what is there, in a world of their own.
func TestThings(t *testing.T) {
	t.Parallel()
	b, w := startBrowser(t), newThings(t)
	t.Run("Pages", func(t *testing.T) {
		if *screenshots != "" {
			w.pose(t)
		}
		readPages(t, b, w.world, thingPages(w))
	})
	for _, f := range []struct {
		name string
		try  func(*testing.T, *browser, *things)
	}{
		{"FleetFollowsTheSearchAndOpensTheUnit", fleetSearch},
		{"FleetByKeyboard", fleetKeyboard},
		{"FleetDrawsOnlyWhatIsVisible", fleetNodes},
		{"ViewerMayNotChangeThings", thingsViewer},
		{"PausesAndResumesAPolicy", pausesPolicy},
		{"AcknowledgesAnAlert", acknowledges},
		{"ReplaysADelivery", replays},
		{"OnlyAnAdminSilences", silences},
		{"AsksForALookAtKeys", looks},
		{"ExaminesATarget", examines},
		{"AsksWhetherAnOldKeyMayGo", asksForKey},
	} {
		t.Run(f.name, func(t *testing.T) { f.try(t, b, w) })
	}
}

const drawn = `document.querySelector("#map") && document.querySelector("#map").dataset.drawn`

// fleetSearch types into the search, and clicks a cell.
func fleetSearch(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	tb.visit("/fleet")
	tb.until(drawn + ` > 20`)
	tb.do(chromedp.SendKeys(chromedp.CSS("#f-q"), "project-001 rs-000"))
	tb.until(`new URLSearchParams(location.search).get("q") === "project-001 rs-000"`)
	tb.until(drawn + ` === "1"`)
	tb.want("1 of ")
	tb.visit("/fleet?q=project-001+rs-000") // the address is all there is to it
	tb.until(drawn + ` === "1"`)
	const cell = `(() => { const r = document.querySelector(".map-cell").getBoundingClientRect(); return [r.x + 7, r.y + 7] })()`
	at := ask(tb, chromedp.Evaluate[[]float64](cell))
	tb.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at[0], at[1]))
	tb.until(`!document.querySelector(".map-tip").hidden && document.querySelector(".map-tip").textContent.includes("rs-000")`)
	ask(tb, chromedp.Evaluate[bool](`document.querySelector(".map-cell").style.pointerEvents = "none", true`)) // the canvas itself is clicked
	tb.do(chromedp.MouseClickXY(at[0], at[1]))
	tb.wantAt("/units/" + w.task.Unit)
	tb.want("replica set of rs-000")
}

func fleetKeyboard(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	tb.visit("/fleet?q=project-000")
	tb.until(drawn + ` > 5`)
	label := func() string {
		return ask(tb, chromedp.Evaluate[string](`document.activeElement.getAttribute("aria-label") || ""`))
	}
	ask(tb, chromedp.Evaluate[bool](`document.querySelector(".map-cell").focus(), true`))
	first := label()
	if !strings.Contains(first, "project-000") || !strings.Contains(first, "old") {
		t.Errorf("the first cell is called %q", first)
	}
	tb.do(chromedp.KeyEvent(kb.ArrowRight))
	second := label()
	if second == first {
		t.Errorf("the arrow key stays at %q", first)
	}
	tb.until(`document.querySelector("#live").textContent === document.activeElement.getAttribute("aria-label")`)
	tb.do(chromedp.KeyEvent(kb.ArrowLeft))
	if got := label(); got != first {
		t.Errorf("back at %q, want %q", got, first)
	}
	tb.do(chromedp.KeyEvent(kb.End))
	tb.do(chromedp.KeyEvent(kb.ArrowRight)) // there is nothing beyond
	last := label()
	tb.do(chromedp.KeyEvent(kb.Home))
	if label() != first || last == first {
		t.Errorf("home is %q, the end %q", label(), last)
	}
	tb.accessible("the fleet with a cell that has the focus")
	tb.do(chromedp.KeyEvent(kb.Enter))
	tb.want("What comes next")
}

func fleetNodes(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	tb.visit("/fleet")
	tb.until(drawn)
	if n := ask(tb, chromedp.Evaluate[int](`document.querySelectorAll("#map *").length`)); n > 10 {
		t.Errorf("the map has %d elements: cells belong on the canvas", n)
	}
	tall := ask(tb, chromedp.Evaluate[bool](`document.querySelector("#map canvas").clientHeight <= innerHeight`))
	painted := ask(tb, chromedp.Evaluate[bool](`(() => { const c = document.querySelector("#map canvas"); return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(v => v > 0) })()`))
	if !tall || !painted {
		t.Errorf("the canvas is as tall as the window: %v, painted: %v", tall, painted)
	}
}

func thingsViewer(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	for _, path := range []string{"/policies", "/policies/quarterly", "/alerts", "/alerts/" + w.alert.ID.String(), "/webhooks/desk", "/targets/om-prod"} {
		tb.visit(path)
		tb.want("bob")
		if n := ask(tb, chromedp.Evaluate[int](`document.querySelectorAll("a[data-dialog]").length`)); n > 0 {
			t.Errorf("%s offers a viewer %d changes", path, n)
		}
	}
	for path, button := range map[string]string{
		"/policies/quarterly/pause": "Pause the policy", "/alerts/" + w.alert.ID.String() + "/ack": "Acknowledge",
		"/deliveries/" + w.delivery.ID.String() + "/replay": "Send again", "/targets/om-prod/observe": "Look now",
	} {
		tb.visit(path)
		tb.press(button)
		tb.want("You may not do this")
	}
	tb.visit("/audit")
	tb.want("You may not do this")
	tb.forgive("status of 403")
	stored, err := w.client.Resource(t.Context(), "policies", "quarterly")
	if err != nil || stored.Status.Paused {
		t.Errorf("a viewer paused a policy: %+v, %v", stored.Status, err)
	}
}

func pausesPolicy(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	tb.visit("/policies/windowed/pause")
	tb.fill("Why", "hardware is moved")
	tb.fill("For how long", "soon")
	tb.press("Pause the policy")
	tb.want("is not a duration")
	if got := ask(tb, chromedp.Evaluate[string](`document.querySelector("#f-note").value`)); got != "hardware is moved" {
		t.Errorf("what was filled in is gone: %q", got)
	}
	tb.fill("For how long", "2d")
	tb.press("Pause the policy")
	tb.wantAt("/policies/windowed")
	tb.want("Policy windowed is paused.")
	tb.want("Paused by ann until")
	w.wantChange(t, "ann", "policy.pause", "windowed", "hardware is moved")
	tb.forgive("status of 4")
	tb.visit("/policies/windowed/resume")
	tb.want("hardware is moved")
	tb.press("Resume the policy")
	tb.want("Policy windowed goes on.")
	w.wantChange(t, "ann", "policy.resume", "windowed", "")
}

func acknowledges(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	tb.visit("/alerts/" + w.alert.ID.String() + "/ack")
	tb.fill("What is being done", "I look at it")
	tb.fill("For how long", "4h")
	tb.press("Acknowledge")
	tb.want("Acknowledged.")
	tb.want("ann until")
	alert, err := w.client.Alert(t.Context(), w.alert.ID.String())
	if err != nil || alert.State != keyturn.AlertAcknowledged || alert.AckNote != "I look at it" || alert.AckedUntil == nil {
		t.Errorf("the alert is %+v, %v", alert, err)
	}
	w.wantChange(t, "ann", "alert.ack", w.alert.ID.String(), "I look at it")
}

func replays(t *testing.T, b *browser, w *things) {
	w.gone.Store(false)
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	tb.visit("/deliveries/" + w.delivery.ID.String() + "/replay")
	tb.press("Send again")
	tb.want("It is sent again.")
	w.waitFor(t, "the delivery", func() bool {
		taken, err := w.client.Deliveries(t.Context(), "desk", string(keyturn.DeliveryDelivered), 50)
		return err == nil && slices.ContainsFunc(taken, func(d keyturn.Delivery) bool { return d.ID == w.delivery.ID })
	})
	w.wantChange(t, "ann", "delivery.replay", w.delivery.ID.String(), "")
	tb.visit("/webhooks/desk/replay")
	tb.press("Send again")
	tb.want("sent again.")
	w.wantChange(t, "ann", "webhook.replay", "desk", "")
}

func silences(t *testing.T, b *browser, w *things) {
	silence := func(token string) *tab {
		tb := b.open(t, w.url)
		tb.signIn(token)
		tb.visit("/alerts/" + w.alert.ID.String() + "/silence")
		tb.fill("Why", "known")
		tb.fill("Name", "by-hand")
		tb.press("Silence")
		return tb
	}
	tb := silence(w.oper)
	tb.want("You may not do this")
	tb.forgive("status of 403")
	tb = silence(w.admin)
	tb.want("Silence by-hand is applied.")
	stored, err := w.client.Resource(t.Context(), "silences", "by-hand")
	if err != nil || !strings.Contains(string(stored.Spec), w.alert.Subject) {
		t.Errorf("the silence is %s, %v", stored.Spec, err)
	}
	tb = silence(w.admin)
	tb.want("There is a silence by-hand already")
	tb.forgive("status of 409")
}

// examines a target without leaving its page.
func examines(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	tb.visit("/targets/om-prod")
	tb.press("Examine it now")
	tb.want("How keys would be turned")
	tb.wantAt("/targets/om-prod")
	tb.accessible("a target that was examined")
	ask(tb, chromedp.Evaluate[bool](`document.querySelector("#doctor").innerHTML = "", htmx.ajax("GET", "/targets/nowhere/doctor", "#doctor"), true`))
	tb.want("There is nothing here") // what is refused is said in its place, not swallowed
	tb.forgive("status of 404")
}

func looks(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	tb.visit("/targets/om-prod/observe")
	tb.press("Look now")
	tb.want("A look at its keys begins soon.")
	w.wantChange(t, "ann", "target.observe", "om-prod", "")
}

// asksForKey whether it may go: what its target says now, and what to do, since Keyturn disables no keys there.
func asksForKey(t *testing.T, b *browser, w *things) {
	tb := b.open(t, w.url)
	tb.signIn(w.admin)
	tb.visit("/keys")
	tb.press("May it be disabled?")
	tb.want("This key is not disabled from here")
	tb.want("deactivate it at its KMIP server")
	if n := ask(tb, chromedp.Evaluate[int](`document.querySelectorAll("#ask button").length`)); n != 0 {
		t.Errorf("the page offers %d changes", n)
	}
	tb.accessible("a key that stays")
	tb.press("Back")
	tb.wantAt("/keys")
}
