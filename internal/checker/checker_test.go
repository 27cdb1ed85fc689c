package checker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/checker"
)

func at(second int) time.Time { return time.Date(2026, 3, 1, 12, 0, second, 0, time.UTC) }

// sound is two units, turned by two rotations, with nothing wrong.
func sound() checker.Evidence {
	change := func(seq int64, cluster, before, after string) checker.Change {
		return checker.Change{Seq: seq, Time: at(int(seq)), ProjectID: "p", ClusterID: cluster, KeyBefore: before, KeyAfter: after, By: "request"}
	}
	record := func(cluster, key, previous, rotation, task string, from, until int) checker.Record {
		r := checker.Record{ID: key, Unit: "om.p." + cluster, KeyID: key, PreviousKeyID: previous, From: at(from), Origin: "rotated", Rotation: rotation, Task: task}
		if rotation == "" {
			r.Origin = "observed"
		}
		if until > 0 {
			end := at(until)
			r.Until = &end
		}
		return r
	}
	task := func(id, cluster, before, after string) checker.Task {
		return checker.Task{ID: id, Unit: "om.p." + cluster, State: "succeeded", Resolution: "confirmed", Attempts: 1, KeyBefore: before, KeyAfter: after}
	}
	return checker.Evidence{
		Truth: []checker.Change{change(1, "a", "a0", "a1"), change(2, "b", "b0", "b1"), change(3, "a", "a1", "a2"), change(4, "b", "b1", "b2")},
		Units: []checker.Unit{{ProjectID: "p", ClusterID: "a"}, {ProjectID: "p", ClusterID: "b"}},
		History: []checker.Record{
			record("a", "a0", "", "", "", 0, 1), record("a", "a1", "a0", "r1", "t1", 1, 3), record("a", "a2", "a1", "r2", "t3", 3, 0),
			record("b", "b0", "", "", "", 0, 2), record("b", "b1", "b0", "r1", "t2", 2, 4), record("b", "b2", "b1", "r2", "t4", 4, 0),
		},
		Rotations: []checker.Rotation{
			{ID: "r1", Policy: "all", Trigger: "schedule", Slot: "2026-03-01T12:00", State: "succeeded", Counts: checker.Counts{Total: 2, Succeeded: 2}, Tasks: []checker.Task{task("t1", "a", "a0", "a1"), task("t2", "b", "b0", "b1")}},
			{ID: "r2", Policy: "all", Trigger: "schedule", Slot: "2026-03-02T12:00", State: "succeeded", Counts: checker.Counts{Total: 2, Succeeded: 2}, Tasks: []checker.Task{task("t3", "a", "a1", "a2"), task("t4", "b", "b1", "b2")}},
		},
		Asked: []string{"r1", "r2"},
		Whole: []string{"all"},
	}
}

func TestCheck_FindsNothingWhereNothingIsWrong(t *testing.T) {
	t.Parallel()
	if found := checker.Check(sound()); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

func TestCheck_FindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(*checker.Evidence)
		want []checker.Kind
	}{
		{"OneTaskTurnedTwice", func(e *checker.Evidence) {
			e.Truth[2].KeyAfter = "ax"
			e.Truth = slices.Insert(e.Truth, 3, checker.Change{Seq: 9, ProjectID: "p", ClusterID: "a", KeyBefore: "ax", KeyAfter: "a2", By: "request"})
		}, []checker.Kind{checker.Doubled, checker.Missing}},
		{"SecondTurnAfterTheRecord", func(e *checker.Evidence) {
			e.Truth = append(e.Truth, checker.Change{Seq: 9, ProjectID: "p", ClusterID: "a", KeyBefore: "a2", KeyAfter: "a3", By: "request"})
		}, []checker.Kind{checker.Missing}},
		{"NobodyLookedAtSomebodyElsesLastKey", func(e *checker.Evidence) {
			e.Truth = append(e.Truth, checker.Change{Seq: 9, ProjectID: "p", ClusterID: "a", KeyBefore: "a2", KeyAfter: "a3", By: "elsewhere"})
		}, []checker.Kind{checker.Missing}},
		{"TaskWithTwoRecords", func(e *checker.Evidence) { e.History[2].Task, e.History[2].Rotation = "t1", "r1" }, []checker.Kind{checker.Doubled, checker.Missing, checker.Untrue}},
		{"RotationWithAUnitTwice", func(e *checker.Evidence) {
			twin := e.Rotations[0].Tasks[0]
			twin.ID, twin.State, twin.Reason = "t9", "skipped", "already turned"
			e.Rotations[0].Tasks = append(e.Rotations[0].Tasks, twin)
			e.Rotations[0].Counts = checker.Counts{Total: 3, Succeeded: 2, Skipped: 1}
		}, []checker.Kind{checker.Doubled}},
		{"SlotFiredTwice", func(e *checker.Evidence) { e.Rotations[1].Slot = e.Rotations[0].Slot }, []checker.Kind{checker.Doubled}},
		{"RecordDropped", func(e *checker.Evidence) { e.History = slices.Delete(e.History, 5, 6) }, []checker.Kind{checker.Missing, checker.Disordered}},
		{"RecordInvented", func(e *checker.Evidence) { e.History[2].KeyID = "a9" }, []checker.Kind{checker.Invented, checker.Missing, checker.Untrue, checker.Disordered}},
		{"RecordsOutOfOrder", func(e *checker.Evidence) { e.History[1], e.History[2] = e.History[2], e.History[1] }, []checker.Kind{checker.Disordered}},
		{"WrongPredecessor", func(e *checker.Evidence) { e.History[2].PreviousKeyID = "a0" }, []checker.Kind{checker.Disordered, checker.Doubled}},
		{"GapBetweenRecords", func(e *checker.Evidence) { e.History[1].Until = nil }, []checker.Kind{checker.Disordered}},
		{"RotationStillRunning", func(e *checker.Evidence) {
			e.Rotations[1].State = "running"
		}, []checker.Kind{checker.Forgotten, checker.Untrue}},
		{"TaskStillOpen", func(e *checker.Evidence) {
			e.Rotations[1].Tasks[1].State, e.Rotations[1].Counts = "intended", checker.Counts{Total: 2, Succeeded: 1, Pending: 1}
		}, []checker.Kind{checker.Forgotten}},
		{"RotationGone", func(e *checker.Evidence) { e.Rotations = e.Rotations[:1] }, []checker.Kind{checker.Forgotten, checker.Untrue}},
		{"RequestGone", func(e *checker.Evidence) { e.Triggers = []string{"ticket"} }, []checker.Kind{checker.Forgotten}},
		{"RequestTwice", func(e *checker.Evidence) {
			e.Triggers, e.Rotations[0].TriggerID, e.Rotations[1].TriggerID = []string{"ticket"}, "ticket", "ticket"
		}, []checker.Kind{checker.Doubled}},
		{"UnitLeftOut", func(e *checker.Evidence) {
			e.Rotations[1].Tasks, e.Rotations[1].Counts = e.Rotations[1].Tasks[:1], checker.Counts{Total: 1, Succeeded: 1}
		}, []checker.Kind{checker.Forgotten}},
		{"ParkedWithoutAReason", func(e *checker.Evidence) {
			e.Truth = e.Truth[:3]
			e.History = slices.Delete(e.History, 5, 6)
			e.History[4].Until = nil
			r := &e.Rotations[1]
			r.State, r.Counts, r.Tasks[1].State = "partial", checker.Counts{Total: 2, Succeeded: 1, Parked: 1}, "parked"
		}, []checker.Kind{checker.Unreasoned}},
		{"StateAgainstItsTasks", func(e *checker.Evidence) { e.Rotations[0].State = "partial" }, []checker.Kind{checker.Untrue}},
		{"CountsAgainstItsTasks", func(e *checker.Evidence) { e.Rotations[0].Counts.Succeeded = 1 }, []checker.Kind{checker.Untrue}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := sound()
			test.do(&e)
			found := checker.Check(e)
			var kinds []checker.Kind
			for _, f := range found {
				if !slices.Contains(kinds, f.Kind) {
					kinds = append(kinds, f.Kind)
				}
				if strings.Contains(f.String(), "%!") {
					t.Errorf("bad text: %s", f)
				}
			}
			for _, want := range test.want {
				if !slices.Contains(kinds, want) {
					t.Errorf("found %v, want %s", found, want)
				}
			}
			for _, kind := range kinds {
				if !slices.Contains(test.want, kind) {
					t.Errorf("found %s, which is not wrong here: %v", kind, found)
				}
			}
		})
	}
}

func TestParse_SaysWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	if _, err := checker.Parse[[]checker.Record]("the history", []byte(`{`)); err == nil || !strings.Contains(err.Error(), "the history") {
		t.Errorf("got %v", err)
	}
	records, err := checker.Parse[[]checker.Record]("the history", []byte(`[{"unit":"om.p.a","keyId":"k","from":"2026-03-01T00:00:00Z","until":null}]`))
	if err != nil || len(records) != 1 || records[0].KeyID != "k" {
		t.Errorf("got %+v, %v", records, err)
	}
}
