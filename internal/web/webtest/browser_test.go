package webtest_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axe finds what keeps people with a screen reader or a keyboard out: https://github.com/dequelabs/axe-core
//
//go:embed testdata/axe.min.js
var axe string

// patience is how long something on a page may take. It is for machines with twenty other things to do: on
// an idle one nothing takes a second.
const patience = 90 * time.Second

// browser is one Chromium with a profile of its own.
type browser struct {
	ctx context.Context
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("there is no Chromium: `go tool task deps` installs it")
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("lang", "en-GB"),
		chromedp.Env("TZ=Europe/Berlin", "LANGUAGE=en_GB"),
	}
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() { cancel(); cancelAlloc() })
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return &browser{ctx: ctx}
}

// tab is somebody's browser: it shares nothing with other tabs.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu       sync.Mutex
	problems []string // what the console complained about
}

// open opens a tab in a context of its own. At the end of the test its console must have nothing to complain about.
func (b *browser) open(t *testing.T, base string) *tab {
	t.Helper()
	tb := &tab{t: t, base: base}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(tb.listen))
	tb.ctx = ctx
	// The first step opens the tab, which lives as long as that step's context.
	if err := chromedp.Do(tb.ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		for _, p := range tb.complaints() {
			t.Errorf("the console says: %s", p)
		}
	})
	return tb
}

func (tb *tab) listen(event any) {
	text := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			text = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += ": " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			raw, _ := json.Marshal(e.Args)
			text = string(raw)
		}
	}
	if text == "" {
		return
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.problems = append(tb.problems, text)
}

func (tb *tab) complaints() []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	out := tb.problems
	tb.problems = nil
	return out
}

// forgive forgets complaints with a text that the test brought about.
func (tb *tab) forgive(text string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	kept := tb.problems[:0]
	for _, p := range tb.problems {
		if !strings.Contains(p, text) {
			kept = append(kept, p)
		}
	}
	tb.problems = kept
}

// do does something in the tab, and fails the test if that takes too long.
func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatalf("in the browser: %v\nthe page: %s", err, tb.text())
	}
}

// ask does something in the tab that has an answer.
func ask[T any](tb *tab, action chromedp.Action[T]) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	answer, err := chromedp.Run(ctx, action)
	if err != nil {
		tb.t.Fatalf("in the browser: %v\nthe page: %s", err, tb.text())
	}
	return answer
}

// call runs a command of the DevTools protocol.
func call[P, R any](tb *tab, command cdp.Command[P, R], params P) R {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	answer, err := chromedp.Call(ctx, command, params)
	if err != nil {
		tb.t.Fatalf("in the browser: %s: %v", command.Method, err)
	}
	return answer
}

// text is what the page says, as far as that can be found out.
func (tb *tab) text() string {
	ctx, cancel := context.WithTimeout(tb.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? location.href + "\n" + document.body.innerText : location.href`))
	if err != nil {
		return err.Error()
	}
	return text
}

// visit goes to a page of the site.
func (tb *tab) visit(path string) {
	tb.t.Helper()
	tb.do(chromedp.Navigate(tb.base + path))
}

func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

// until waits until a JavaScript expression is true, over however many pages that takes.
func (tb *tab) until(expression string) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!(`+expression+`)`)); err == nil && ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.t.Fatalf("waited in vain for %s\nthe page: %s", expression, tb.text())
		}
	}
}

// want waits until the page says the text.
func (tb *tab) want(text string) {
	tb.t.Helper()
	tb.until(`document.readyState === "complete" && document.body.innerText.includes(` + quoted(text) + `)`)
}

// wantAt waits until the browser is at a path.
func (tb *tab) wantAt(path string) {
	tb.t.Helper()
	tb.until(`document.readyState === "complete" && location.pathname === ` + quoted(path))
}

// press clicks the link, button or summary that is called so.
func (tb *tab) press(name string) {
	tb.t.Helper()
	xpath := fmt.Sprintf(`//*[(self::a or self::button or self::summary or self::label) and normalize-space(.)=%q]`, name)
	tb.do(chromedp.Click(chromedp.Search(xpath), chromedp.NodeVisible))
}

// field is the field with the label.
func (tb *tab) field(label string) chromedp.CSS {
	tb.t.Helper()
	find := `[...document.querySelectorAll("label")].find(l => l.innerText.trim() === ` + quoted(label) + `)`
	tb.until(`!!` + find)
	return chromedp.CSS("#" + ask(tb, chromedp.Evaluate[string](find+`.htmlFor`)))
}

// fill types a text into the field with the label.
func (tb *tab) fill(label, text string) {
	tb.t.Helper()
	field := tb.field(label)
	ask(tb, chromedp.Evaluate[bool](`document.querySelector(`+quoted(string(field))+`).value = "", true`))
	tb.do(chromedp.SendKeys(field, text))
}

// signIn signs the bearer of a token in, as a person does.
func (tb *tab) signIn(token string) {
	tb.t.Helper()
	tb.visit("/sign-in")
	tb.fill("Token", token)
	tb.press("Sign in")
	tb.wantAt("/")
}

// dark shows pages in the dark theme, as a system that prefers it.
func (tb *tab) dark(on bool) {
	tb.t.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	call(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// withoutScripts turns JavaScript off.
func (tb *tab) withoutScripts() {
	tb.t.Helper()
	call(tb, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// html is the page as it was drawn; it needs no script.
func (tb *tab) html() string {
	tb.t.Helper()
	root := call(tb, dom.GetDocument, dom.GetDocumentParams{})
	return call(tb, dom.GetOuterHTML, dom.GetOuterHTMLParams{BackendNodeID: root.Root.BackendNodeID}).OuterHTML
}

// violation is a rule of accessibility that a page breaks.
type violation struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML           string `json:"html"`
		FailureSummary string `json:"failureSummary"`
	} `json:"nodes"`
}

// accessible fails the test for each rule that axe finds broken.
func (tb *tab) accessible(what string) {
	tb.t.Helper()
	tb.examine(what, `{resultTypes: ["violations"]}`)
}

// legible fails the test for each text of too little contrast: all that a theme can break on a page that is
// accessible in another one.
func (tb *tab) legible(what string) {
	tb.t.Helper()
	tb.examine(what, `{resultTypes: ["violations"], runOnly: ["color-contrast"]}`)
}

func (tb *tab) examine(what, options string) {
	tb.t.Helper()
	if !ask(tb, chromedp.Evaluate[bool](`typeof axe === "object"`)) {
		ask(tb, chromedp.Evaluate[bool](axe+";true"))
	}
	found := ask(tb, chromedp.Evaluate[[]violation](
		`axe.run(document, `+options+`).then(r => r.violations)`, chromedp.EvalAwaitPromise))
	for _, v := range found {
		for _, n := range v.Nodes {
			tb.t.Errorf("%s: %s: %s\n%s\n%s", what, v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

// photo takes a picture of a window of this size.
func (tb *tab) photo(width, height int64) []byte {
	tb.t.Helper()
	tb.size(width, height)
	return call(tb, page.CaptureScreenshot, page.CaptureScreenshotParams{}).Data
}

// size makes the window this large.
func (tb *tab) size(width, height int64) {
	tb.t.Helper()
	call(tb, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
}
