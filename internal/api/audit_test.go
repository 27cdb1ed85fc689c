package api_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestExportAudit(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	wantStatus(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/quarterly/pause", `{"note":"=HYPERLINK(\"x\"), \"quoted\"\nand more"}`), http.StatusOK)
	for range 3 {
		wantStatus(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/targets/om/observe", ""), http.StatusAccepted)
	}

	t.Run("AsCSVWithoutFormulas", func(t *testing.T) {
		t.Parallel()
		rec := f.call(t, keyturn.RoleOperator, http.MethodGet, "/api/v1/audit/export", "")
		wantStatus(t, rec, http.StatusOK)
		rows, err := csv.NewReader(rec.Body).ReadAll()
		if err != nil || len(rows) != 5 {
			t.Fatalf("%d rows, %v; want a head and 4 entries", len(rows), err)
		}
		if got := strings.Join(rows[0], ","); got != "id,at,actor,action,subject,remote,reason,detail" {
			t.Errorf("the head is %s", got)
		}
		last := rows[4]
		if last[3] != "policy.pause" || last[4] != "quarterly" || last[5] != "192.0.2.1" || last[6] != "'=HYPERLINK(\"x\"), \"quoted\"\nand more" {
			t.Errorf("the oldest entry is %q", last)
		}
		if kind, as := rec.Header().Get("Content-Type"), rec.Header().Get("Content-Disposition"); kind != "text/csv; charset=utf-8" || !strings.Contains(as, "keyturn-audit.csv") {
			t.Errorf("it is %s, %s", kind, as)
		}
	})
	t.Run("AsLinesOfJSON", func(t *testing.T) {
		t.Parallel()
		rec := f.call(t, keyturn.RoleOperator, http.MethodGet, "/api/v1/audit/export?format=jsonl", "")
		wantStatus(t, rec, http.StatusOK)
		var last keyturn.AuditEntry
		lines := 0
		for line := range strings.Lines(rec.Body.String()) {
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			lines++
		}
		if lines != 4 || last.Action != "policy.pause" || !strings.HasPrefix(last.Reason, "=HYPERLINK") {
			t.Errorf("%d lines, the last is %+v", lines, last)
		}
	})
	t.Run("NotForViewers", func(t *testing.T) {
		t.Parallel()
		wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/audit/export", ""), http.StatusForbidden)
	})
	t.Run("OfNothingIsAHead", func(t *testing.T) {
		t.Parallel()
		rec := newFixture(t, nil).call(t, keyturn.RoleOperator, http.MethodGet, "/api/v1/audit/export?format=csv", "")
		if rec.Code != http.StatusOK || strings.Count(rec.Body.String(), "\n") != 1 {
			t.Errorf("status %d: %s", rec.Code, rec.Body)
		}
	})
}
