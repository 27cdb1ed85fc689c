package storagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

// dyingStore dies before it tells.
type dyingStore struct {
	alerts.Store
	saves int
}

var errDied = errors.New("the process died")

func (s *dyingStore) SaveNotice(context.Context, string, keyturn.NoticeWrite) error { return errDied }

func (s *dyingStore) SaveAlerts(ctx context.Context, owner string, batch *keyturn.AlertBatch) error {
	s.saves++
	return s.Store.SaveAlerts(ctx, owner, batch)
}

func alertCrash(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned(makeUnits("om", "p1", 3)...)
	f.clock.Advance(90 * day)
	dying := &dyingStore{Store: f.Store}
	f.ok(alerts.New(alerts.Config{Owner: "sweeper-0", Store: dying}).Pass(f.ctx()))
	f.clock.Advance(keyturn.GroupWait)
	f.is(alerts.New(alerts.Config{Owner: "sweeper-0", Store: dying}).Pass(f.ctx()), errDied)
	if dying.saves != 1 {
		t.Fatalf("%d saves, want 1", dying.saves)
	}
	f.quiet(f.told())
	f.evaluate() // the lease of the dead one lasts
	f.quiet(f.told())
	told := f.tell(f.after(31*time.Second), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 3 {
		t.Errorf("told %+v", told)
	}
	f.quiet(f.after(time.Minute))
}

func alertTwoSweepers(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.turned(makeUnits("om", "p1", 200)...)
	f.clock.Advance(90 * day)
	errs := make(chan error)
	for i := range 4 {
		go func() {
			var all error
			for range 5 {
				all = errors.Join(all, alerts.New(alerts.Config{Owner: fmt.Sprint("sweeper-", i), Store: f.Store}).Pass(f.ctx()))
				f.clock.Advance(keyturn.GroupWait)
			}
			errs <- all
		}()
	}
	for range 4 {
		if err := <-errs; err != nil && !errors.Is(err, keyturn.ErrConflict) && !errors.Is(err, keyturn.ErrNotFound) {
			t.Error(err)
		}
	}
	f.clock.Advance(time.Minute)
	f.evaluate() // they may have been in each other's way all the time: then the group begins to wait now
	told := f.tell(f.after(keyturn.GroupWait), keyturn.AlertKeyAge, keyturn.AlertFiring)
	if told.Count != 200 || len(f.open(keyturn.AlertKeyAge)) != 200 {
		t.Errorf("told of %d, open are %d; want 200", told.Count, len(f.open(keyturn.AlertKeyAge)))
	}
}

func alertLateSweeper(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	_, err := f.ClaimSweep(f.ctx(), "first", time.Minute)
	f.ok(err)
	_, err = f.ClaimSweep(f.ctx(), "second", time.Minute)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(time.Minute)
	_, err = f.ClaimSweep(f.ctx(), "second", time.Minute)
	f.ok(err)
	batch := &keyturn.AlertBatch{Open: []keyturn.AlertFact{{Kind: keyturn.AlertExternal, Subject: "x", Severity: keyturn.SeverityInfo, Message: "m"}}}
	f.is(f.SaveAlerts(f.ctx(), "first", batch), keyturn.ErrConflict)
	f.is(f.SaveNotice(f.ctx(), "first", keyturn.NoticeWrite{}), keyturn.ErrConflict)
	if open := f.open(keyturn.AlertExternal); len(open) != 0 {
		t.Errorf("a refused change was made: %+v", open)
	}
	f.ok(f.SaveAlerts(f.ctx(), "second", batch))
	f.ok(f.SaveAlerts(f.ctx(), "second", batch))
	f.oneOpen(keyturn.AlertExternal)
}

func alertVersions(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	_, err := f.ClaimSweep(f.ctx(), "first", time.Hour)
	f.ok(err)
	fact := keyturn.AlertFact{Kind: keyturn.AlertExternal, Subject: "x", Severity: keyturn.SeverityWarning, Message: "m"}
	f.ok(f.RaiseAlert(f.ctx(), fact))
	seen, err := f.OpenAlerts(f.ctx(), keyturn.AlertExternal, "", 10)
	f.ok(err)
	f.ack(seen[0].ID, keyturn.Ack{By: "ada"})
	fact.Message = "other"
	f.ok(f.SaveAlerts(f.ctx(), "first", &keyturn.AlertBatch{Update: []keyturn.AlertUpdate{seen[0].Become(fact)}}))
	f.ok(f.SaveAlerts(f.ctx(), "first", &keyturn.AlertBatch{Resolve: seen}))
	if a := f.oneOpen(keyturn.AlertExternal); a.State != keyturn.AlertAcknowledged || a.Message != "m" {
		t.Errorf("alert is %+v, want it as it was acknowledged", a)
	}
}

func alertListing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	for i := range 7 {
		f.clock.Advance(time.Second)
		f.ok(f.RaiseAlert(f.ctx(), keyturn.AlertFact{
			Kind: keyturn.AlertExternal, Subject: fmt.Sprint("s", i), Severity: keyturn.SeverityInfo, Message: "m", Target: fmt.Sprint("t", i%2),
		}))
	}
	f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, "s3"))
	f.ok(f.ResolveAlert(f.ctx(), keyturn.AlertExternal, "s6"))
	var got []string
	for page := (keyturn.Page{Limit: 2}); ; {
		list, next, err := f.Alerts(f.ctx(), keyturn.AlertFilter{Page: page})
		f.ok(err)
		for _, a := range list {
			got = append(got, a.Subject)
		}
		if next == "" {
			break
		}
		page.After = next
	}
	if want := "s5 s4 s2 s1 s0 s6 s3"; strings.Join(got, " ") != want {
		t.Errorf("listed %s, want %s", strings.Join(got, " "), want)
	}
	list, _, err := f.Alerts(f.ctx(), keyturn.AlertFilter{State: keyturn.AlertFiring, Target: "t1"})
	f.ok(err)
	if len(list) != 2 || list[0].Subject != "s5" || list[1].Subject != "s1" {
		t.Errorf("listed %+v, want s5 and s1", list)
	}
	counts, err := f.OpenAlertCounts(f.ctx())
	f.ok(err)
	if len(counts) != 1 || counts[0] != (keyturn.AlertCount{Kind: keyturn.AlertExternal, Severity: keyturn.SeverityInfo, Open: 5}) {
		t.Errorf("counted %+v", counts)
	}
	if _, _, err := f.Alerts(f.ctx(), keyturn.AlertFilter{Page: keyturn.Page{After: "nonsense"}}); err == nil {
		t.Error("a cursor that is none was taken")
	}
}

func alertAppendOnly(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.ok(f.RaiseAlert(f.ctx(), keyturn.AlertFact{Kind: keyturn.AlertExternal, Subject: "x", Severity: keyturn.SeverityInfo, Message: "m"}))
	for _, statement := range []string{`UPDATE alert_changes SET note = 'x'`, `DELETE FROM alert_changes`} {
		if err := f.Exec(f.ctx(), statement); err == nil {
			t.Errorf("%s was allowed", statement)
		}
	}
	n := keyturn.Notice{Alerts: []keyturn.Alert{}}
	if b, err := json.Marshal(n); err != nil || strings.Contains(string(b), "null") {
		t.Errorf("an empty notice is %s, %v", b, err)
	}
}
