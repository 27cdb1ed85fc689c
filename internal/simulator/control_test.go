package simulator_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/simulator"
)

// control sends a request to /simulator/.
func control(t *testing.T, s *simulator.Simulator, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, "/simulator/"+path, strings.NewReader(body)))
	return rec
}

func TestControl_Truth(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	type truth struct {
		Total, Next int64
		Records     []simulator.Record
	}
	read := func(query string) (got truth) {
		decode(t, control(t, s, "GET", "truth"+query, "").Body.Bytes(), &got)
		return got
	}
	if got := read(""); got.Records == nil || got.Total != 0 {
		t.Errorf("nothing happened: %+v", got)
	}
	for _, u := range s.Estate().Units() {
		if rec := control(t, s, "POST", "clusters/"+u.ClusterID+"/rotate", ""); rec.Code != 200 {
			t.Errorf("rotate: %d %s", rec.Code, rec.Body)
		}
	}
	all := read("")
	if len(all.Records) != 8 || all.Total != 8 || all.Next != 8 || all.Records[0].By != simulator.ByElsewhere {
		t.Errorf("%+v", all)
	}
	if got := read("?after=3&limit=2"); len(got.Records) != 2 || got.Records[0] != all.Records[3] || got.Next != 5 {
		t.Errorf("a page: %+v", got)
	}
	if got := read("?after=8"); len(got.Records) != 0 || got.Next != 8 {
		t.Errorf("behind the end: %+v", got)
	}
	lines := bufio.NewScanner(control(t, s, "GET", "truth?format=ndjson", "").Body)
	for i := 0; lines.Scan(); i++ {
		var r simulator.Record
		if decode(t, lines.Bytes(), &r); r != all.Records[i] {
			t.Errorf("line %d: %+v", i, r)
		}
	}
	for _, query := range []string{"?after=-1", "?limit=x", "?format=xml"} {
		if rec := control(t, s, "GET", "truth"+query, ""); rec.Code != 400 {
			t.Errorf("%s: %d", query, rec.Code)
		}
	}
}

func TestControl_Faults(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	for _, step := range []struct {
		method, body string
		status       int
		put          float64
		outage       simulator.Outage
	}{
		{"PUT", `{"put":{"errorAfter":0.25},"retryAfter":"3s"}`, 200, 0.25, ""},
		{"PATCH", `{"outage":"reset"}`, 200, 0.25, "reset"},
		{"PUT", `{"put":{"nope":1}}`, 400, 0.25, "reset"},
		{"PUT", `{"put":{"errorAfter":2}}`, 400, 0.25, "reset"},
		{"PUT", `{"retryAfter":"soon"}`, 400, 0.25, "reset"},
		{"PUT", `{}`, 200, 0, ""},
	} {
		rec := control(t, s, step.method, "faults", step.body)
		var got simulator.Faults
		decode(t, control(t, s, "GET", "faults", "").Body.Bytes(), &got)
		if rec.Code != step.status || got.PUT.ErrorAfter != step.put || got.Outage != step.outage || got != s.Faults() {
			t.Errorf("%s %s: %d, %+v", step.method, step.body, rec.Code, got)
		}
	}
}

func TestControl_Stats(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	c, u := clientOf(t, s), s.Estate().Units()[0]
	c.do(http.MethodPut, keyPath(u))
	c.do(http.MethodGet, "/nope")
	parent := c.clusters(u.ProjectID)[0]
	c.do(http.MethodPut, "/groups/"+u.ProjectID+"/backupConfigs/"+parent.ID+"/encryptionKey")
	var got simulator.Stats
	decode(t, control(t, s, "GET", "stats", "").Body.Bytes(), &got)
	if got.Requests != 8 || got.Unauthorized != 4 || got.Processed != 1 || got.Refused != 1 || got.MaxInFlight != 1 || got.InFlight != 0 {
		t.Errorf("%+v", got)
	}
	if n := got.Endpoints["PUT /groups/{id}/backupConfigs/{id}/encryptionKey"]; n != 2 || got.Endpoints["GET /groups"] != 4 || got.Endpoints["unknown"] != 1 {
		t.Errorf("%+v", got.Endpoints)
	}
	if k := got.Keys; len(k) != 1 || k[0].PublicKey != c.key.Public || k[0].Requests != 4 || k[0].MaxInFlight != 1 {
		t.Errorf("%+v", k)
	}
	if rec := control(t, s, "DELETE", "stats", ""); rec.Code != 204 || s.Stats().Requests != 0 || s.Stats().MaxInFlight != 0 {
		t.Errorf("%d %+v", rec.Code, s.Stats())
	}
}

func TestControl_UnitsAndClusters(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	var units []simulator.Unit
	for d := json.NewDecoder(bytes.NewReader(control(t, s, "GET", "units", "").Body.Bytes())); d.More(); {
		var u simulator.Unit
		if err := d.Decode(&u); err != nil {
			t.Fatal(err)
		}
		units = append(units, u)
	}
	if len(units) != 8 || units[0] != s.Estate().Units()[0] {
		t.Fatalf("%+v", units)
	}
	for _, want := range []int{204, 404} {
		if rec := control(t, s, "DELETE", "clusters/"+units[0].ClusterID, ""); rec.Code != want {
			t.Errorf("removing: %d, not %d", rec.Code, want)
		}
		if rec := control(t, s, "POST", "clusters/"+units[0].ClusterID+"/rotate", ""); rec.Code != 404 {
			t.Errorf("rotating what is gone: %d", rec.Code)
		}
	}
	if rec := control(t, s, "GET", "nope", ""); rec.Code != 404 {
		t.Errorf("unknown: %d", rec.Code)
	}
}
