package hook

import (
	"net/http"
	"testing"

	"github.com/keyturn/keyturn"
)

// What no database can keep must neither hinder the events beside it, nor name another project than it did.
func TestRead_MakesStorable(t *testing.T) {
	t.Parallel()
	body := `{"alerts":[
		{"status":"firing","fingerprint":"f1\u0000","startsAt":"2026-01-01T00:00:00Z","labels":{"alertname":"A","project":"p\u0000"}},
		{"status":"firing","fingerprint":"f2","startsAt":"2026-01-01T00:00:00Z","labels":{"alertname":"A","project":"p"}}]}`
	events, err := Read(keyturn.SourceAlertmanager, http.Header{}, []byte(body))
	if err != nil || len(events) != 2 {
		t.Fatalf("got %+v, %v", events, err)
	}
	for _, e := range events {
		if !keyturn.Storable(e.ID) || !keyturn.Storable(e.Alert) || !keyturn.Storable(e.End) || !keyturn.Storable(e.Project) || !keyturn.Storable(e.Cluster) {
			t.Errorf("not storable: %+v", e)
		}
	}
	if events[0].Project == "p" || events[1].Project != "p" {
		t.Errorf("projects %q and %q", events[0].Project, events[1].Project)
	}
}
