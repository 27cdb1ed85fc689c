package web

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// fakeStore is a store in memory with one rotation.
type fakeStore struct {
	FleetStore // not asked

	mu       sync.Mutex
	sessions map[[32]byte]keyturn.Session
	rotation keyturn.Rotation
	cells    []keyturn.Cell
	reads    int      // of the rotation
	asked    []string // of the API
	away     error    // what it answers, but for sessions; nil: all is well
	lost     error    // what it answers when it is asked for a session
}

func (f *fakeStore) CreateSession(_ context.Context, hash [32]byte, s keyturn.Session, maxAge time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.SeenAt, s.ExpiresAt = time.Now(), time.Now().Add(maxAge)
	f.sessions[hash] = s
	return nil
}

func (f *fakeStore) SessionByHash(_ context.Context, hash [32]byte, _ time.Duration) (keyturn.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost != nil {
		return keyturn.Session{}, f.lost
	}
	s, ok := f.sessions[hash]
	if !ok {
		return s, keyturn.ErrNotFound
	}
	return s, nil
}

func (f *fakeStore) TouchSession(context.Context, [32]byte) error { return nil }

func (f *fakeStore) EndSession(_ context.Context, hash [32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, hash)
	return nil
}

func (f *fakeStore) Overview(context.Context) (keyturn.Overview, error) {
	return keyturn.Overview{At: time.Now()}, f.away
}

func (f *fakeStore) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (f *fakeStore) Rotation(_ context.Context, id keyturn.ID) (keyturn.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.away != nil {
		return keyturn.Rotation{}, f.away
	}
	if id != f.rotation.ID {
		return keyturn.Rotation{}, keyturn.ErrNotFound
	}
	return f.rotation, nil
}

func (f *fakeStore) RotationCells(context.Context, keyturn.ID) ([]keyturn.Cell, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]keyturn.Cell(nil), f.cells...), nil
}

func (f *fakeStore) RotationChanges(ctx context.Context, id keyturn.ID, _ time.Time) ([]keyturn.Cell, error) {
	return f.RotationCells(ctx, id)
}

// set changes the state of a task, and of the rotation.
func (f *fakeStore) set(task int, state keyturn.TaskState, rotation keyturn.RotationState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cells[task].State, f.rotation.State = state, rotation
}

func (f *fakeStore) readCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// siteFixture is a site over a fake store and a fake API, on a real socket.
type siteFixture struct {
	*Site
	store  *fakeStore
	server *httptest.Server
	cookie *http.Cookie
}

// newSiteFixture makes one whose server gives every answer a second at most.
func newSiteFixture(t *testing.T) *siteFixture {
	t.Helper()
	begun := time.Now()
	f := &siteFixture{store: &fakeStore{
		sessions: map[[32]byte]keyturn.Session{},
		rotation: keyturn.Rotation{ID: keyturn.NewID(begun), Policy: "quarterly", State: keyturn.RotationRunning, StartedAt: &begun, RequestedAt: begun},
	}}
	for i := range 2 * boardPage {
		name := "c" + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
		f.store.cells = append(f.store.cells, keyturn.Cell{
			Task: keyturn.NewID(begun), Unit: "om.p." + name, State: keyturn.TaskPending, ProjectID: "p", ProjectName: "p", ClusterName: name,
			Component: keyturn.ComponentReplicaSet, Name: "<" + name + ">",
		})
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := keyturn.CallerOf(r.Context()); !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.store.mu.Lock()
		f.store.asked = append(f.store.asked, r.URL.RequestURI())
		f.store.mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/api/v1/rotations/") {
			_ = json.NewEncoder(w).Encode(f.store.rotation)
			return
		}
		_, _ = io.WriteString(w, `{"items":[],"next":""}`)
	})
	site, err := New(Config{API: api, Store: f.store})
	if err != nil {
		t.Fatal(err)
	}
	f.Site = site
	f.server = httptest.NewUnstartedServer(site)
	f.server.Config.WriteTimeout, f.server.Config.ReadTimeout = time.Second, time.Second
	f.server.Config.RegisterOnShutdown(site.Close)
	f.server.Start()
	t.Cleanup(func() { f.server.Close(); site.Close() })
	secret := newSecret()
	if err := f.store.CreateSession(t.Context(), hashOf(secret), keyturn.Session{Name: "token:ann", Role: keyturn.RoleOperator}, time.Hour); err != nil {
		t.Fatal(err)
	}
	f.cookie = &http.Cookie{Name: "keyturn", Value: secret} //nolint:gosec // it is sent, not set
	return f
}

// get asks for a path as ann.
func (f *siteFixture) get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(f.cookie)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := f.server.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// events reads server-sent events.
type events struct {
	t    *testing.T
	scan *bufio.Scanner
}

func (f *siteFixture) events(t *testing.T, since string, header ...string) *events {
	t.Helper()
	answer := f.get(t, "/rotations/"+f.store.rotation.ID.String()+"/events?page=1&since="+since, header...)
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream is %d, %s", answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	scan := bufio.NewScanner(answer.Body)
	scan.Buffer(nil, 1<<20)
	return &events{t: t, scan: scan}
}

// next returns the next event's kind and message; false at the end of the stream.
func (e *events) next() (kind string, m message, ok bool) {
	e.t.Helper()
	for e.scan.Scan() {
		line := e.scan.Text()
		if rest, found := strings.CutPrefix(line, "event: "); found {
			kind = rest
		}
		if data, found := strings.CutPrefix(line, "data: "); found {
			if err := json.Unmarshal([]byte(data), &m); err != nil {
				e.t.Fatal(err)
			}
			return kind, m, true
		}
	}
	return "", message{}, false
}

// until reads events up to one with the part.
func (e *events) until(part, says string) message {
	e.t.Helper()
	for {
		_, m, ok := e.next()
		if !ok {
			e.t.Fatalf("the stream ended before %s said %q: %v", part, says, e.scan.Err())
		}
		if strings.Contains(m.Parts[part], says) {
			return m
		}
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	t.Run("OutlivesTheServersTimeoutsAndEndsWithTheRotation", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		first := "t-" + f.store.cells[0].Task.String()
		stream := f.events(t, "")
		m := stream.until(first, "pending")
		if len(m.Parts) != boardPage+3 {
			t.Errorf("the first event has %d parts, want those of one page", len(m.Parts))
		}
		if strings.Contains(m.Parts[first], "<c000>") {
			t.Errorf("a name is not escaped: %s", m.Parts[first])
		}
		// An event comes each second while it runs: by the third the server's timeouts are over.
		for range 2 {
			stream.until("summary", "running")
		}
		f.store.set(0, keyturn.TaskSucceeded, keyturn.RotationRunning)
		f.store.set(boardPage, keyturn.TaskSucceeded, keyturn.RotationRunning) // on the next page
		m = stream.until(first, "succeeded")
		if _, other := m.Parts["t-"+f.store.cells[boardPage].Task.String()]; other {
			t.Error("a task of another page was sent")
		}
		f.store.set(1, keyturn.TaskFailed, keyturn.RotationPartial)
		if m = stream.until("worst", "c001"); m.Say != "The rotation is partial." {
			t.Errorf("it says %q", m.Say)
		}
		if kind, _, ok := stream.next(); !ok || kind != "ended" {
			t.Errorf("the last event is %q", kind)
		}
	})
	t.Run("ShowsEachPartOfAPlanSoon", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		all := f.store.cells
		f.store.cells = all[:boardPage:boardPage]
		f.store.rotation.Counts.Total = len(all)
		stream := f.events(t, "")
		if _, m, _ := stream.next(); !strings.Contains(m.Parts["summary"], fmt.Sprintf("of %d units", len(all))) {
			t.Fatalf("it begins with %s, want the units of the whole plan", m.Parts["summary"])
		}
		f.store.mu.Lock()
		f.store.cells = all
		f.store.mu.Unlock()
		begun := time.Now()
		for {
			_, m, ok := stream.next()
			if !ok {
				t.Fatal("the stream ended")
			}
			if m.Reload {
				break
			}
		}
		if took := time.Since(begun); took > rereadEvery/2 {
			t.Errorf("the rest of the plan is shown after %s", took)
		}
	})
	t.Run("GoesOnAfterALostConnection", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		mark := f.events(t, "").until("summary", "running").Mark
		f.store.set(0, keyturn.TaskParked, keyturn.RotationRunning)
		m := f.events(t, "", "Last-Event-ID", mark).until("t-"+f.store.cells[0].Task.String(), "parked")
		if len(m.Parts) > 4 {
			t.Errorf("%d parts were sent again, want what was missed", len(m.Parts))
		}
		// What another server remembers, this one does not: then it is the whole page.
		if m = f.events(t, "", "Last-Event-ID", "elsewhere.7").until("summary", "running"); len(m.Parts) != boardPage+3 {
			t.Errorf("%d parts, want the whole page", len(m.Parts))
		}
	})
	t.Run("ManyWatchersAreOneReader", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		streams := make([]*events, 20)
		for i := range streams {
			streams[i] = f.events(t, "")
			streams[i].until("summary", "running")
		}
		before := f.store.readCount()
		for _, stream := range streams {
			stream.until("summary", "running")
		}
		if reads := f.store.readCount() - before; reads > 5 {
			t.Errorf("%d reads for an event of 20 watchers", reads)
		}
	})
	t.Run("EndsWhenTheServerShutsDown", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		stream := f.events(t, "")
		stream.until("summary", "running")
		if err := f.server.Config.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		for {
			if _, _, ok := stream.next(); !ok {
				break
			}
		}
		if _, err := f.watch(t.Context(), f.store.rotation.ID); err == nil {
			t.Error("a watch began after the end")
		}
	})
	t.Run("IsForWhoIsSignedIn", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		path := "/rotations/" + f.store.rotation.ID.String()
		if answer := f.get(t, "/rotations/"+keyturn.NewID(time.Now()).String()+"/events"); answer.StatusCode != http.StatusNotFound {
			t.Errorf("an unknown rotation: status %d", answer.StatusCode)
		}
		f.cookie = &http.Cookie{Name: "keyturn", Value: newSecret()} //nolint:gosec // it is sent, not set
		for _, what := range []string{"/events", "/changes"} {
			if answer := f.get(t, path+what); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s without a session: status %d", what, answer.StatusCode)
			}
		}
	})
	t.Run("ChangesSayTheSame", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		mark := f.events(t, "").until("summary", "running").Mark
		f.store.set(0, keyturn.TaskSucceeded, keyturn.RotationSucceeded)
		f.events(t, mark).until("summary", "succeeded")
		var m message
		if err := json.NewDecoder(f.get(t, "/rotations/"+f.store.rotation.ID.String()+"/changes?since="+mark).Body).Decode(&m); err != nil {
			t.Fatal(err)
		}
		if !m.Ended || m.Mark == mark || !strings.Contains(m.Parts["t-"+f.store.cells[0].Task.String()], "succeeded") {
			t.Errorf("changes are %+v", m)
		}
	})
}

func TestSite(t *testing.T) {
	t.Parallel()
	f := newSiteFixture(t)
	t.Run("FirstVisitIsSmall", func(t *testing.T) {
		t.Parallel()
		total := 0
		for _, path := range []string{"/", f.assets.url("site.css"), f.assets.url("site.js"), f.assets.url("htmx.min.js"), f.assets.url("icon.svg")} {
			answer := f.get(t, path, "Accept-Encoding", "br, gzip")
			raw, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("%s: status %d, %v", path, answer.StatusCode, err)
			}
			total += len(raw)
			if answer.Header.Get("Content-Encoding") != "gzip" {
				t.Errorf("%s is not compressed", path)
				continue
			}
			if _, err := gzip.NewReader(strings.NewReader(string(raw))); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if total > 100_000 {
			t.Errorf("the first visit takes %d bytes, want 100,000 at most", total)
		}
	})
	t.Run("AssetsLastPagesDoNot", func(t *testing.T) {
		t.Parallel()
		if got := f.get(t, f.assets.url("site.css")).Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("an asset has %q", got)
		}
		page := f.get(t, "/").Header
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Content-Security-Policy": policy,
			"Strict-Transport-Security": "",
		} {
			if got := page.Get(name); got != want {
				t.Errorf("a page has %s %q, want %q", name, got, want)
			}
		}
	})
	t.Run("LinksLeadNowhereElse", func(t *testing.T) {
		t.Parallel()
		for path, want := range map[string]string{
			"/rotations?a=b": "/rotations?a=b", "//evil.example": "/", "https://evil.example/": "/", "/\\evil.example": "/",
			"javascript:alert(1)": "/", "": "/", "rotations": "/", "/a\r\nb": "/", "/%5Cevil.example": "/%5Cevil.example",
		} {
			if got := localPath(path); got != want {
				t.Errorf("localPath(%q) is %q, want %q", path, got, want)
			}
		}
	})
	t.Run("WhoComesByALinkIsSignedInStill", func(t *testing.T) {
		t.Parallel()
		// A browser does not send a strict cookie with a request that another site's page began.
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/rotations?state=failed", nil)
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		rec := httptest.NewRecorder()
		f.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `content="0;url=/rotations?state=failed"`) {
			t.Errorf("status %d: %s", rec.Code, rec.Body)
		}
	})
	t.Run("UnderTLSCookiesAreForTLS", func(t *testing.T) {
		t.Parallel()
		site, err := New(Config{API: f.API, Store: f.store, PublicURL: "https://keyturn.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		defer site.Close()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://keyturn.example.com/theme", strings.NewReader("theme=dark"))
		req.TLS = nil
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		site.ServeHTTP(rec, req)
		if got := rec.Header().Get("Set-Cookie"); !strings.Contains(got, "Secure") || !strings.Contains(got, "HttpOnly") || !strings.Contains(got, "SameSite=Strict") {
			t.Errorf("the cookie is %q", got)
		}
		if rec.Header().Get("Strict-Transport-Security") == "" {
			t.Error("browsers are not told to stay with TLS")
		}
	})
}

func TestSignInPath(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer kt_good" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"name":"token:admin","role":"admin","tokenId":"`+keyturn.NewID(now).String()+`"}`)
	})
	store := &fakeStore{sessions: map[[32]byte]keyturn.Session{}}
	site, err := New(Config{API: api, Store: store, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	if _, err := site.SignInPath(t.Context(), "kt_bad"); err == nil {
		t.Error("a token that is none made a link")
	}
	use := func(path string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		_, code, _ := strings.Cut(path, "code=")
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/sign-in/code", strings.NewReader("code="+code))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range cookies {
			req.AddCookie(c)
		}
		rec := httptest.NewRecorder()
		site.ServeHTTP(rec, req)
		return rec
	}
	path, err := site.SignInPath(t.Context(), "kt_good")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(path, "kt_") {
		t.Errorf("the token is in the link %s", path)
	}
	rec := use(path)
	if rec.Code != http.StatusSeeOther || rec.Header().Get("Set-Cookie") == "" || len(store.sessions) != 1 {
		t.Fatalf("the first use: status %d, %d sessions", rec.Code, len(store.sessions))
	}
	cookie := rec.Result().Cookies()[0]
	if rec := use(path); rec.Code != http.StatusUnauthorized || len(store.sessions) != 1 {
		t.Errorf("the second use: status %d, %d sessions", rec.Code, len(store.sessions))
	}
	again, err := site.SignInPath(t.Context(), "kt_good")
	if err != nil {
		t.Fatal(err)
	}
	first := slices.Collect(maps.Keys(store.sessions))[0]
	if rec := use(again, cookie); rec.Code != http.StatusSeeOther || len(store.sessions) != 1 || store.sessions[first].Name != "" {
		t.Errorf("signing in again: status %d, %d sessions: the one before goes on", rec.Code, len(store.sessions))
	}
	late, err := site.SignInPath(t.Context(), "kt_good")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(codeLife)
	if rec := use(late); rec.Code != http.StatusUnauthorized || len(store.sessions) != 1 {
		t.Errorf("a late use: status %d, %d sessions", rec.Code, len(store.sessions))
	}
}
