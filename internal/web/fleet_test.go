package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/fleet"
	"github.com/keyturn/keyturn/internal/web"
	"github.com/keyturn/keyturn/storage/pgtest"
	"github.com/keyturn/keyturn/storage/postgres"
	"github.com/keyturn/keyturn/storage/sqlite"
)

// store is a database with everything that an estate needs.
type store interface {
	api.Store
	web.Store
	SaveUnits(ctx context.Context, units []keyturn.Unit) error
	Observe(ctx context.Context, seen []keyturn.Observation) ([]keyturn.ObservedKey, error)
	Migrate(ctx context.Context) error
	Close() error
}

// clock is a clock that only moves when it is told to.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// site is the pages over a database with many units, and somebody who is signed in.
type site struct {
	*web.Site
	t      testing.TB
	clock  *clock
	store  store
	cookie *http.Cookie
}

func openSQLite(t testing.TB, now func() time.Time) store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "keyturn.db"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newSite(t testing.TB, units int, open func(testing.TB, func() time.Time) store) *site {
	t.Helper()
	s := &site{t: t, clock: &clock{now: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}}
	s.store = open(t, s.clock.Now)
	t.Cleanup(func() { _ = s.store.Close() })
	s.ok(s.store.Migrate(t.Context()))
	target := `{"system":"ops-manager","url":"https://om.example.com","credentials":{"publicKey":"env:A","privateKey":"env:B"}}`
	s.ok(s.store.ApplyResources(t.Context(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "om", Spec: json.RawMessage(target)},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: json.RawMessage(`{"target":"om"}`)},
		{Kind: keyturn.KindPolicy, Name: "strict", Spec: json.RawMessage(`{"target":"om","select":{"projects":["project-01*"]},"alerts":{"warnAfter":"30d"}}`)},
	}))
	s.fill(units)
	var err error
	s.Site, err = web.New(web.Config{API: api.New(api.Config{Store: s.store, Now: s.clock.Now}), Store: s.store, Now: s.clock.Now, SessionIdle: 1000 * time.Hour, SessionMax: 1000 * time.Hour})
	s.ok(err)
	t.Cleanup(s.Close)
	s.signIn()
	return s
}

func (s *site) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// fill makes units with ids like those of Ops Manager, whose keys are seen in the course of 400 days.
func (s *site) fill(n int) {
	s.t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	units := make([]keyturn.Unit, n)
	for i := range units {
		project, cluster := i/200, fmt.Sprintf("cluster-%04d", i/4)
		p, c := fmt.Sprintf("%016x%08x", uint64(project)*0x9e3779b97f4a7c15, project), fmt.Sprintf("%016x%08x", random.Uint64(), i)
		units[i] = keyturn.Unit{
			ID: "om." + p + "." + c, Target: "om", System: keyturn.SystemOpsManager, ProjectID: p, ProjectName: fmt.Sprintf("project-%03d", project),
			ClusterID: c, ClusterName: cluster, Component: keyturn.ComponentShard, Name: fmt.Sprintf("%s-shard-%d", cluster, i%4), FCV: "4.0", Rotatable: true,
		}
	}
	s.ok(s.store.SaveUnits(s.t.Context(), units))
	random.Shuffle(n, func(i, j int) { units[i], units[j] = units[j], units[i] })
	const days = 400
	for day := range days {
		s.clock.now = s.clock.now.Add(keyturn.Day)
		var seen []keyturn.Observation
		for i := day; i < n*19/20; i += days { // one in twenty is never seen
			seen = append(seen, keyturn.Observation{Unit: units[i].ID, KeyID: "key-" + units[i].ID})
		}
		if len(seen) > 0 {
			_, err := s.store.Observe(s.t.Context(), seen)
			s.ok(err)
		}
	}
}

// signIn signs a viewer in, with a link.
func (s *site) signIn() {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "token")
	_, err := api.EnsureAdminToken(s.t.Context(), s.store, file)
	s.ok(err)
	secret, err := os.ReadFile(file)
	s.ok(err)
	path, err := s.SignInPath(s.t.Context(), strings.TrimSpace(string(secret)))
	s.ok(err)
	u, err := url.Parse(path)
	s.ok(err)
	form := url.Values{"code": {u.Query().Get("code")}}
	req := httptest.NewRequestWithContext(s.t.Context(), http.MethodPost, "/sign-in/code", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	for _, c := range rec.Result().Cookies() {
		if strings.Contains(c.Name, "keyturn") && len(c.Value) == 43 {
			s.cookie = c
		}
	}
	if s.cookie == nil {
		s.t.Fatalf("signing in answered %d: %s", rec.Code, rec.Body)
	}
}

// get asks for a page as a browser does.
func (s *site) get(path string, zipped bool) *httptest.ResponseRecorder {
	s.t.Helper()
	req := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil)
	if zipped {
		req.Header.Set("Accept-Encoding", "gzip")
	}
	req.AddCookie(s.cookie)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		s.t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return rec
}

func TestFleetOfTwentyThousandUnitsIsLight(t *testing.T) {
	t.Parallel()
	s := newSite(t, 20_000, openSQLite)
	plain := s.get("/fleet", false).Body.String()
	total := s.get("/fleet", true).Body.Len() + s.get("/fleet/cells.json", true).Body.Len()
	assets := regexp.MustCompile(`/assets/[^"]+`).FindAllString(plain, -1)
	seen := map[string]bool{}
	for _, asset := range assets {
		if !seen[asset] {
			seen[asset] = true
			total += s.get(asset, true).Body.Len()
		}
	}
	if len(seen) < 5 {
		t.Errorf("the page loads only %v", assets)
	}
	t.Logf("%d bytes: page and %d assets and cells", total, len(seen))
	if total > 300_000 {
		t.Errorf("opening the fleet transfers %d bytes, more than 300 kB", total)
	}
	if n := strings.Count(plain, "<"); n > 8000 {
		t.Errorf("the page has %d tags: cells belong on the canvas", n)
	}
}

func TestFleetCellsFollowTheFilter(t *testing.T) {
	t.Parallel()
	s := newSite(t, 800, openSQLite)
	cells := func(query string) fleet.Encoded {
		t.Helper()
		var e fleet.Encoded
		if err := json.Unmarshal(s.get("/fleet/cells.json"+query, false).Body.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	all := cells("")
	if len(all.Levels) != 800 || strings.Count(all.Levels, "0") != 40 || len(all.Projects) != 4 {
		t.Errorf("%d cells, %d unknown, %d projects", len(all.Levels), strings.Count(all.Levels, "0"), len(all.Projects))
	}
	if some := cells("?q=project-002+shard-3"); len(some.Levels) != 50 {
		t.Errorf("%d cells of one shard of a project, want 50", len(some.Levels))
	}
	if none := cells("?target=nowhere"); none.Levels != "" || none.Days == nil {
		t.Errorf("cells of an unknown target are %+v", none)
	}
	place := url.Values{"target": {"om"}, "project": {all.Projects[0].ID}, "cluster": {all.Clusters[0].Name}, "name": {all.Clusters[0].Name + all.Names[0][1:]}}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/fleet/at?"+place.Encode(), nil)
	req.AddCookie(s.cookie)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	if to := rec.Header().Get("Location"); rec.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/units/om."+all.Projects[0].ID) {
		t.Errorf("a cell leads to %d %s", rec.Code, to)
	}
}

// BenchmarkSite measures what the server does for the first page, and for the map of 20,000 units and its cells.
func BenchmarkSite(b *testing.B) {
	for name, open := range map[string]func(testing.TB, func() time.Time) store{"sqlite": openSQLite, "postgres": openPostgres} {
		b.Run(name, func(b *testing.B) {
			s := newSite(b, 20_000, open)
			for _, path := range []string{"/", "/fleet", "/fleet/cells.json", "/fleet?view=table&q=shard-2"} {
				b.Run(path, func(b *testing.B) {
					for b.Loop() {
						s.clock.now = s.clock.now.Add(time.Minute) // what was read is not shown to others any more
						s.get(path, true)
					}
				})
			}
		})
	}
}

func openPostgres(t testing.TB, now func() time.Time) store {
	t.Helper()
	server, err := pgtest.Start(t.Context(), func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	s, err := postgres.Open(t.Context(), postgres.Config{URL: server.Database(t), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
