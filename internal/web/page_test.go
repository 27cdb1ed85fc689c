package web

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestDatabaseThatIsAwayIsSaidOnThePages(t *testing.T) {
	t.Parallel()
	away := &keyturn.UnavailableError{Advice: "the database is away: look at it", Err: errors.New("dial tcp 10.0.0.7:5432")}
	for name, test := range map[string]struct {
		path  string
		loses func(*fakeStore)
	}{
		"a page":           {"/", func(f *fakeStore) { f.away = away }},
		"a part of a page": {"/rotations/ID/changes?page=1", func(f *fakeStore) { f.away = away }},
		"who is signed in": {"/", func(f *fakeStore) { f.lost = away }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSiteFixture(t)
			test.loses(f.store)
			answer := f.get(t, strings.Replace(test.path, "ID", f.store.rotation.ID.String(), 1))
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ToLower(string(body))
			if answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, away.Advice) || strings.Contains(text, "10.0.0.7") {
				t.Errorf("the answer is %d, want 503 and what to do:\n%s", answer.StatusCode, body)
			}
		})
	}
}
