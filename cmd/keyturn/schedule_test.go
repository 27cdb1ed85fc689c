package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api/apitest"
	"github.com/keyturn/keyturn/internal/client"
)

func TestScheduleShowsWhereSlotsAre(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.store.AddResource(keyturn.KindPolicy, "nightly", `{"target":"om-prod","schedule":{"cron":"30 2 * * *","timezone":"Europe/Berlin","fold":"both"}}`)
	table := c.run(t, "schedule", "nightly", "--next", "1").want(t, exitDone).stdout
	if !strings.Contains(table, "2026-03-29T02:30:00  Europe/Berlin  2026-03-29 01:00:00  +02:00  gap: 02:30 does not exist, moved to 03:00") {
		t.Errorf("table:\n%s", table)
	}
	for _, args := range [][]string{
		{"schedule", "nightly"},
		{"schedule", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--fold", "both"},
	} {
		var slots []client.PlannedSlot
		out := c.run(t, append(args, "--next", "2", "--from", "2026-10-25", "-o", "json")...).want(t, exitDone).stdout
		if err := json.Unmarshal([]byte(out), &slots); err != nil {
			t.Fatal(err)
		}
		if len(slots) != 2 || slots[0].Local != "2026-10-25T02:30:00" || slots[1].Local != slots[0].Local || slots[0].Offset != "+02:00" || slots[1].Offset != "+01:00" ||
			slots[0].Slot == slots[1].Slot || !slots[1].At.After(slots[0].At) {
			t.Errorf("%q: %+v", args, slots)
		}
	}
	if out := c.run(t, "schedule", "nightly", "--next", "1", "-o", "yaml").want(t, exitDone).stdout; !strings.HasPrefix(out, `- "local": "2026-03-29T02:30:00"`) {
		t.Errorf("YAML: %s", out)
	}
	c.store.AddResource(keyturn.KindPolicy, "trigger", `{"target":"om-prod"}`)
	if out := c.run(t, "schedule", "trigger", "-o", "json").want(t, exitDone).stdout; strings.TrimSpace(out) != "[]" {
		t.Errorf("without slots: %s", out)
	}
}

func TestScheduleErrors(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	for _, tc := range []struct {
		args []string
		code int
		word string
	}{
		{[]string{"schedule"}, exitUsage, "give a policy, or --cron"},
		{[]string{"schedule", "quarterly", "--cron", "@daily"}, exitUsage, "give a policy, or --cron"},
		{[]string{"schedule", "quarterly", "--next", "0"}, exitUsage, "1 to 10000"},
		{[]string{"schedule", "quarterly", "--from", "soon"}, exitUsage, "--from"},
		{[]string{"schedule", "none"}, exitNotFound, `no policy "none"`},
		{[]string{"schedule", "--cron", "0 0 30 2 *"}, exitUsage, "never fires"},
		{[]string{"schedule", "--cron", "@daily", "--timezone", "Europe/Berln"}, exitUsage, "did you mean Europe/Berlin?"},
		{[]string{"backfill", "quarterly"}, exitUsage, "--from is missing"},
		{[]string{"backfill", "quarterly", "--from", "soon"}, exitUsage, "--from"},
		{[]string{"backfill", "quarterly", "--from", "2026-01-01", "--to", "soon"}, exitUsage, "--to"},
		{[]string{"backfill", "quarterly", "--from", "2026-03-01", "--to", "2026-01-01"}, exitUsage, "--to 2026-01-01 is not after --from 2026-03-01"},
		{[]string{"backfill", "quarterly", "--from", "2026-01-01T02:00:00+02:00", "--to", "2026-01-01T00:00:00Z"}, exitUsage, "is not after"},
		{[]string{"backfill", "quarterly", "--from", "2027-01-01"}, exitFailed, "in the future"},
		{[]string{"forecast", "--months", "0"}, exitUsage, "1 to 120"},
		{[]string{"forecast", "none"}, exitNotFound, `no policy "none"`},
		{[]string{"simulate-time"}, exitUsage, "-f is missing"},
		{[]string{"simulate-time", "-f", "x", "--failure-rate", "2"}, exitUsage, "0 to 1"},
		{[]string{"simulate-time", "-f", "x", "--max-age", "old"}, exitUsage, "no age"},
		{[]string{"simulate-time", "-f", "/nowhere.yaml"}, exitFailed, "/nowhere.yaml"},
	} {
		c.run(t, tc.args...).want(t, tc.code).wantError(t, tc.word)
	}
}

func TestBackfillListsThenAsks(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	dry := c.run(t, "backfill", "quarterly", "--from", "2025-09-01", "--dry-run").want(t, exitDone)
	if !strings.Contains(dry.stdout, "2025-10-01T02:00:00") || !strings.Contains(dry.stdout, "2026-01-01T02:00:00") || !strings.Contains(dry.stderr, "2 of 2 slots without a rotation") {
		t.Errorf("dry run:\n%s%s", dry.stdout, dry.stderr)
	}
	var asked []client.MissedSlot
	out := c.run(t, "backfill", "quarterly", "--from", "2025-09-01", "-o", "json").want(t, exitDone).stdout
	if err := json.Unmarshal([]byte(out), &asked); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 2 || asked[0].Rotation == "" || asked[0].Local != "2025-10-01T02:00:00" {
		t.Errorf("asked for %+v", asked)
	}
	c.run(t, "backfill", "quarterly", "--from", "2025-09-01", "--to", "2025-09-02").want(t, exitDone).wantError(t, "no slot lies in the range")
	if again := c.run(t, "backfill", "quarterly", "--from", "2025-09-01").want(t, exitDone); !strings.Contains(again.stderr, "each of 2 slots has its rotation") {
		t.Errorf("again: %s", again.stderr)
	}
}

func TestForecastInEveryForm(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	since := apitest.Epoch().Add(-300 * keyturn.Day)
	c.store.AddUnits(keyturn.Unit{ID: "om-prod.p.u", Target: "om-prod", Rotatable: true, KeySince: &since})
	table := c.run(t, "forecast", "--months", "6").want(t, exitDone).stdout
	for _, want := range []string{"2026-04-01 00:00  rotation  quarterly  1", "2026-03-28 12:00  warning   quarterly  1      keys pass 90d, such as that of om-prod.p.u"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in:\n%s", want, table)
		}
	}
	var f client.Forecast
	if err := json.Unmarshal([]byte(c.run(t, "forecast", "quarterly", "--months", "6", "-o", "json").want(t, exitDone).stdout), &f); err != nil || len(f.Rotations) != 2 || len(f.Ages) != 2 {
		t.Errorf("%+v, %v", f, err)
	}
	if out := c.run(t, "forecast", "-o", "ical").want(t, exitDone).stdout; !strings.HasPrefix(out, "BEGIN:VCALENDAR\r\n") || !strings.Contains(out, "SUMMARY:Rotation of quarterly\r\n") {
		t.Errorf("calendar: %s", out)
	}
}

func TestSimulateTimeFailsWhenAKeyGetsTooOld(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	file := filepath.Join(c.dir, "policies.yaml")
	text := "apiVersion: keyturn/v1\nkind: Policy\nname: monthly\nspec:\n  target: om\n  schedule: {cron: \"0 2 1 * *\", blackouts: [{from: 2026-06-15, to: 2026-07-20}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := c.run(t, "simulate-time", "-f", file, "--failure-rate", "0.01", "--seed", "3").want(t, exitDone).stdout
	if !strings.Contains(out, "monthly  24 ") || !strings.Contains(out, "yes") {
		t.Errorf("table:\n%s", out)
	}
	failed := c.run(t, "simulate-time", "-f", file, "--max-age", "45d").want(t, exitNotSucceeded)
	failed.wantError(t, "policy monthly", "49.9d", "more than 45d")
	c.run(t, "simulate-time", "-f", file, "--failure-rate", "1", "-o", "json").want(t, exitNotSucceeded)
	if err := os.WriteFile(file, []byte(strings.Replace(text, "0 2 1", "0 99 1", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, "simulate-time", "-f", file).want(t, exitFailed).wantError(t, "policies.yaml:6:20: spec.schedule.cron")
}
