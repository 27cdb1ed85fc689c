package webtest_test

import (
	"flag"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// screenshots is where `task screenshots` wants the pictures; empty: they are taken and thrown away.
var screenshots = flag.String("screenshots", "", "folder for pictures of the pages")

// sitePage is a page of the site, as every page is tried.
type sitePage struct {
	Name string // of its picture
	Path func(*world) string
	Says []string // what it must say, also without JavaScript
	// Photo: its picture goes into the documents; Dark: also that of the dark theme.
	Photo, Dark bool
}

func at(path string) func(*world) string { return func(*world) string { return path } }

// pages are the pages for people who are signed in.
func pages() []sitePage {
	return []sitePage{
		{Name: "overview", Path: at("/"), Says: []string{"Oldest key", "om-prod", "database"}, Photo: true, Dark: true},
		{Name: "rotations", Path: at("/rotations"), Says: []string{"quarterly", "careful", "Rotate now"}, Photo: true},
		{Name: "rotation", Path: func(w *world) string { return "/rotations/" + w.parked.ID.String() }, Says: []string{"Rotation of careful", "What needs somebody", "Resolve"}},
		{Name: "rotation-done", Path: func(w *world) string { return "/rotations/" + w.done.ID.String() }, Says: []string{"Rotation of quarterly", "cluster-000", "succeeded"}},
		{Name: "rotation-cancel", Path: func(w *world) string { return "/rotations/" + w.done.ID.String() + "/cancel" }, Says: []string{"Cancel this rotation?"}},
		{Name: "rotation-resume", Path: func(w *world) string { return "/rotations/" + w.parked.ID.String() + "/resume" }, Says: []string{"Resume this rotation?"}},
		{Name: "rotate", Path: at("/rotations/new"), Says: []string{"Rotate now", "quarterly"}},
		{Name: "task", Path: func(w *world) string { return "/tasks/" + w.task.ID.String() }, Says: []string{"rs-000", "Key before"}},
		{Name: "task-resolve", Path: func(w *world) string { return "/tasks/" + w.task.ID.String() + "/resolve" }, Says: []string{"What became of the key?"}},
		{Name: "error", Path: at("/nowhere"), Says: []string{"There is nothing here"}},
	}
}

// TestSite holds all tests with a browser, so that one browser and one server serve them.
func TestSite(t *testing.T) {
	t.Parallel()
	b, w := startBrowser(t), newWorld(t)
	t.Run("Pages", func(t *testing.T) {
		readPages(t, b, w, pages())
		tb := b.open(t, w.url)
		tb.visit("/sign-in")
		tb.want("keyturn token create")
		tb.accessible("sign-in")
		tb.keep(sitePage{Name: "sign-in", Photo: true}, "light")
		tb.dark(true)
		tb.legible("sign-in, dark")
	})
	t.Run("OpenIDConnect", func(t *testing.T) { tryOIDC(t, b) })
	for _, f := range flows() {
		t.Run(f.name, func(t *testing.T) { f.try(t, b, w) })
	}
}

// readPages reads pages as their readers do: in both themes, on a narrow screen, with a screen reader, and
// without JavaScript, which is what the server answers.
func readPages(t *testing.T, b *browser, w *world, pages []sitePage) {
	tb, plain := b.open(t, w.url), newReader(t, w.url, w.oper)
	tb.signIn(w.oper)
	for _, p := range pages {
		path := p.Path(w)
		html := plain.read(path)
		tb.dark(false)
		tb.size(1280, 860)
		tb.visit(path)
		for _, text := range p.Says {
			tb.want(text)
			if !strings.Contains(html, text) {
				t.Errorf("without JavaScript, %s does not say %q", path, text)
			}
		}
		tb.accessible(p.Name)
		tb.keep(p, "light")
		tb.dark(true)
		tb.legible(p.Name + ", dark")
		tb.keep(p, "dark")
		tb.size(400, 800)
		if wide := ask(tb, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); wide > 400 {
			t.Errorf("%s is %d pixels wide on a screen of 400", p.Name, wide)
		}
	}
	tb.forgive("status of 404")
}

// reader reads pages without a browser.
type reader struct {
	t      *testing.T
	base   string
	client *http.Client
}

func newReader(t *testing.T, base, token string) *reader {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	r := &reader{t: t, base: base, client: &http.Client{Jar: jar, Transport: transport, Timeout: patience}}
	answer, err := r.client.PostForm(base+"/sign-in", url.Values{"token": {token}}) //nolint:noctx // the client has a timeout
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return r
}

// read returns the text of a page, with what HTML escapes as people see it.
func (r *reader) read(path string) string {
	r.t.Helper()
	answer, err := r.client.Get(r.base + path) //nolint:noctx // the client has a timeout
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return html.UnescapeString(string(raw))
}

// keep takes a picture if somebody wants it.
func (tb *tab) keep(p sitePage, theme string) {
	tb.t.Helper()
	if *screenshots == "" || !p.Photo || theme == "dark" && !p.Dark {
		return
	}
	png := tb.photo(1280, 860)
	if len(png) < 1000 || http.DetectContentType(png) != "image/png" {
		tb.t.Fatalf("the picture of %s is none: %d bytes", p.Name, len(png))
	}
	name := p.Name
	if theme == "dark" {
		name += "-dark"
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), smaller(tb.t, png), 0o644); err != nil {
		tb.t.Fatal(err)
	}
}
