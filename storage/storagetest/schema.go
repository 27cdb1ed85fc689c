package storagetest

import (
	"testing"

	"github.com/keyturn/keyturn"
)

func schemaTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"KeyRecordsAreAppendOnly":    schemaAppendOnly,
		"ImpossibleRowsAreRefused":   schemaChecks,
		"EndedRotationsStayDistinct": schemaUnique,
	}
}

func schemaAppendOnly(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.turn(tasks[0].ID, "a", "b")
	for _, sql := range []string{
		`UPDATE key_records SET key_id = 'forged'`,
		`UPDATE key_records SET origin = 'rotated'`,
		`DELETE FROM key_records`,
	} {
		if err := f.Exec(f.ctx(), sql); err == nil {
			t.Errorf("%s: was allowed", sql)
		}
	}
	if records := f.history(keyturn.HistoryFilter{}); len(records) != 2 {
		t.Errorf("history is %+v", records)
	}
}

func schemaChecks(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	r, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	pending := []string{
		`UPDATE tasks SET state = 'bogus'`,
		`UPDATE tasks SET state = 'intended'`,
		`UPDATE tasks SET state = 'succeeded'`,
		`UPDATE tasks SET state = 'failed'`,
		`UPDATE tasks SET state = 'skipped'`,
		`UPDATE tasks SET unit_id = 'om.p1.c000'`,
		`UPDATE tasks SET resolution = 'guessed'`,
		`UPDATE tasks SET back = 'intended'`,
		`UPDATE rotations SET state = 'bogus'`,
		`UPDATE rotations SET state = 'succeeded'`,
		`UPDATE rotations SET finished_at = requested_at`,
		`UPDATE rotations SET started_at = NULL`,
		`UPDATE rotations SET trigger = 'magic'`,
		`UPDATE resources SET kind = 'Thing'`,
	}
	for _, sql := range pending {
		if err := f.Exec(f.ctx(), sql); err == nil {
			t.Errorf("%s: was allowed", sql)
		}
	}
	f.mustIntend(tasks[0].ID, "a")
	f.mustIntend(tasks[1].ID, "a")
	for _, sql := range []string{
		`UPDATE tasks SET intended_at = NULL`,
		`UPDATE tasks SET apply_by = NULL`,
		`UPDATE tasks SET key_before = ''`,
		`UPDATE tasks SET state = 'succeeded', finished_at = intended_at`,
		`UPDATE tasks SET state = 'succeeded', key_after = 'b', resolution = 'confirmed'`,
	} {
		if err := f.Exec(f.ctx(), sql); err == nil {
			t.Errorf("%s: was allowed", sql)
		}
	}
	if got := f.rotation(r.ID); got.State != keyturn.RotationRunning || got.Counts.Pending != 2 {
		t.Errorf("rotation is %+v", got)
	}
}

func schemaUnique(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for _, id := range []string{"x", "y"} {
		_, _, err := f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: id})
		f.ok(err)
	}
	if err := f.Exec(f.ctx(), `UPDATE rotations SET trigger_id = 'z'`); err == nil {
		t.Error("two rotations got one trigger id")
	}
	if err := f.Exec(f.ctx(), `UPDATE rotations SET slot = '2026-03-01T00:00:00 UTC'`); err == nil {
		t.Error("two rotations of a policy got one slot")
	}
}
