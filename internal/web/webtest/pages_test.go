package webtest_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		{Name: "rotations", Path: at("/rotations"), Says: []string{"quarterly", "careful", "Rotate now"}},
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
		for _, p := range pages() {
			t.Run(p.Name, func(t *testing.T) { tryPage(t, b, w, p) })
		}
		t.Run("sign-in", func(t *testing.T) {
			tb := b.open(t, w.url)
			for _, dark := range []bool{false, true} {
				tb.dark(dark)
				tb.visit("/sign-in")
				tb.want("keyturn token create")
				tb.accessible("sign-in")
			}
		})
	})
	t.Run("OpenIDConnect", func(t *testing.T) { tryOIDC(t, b) })
	for _, f := range flows() {
		t.Run(f.name, func(t *testing.T) { f.try(t, b, w) })
	}
}

// tryPage reads a page as its readers do.
func tryPage(t *testing.T, b *browser, w *world, p sitePage) {
	path := p.Path(w)
	tb := b.open(t, w.url)
	tb.signIn(w.oper)
	for _, dark := range []bool{false, true} {
		theme := map[bool]string{false: "light", true: "dark"}[dark]
		tb.dark(dark)
		tb.visit(path)
		for _, text := range p.Says {
			tb.want(text)
		}
		tb.accessible(p.Name + ", " + theme)
		tb.keep(p, theme)
	}
	tb.withoutScripts()
	tb.visit(path)
	html := tb.html()
	for _, text := range p.Says {
		if !strings.Contains(html, text) {
			t.Errorf("without JavaScript, %s does not say %q", path, text)
		}
	}
	tb.forgive("status of 404")
}

// keep takes a picture, and keeps it if somebody wants it.
func (tb *tab) keep(p sitePage, theme string) {
	tb.t.Helper()
	png := tb.photo(1280, 860)
	if len(png) < 1000 || http.DetectContentType(png) != "image/png" {
		tb.t.Fatalf("the picture of %s is none: %d bytes", p.Name, len(png))
	}
	if *screenshots == "" || !p.Photo || theme == "dark" && !p.Dark {
		return
	}
	name := p.Name
	if theme == "dark" {
		name += "-dark"
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), smaller(tb.t, png), 0o644); err != nil {
		tb.t.Fatal(err)
	}
}
