package webtest_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
)

// flow is something that people do.
type flow struct {
	name string
	try  func(*testing.T, *browser, *world)
}

// flows are tried one after the other, in one world.
func flows() []flow {
	return []flow{
		{"ResolvesAParkedTask", resolvesParked},
		{"SignsInAndOut", signsInAndOut},
		{"StartsARotationAndWatchesItFinish", watchesFinish},
		{"FollowsWithoutAStream", followsWithoutStream},
		{"CancelsWithoutJavaScript", cancelsWithoutScripts},
		{"ViewerMayNot", viewerMayNot},
		{"RevokedTokenEndsTheSession", revokedEnds},
		{"ForgedPostIsRefused", forgedPost},
		{"SwitchesTheTheme", switchesTheme},
		{"TimesOfAListTellItsRowsApart", timesDiffer},
	}
}

func signsInAndOut(t *testing.T, b *browser, w *world) {
	tb := b.open(t, w.url)
	tb.visit("/rotations?policy=careful")
	tb.wantAt("/sign-in")
	tb.fill("Token", "kt_wrong")
	tb.press("Sign in")
	tb.want("This token is unknown, revoked or expired.")
	tb.forgive("status of 401")
	tb.visit("/rotations?policy=careful")
	tb.fill("Token", w.viewer)
	tb.press("Sign in")
	tb.wantAt("/rotations")
	tb.want("bob")
	tb.press("Sign out")
	tb.wantAt("/sign-in")
	tb.visit("/")
	tb.wantAt("/sign-in")
}

// slowly makes every change of a key take its time, until the test ends.
func (w *world) slowly(t *testing.T) {
	t.Helper()
	slow := simulator.Faults{PUT: simulator.Rates{Slow: 1}, SlowFor: keyturn.Duration(300 * time.Millisecond)}
	if err := w.sim.SetFaults(slow); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.sim.SetFaults(simulator.Faults{}); err != nil {
			t.Error(err)
		}
	})
}

func watchesFinish(t *testing.T, b *browser, w *world) {
	w.slowly(t)
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	tb.visit("/rotations")
	tb.press("Rotate now")
	tb.wantAt("/rotations/new")
	tb.fill("Reason", "because I can")
	tb.until(`(() => { document.querySelector("#f-policy").value = "quarterly"; return true })()`)
	tb.press("Rotate")
	tb.want("Rotation of quarterly")
	tb.want("The rotation was asked for.")
	tb.want("Live.")
	// What is remembered of this page must last to the end: it is never loaded anew, but for its plan.
	tb.until(`document.querySelectorAll(".cell.busy, .cell.ok").length > 0`)
	tb.until(`window.same = true`)
	tb.until(`document.querySelectorAll(".cell.ok").length > 15`)
	tb.keep(sitePage{Name: "rotation", Photo: true}, "light")
	tb.want("It has ended; nothing more will come.")
	tb.until(`window.same === true`)
	tb.until(`document.querySelectorAll(".cell.ok").length === 45 && document.querySelectorAll(".cell.busy, .cell.wait").length === 0`)
	tb.want("100 %")
	tb.until(`document.querySelector("#live").textContent.includes("succeeded")`)
	tb.accessible("a rotation that was followed")
	rotations, err := w.client.Rotations(t.Context(), "quarterly", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	if r := rotations[0]; r.State != keyturn.RotationSucceeded || r.Reason != "because I can" || r.RequestedBy != "token:ann" {
		t.Errorf("the rotation is %+v", r)
	}
}

func followsWithoutStream(t *testing.T, b *browser, w *world) {
	w.slowly(t)
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	call(tb, network.Enable, network.EnableParams{})
	call(tb, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{{URLPattern: "*://*:*/*/events*", Block: true}}})
	id := w.rotate(t, "quarterly", "polled")
	tb.visit("/rotations/" + id.String())
	tb.want("Asked every few seconds.")
	tb.want("It has ended; nothing more will come.")
	tb.want("100 %")
	tb.forgive("events")
}

func cancelsWithoutScripts(t *testing.T, b *browser, w *world) {
	w.slowly(t)
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	tb.withoutScripts()
	id := w.rotate(t, "quarterly", "to be cancelled")
	tb.visit("/rotations/" + id.String())
	tb.do(chromedp.Click(chromedp.CSS("#actions a")))
	tb.do(chromedp.WaitVisible(chromedp.CSS("form.ask")))
	tb.do(chromedp.SendKeys(chromedp.CSS("#f-reason"), "changed my mind"), chromedp.Click(chromedp.CSS("form.ask button")))
	tb.do(chromedp.WaitVisible(chromedp.CSS(".flash")))
	if html := tb.html(); !strings.Contains(html, "The rotation was cancelled.") {
		t.Errorf("the page says %s", html)
	}
	if r := w.ended(t, id); r.State != keyturn.RotationCancelled || r.CancelledBy != "ann" || !strings.Contains(r.Reason, "changed my mind") {
		t.Errorf("the rotation is %s by %q: %q", r.State, r.CancelledBy, r.Reason)
	}
	w.wantAudit(t, "ann", "rotation.cancel", id.String(), "changed my mind")
}

// wantAudit checks that a change is in the audit, with where it came from.
func (w *world) wantAudit(t *testing.T, actor, action, subject, reason string) {
	t.Helper()
	entries, err := w.client.Audit(t.Context(), 50)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Actor == actor && e.Action == action && e.Subject == subject && e.Reason == reason && e.Remote == "127.0.0.1" {
			return
		}
	}
	t.Errorf("the audit does not say that %s did %s to %s because of %q: %+v", actor, action, subject, reason, entries)
}

func resolvesParked(t *testing.T, b *browser, w *world) {
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	tb.visit("/rotations/" + w.parked.ID.String())
	tb.press("Resolve")
	tb.until(`document.querySelector("dialog[open] form.ask")`)
	tb.accessible("the form that resolves a task, over its rotation")
	// The target still shows the old key: that it was turned is refused, and what was written stays.
	tb.press("It was turned")
	tb.fill("How do you know?", "I looked at it")
	tb.do(chromedp.Click(chromedp.CSS("dialog form.ask .buttons button")))
	tb.want("nothing was turned")
	tb.forgive("status of 409")
	tb.until(`document.querySelector("#f-reason").value === "I looked at it"`)
	tb.press("It was not turned, and shall not be")
	tb.do(chromedp.Click(chromedp.CSS("form.ask .buttons button")))
	tb.want("The task was resolved: failed.")
	task := w.tasks(t, w.parked.ID)[0]
	if task.State != keyturn.TaskFailed || task.Resolution != "" && task.Resolution != keyturn.ResolutionByPerson {
		t.Errorf("the task is %+v", task)
	}
	w.wantAudit(t, "ann", "task.resolve", w.task.ID.String(), "I looked at it")
}

func viewerMayNot(t *testing.T, b *browser, w *world) {
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	tb.visit("/rotations")
	if text := tb.text(); strings.Contains(text, "Rotate now") {
		t.Error("a viewer is offered what they may not do")
	}
	tb.visit("/rotations/new")
	tb.press("Rotate")
	tb.want("You may not do this")
	tb.want("This needs the role operator, and token:bob has the role viewer.")
	tb.forgive("status of 403")
	rotations, err := w.client.Rotations(t.Context(), "", "", 50)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rotations {
		if r.RequestedBy == "token:bob" {
			t.Errorf("a viewer asked for %+v", r)
		}
	}
}

func revokedEnds(t *testing.T, b *browser, w *world) {
	made, err := w.client.CreateToken(t.Context(), "leaver", keyturn.RoleOperator, 0)
	if err != nil {
		t.Fatal(err)
	}
	tb := b.open(t, w.url)
	tb.signIn(made.Secret)
	tb.visit("/rotations/new")
	tb.want("Rotate now")
	if err := w.client.RevokeToken(t.Context(), made.ID.String()); err != nil {
		t.Fatal(err)
	}
	tb.press("Rotate")
	tb.want("Your session has ended")
	tb.forgive("status of 401")
	tb.visit("/rotations")
	tb.wantAt("/sign-in")
}

// forgedPost lets another site's page send the form that rotates, in the browser of an operator.
func forgedPost(t *testing.T, b *browser, w *world) {
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte(`<form method="post" action="` + w.url + `/rotations/new"><input name="policy" value="quarterly"><button>Win</button></form>`))
	}))
	defer evil.Close()
	before := rotationCount(t, w.client)
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	// localhost is another site than 127.0.0.1.
	tb.do(chromedp.Navigate(strings.Replace(evil.URL, "127.0.0.1", "localhost", 1)))
	tb.press("Win")
	tb.want("This change was asked for by a page of another site")
	tb.forgive("status of 403")
	if after := rotationCount(t, w.client); after != before {
		t.Errorf("there are %d rotations, there were %d", after, before)
	}
	// A program that has the cookie, but says that it comes from elsewhere.
	for _, header := range []http.Header{{"Origin": {"https://evil.example"}}, {"Sec-Fetch-Site": {"cross-site"}}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/sign-out", strings.NewReader(url.Values{}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		answer, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("with %v: status %d, want 403", header, answer.StatusCode)
		}
	}
}

func rotationCount(t *testing.T, c *client.Client) int {
	t.Helper()
	rotations, err := c.Rotations(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return len(rotations)
}

func switchesTheme(t *testing.T, b *browser, w *world) {
	tb := b.open(t, w.url)
	tb.dark(false)
	tb.signIn(w.viewer)
	tb.press("Dark theme")
	tb.until(`document.documentElement.dataset.theme === "dark" && getComputedStyle(document.body).backgroundColor === "rgb(18, 21, 26)"`)
	tb.want("Light theme")
	tb.visit("/rotations")
	tb.until(`document.documentElement.dataset.theme === "dark"`)
	tb.accessible("the dark theme that was chosen")
}

// timesDiffer looks at a list of rotations that were asked for in the same minute.
func timesDiffer(t *testing.T, b *browser, w *world) {
	tb := b.open(t, w.url)
	tb.signIn(w.viewer)
	tb.visit("/rotations")
	tb.until(`document.querySelectorAll("tbody time[data-local]").length > 1`)
	const rows = `[...document.querySelectorAll("tbody td:first-child time")]`
	seconds := ask(tb, chromedp.Evaluate[int](`new Set(`+rows+`.map(el => Math.floor(new Date(el.dateTime) / 1000))).size`))
	shown := ask(tb, chromedp.Evaluate[int](`new Set(`+rows+`.map(el => el.textContent)).size`))
	if seconds < 2 || shown != seconds {
		t.Errorf("%d different times look like %d", seconds, shown)
	}
	if title := ask(tb, chromedp.Evaluate[string](rows+`[0].title`)); !strings.HasSuffix(title, " UTC") {
		t.Errorf("its title is %q, want the time in UTC", title)
	}
}
