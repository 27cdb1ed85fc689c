package scheduler_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// FuzzRules looks for schedules whose slots stand still, share a name, come in
// closed time, or depend on who asks.
func FuzzRules(f *testing.F) {
	f.Add("30 2 * * *", "Europe/Berlin", "after", "both", "22:00", "05:00", "2026-10-25", int64(1792800000))
	f.Add("15 2 * * 0", "Australia/Lord_Howe", "skip", "last", "02:15", "02:45", "2026-04-05", int64(1775300000))
	f.Add("0 0 * * *", "Africa/Cairo", "", "", "00:30", "24:00", "", int64(1776900000))
	f.Add("@every 25h", "America/St_Johns", "after", "first", "23:59", "00:01", "2026-11-01", int64(1793400000))
	f.Add("*/7 * * * * *", "Pacific/Apia", "skip", "both", "12:00", "12:01", "2011-12-30", int64(1325160000))
	f.Fuzz(func(t *testing.T, line, zone, gap, fold, from, to, date string, unix int64) {
		s := keyturn.Schedule{Cron: line, Timezone: zone, Gap: keyturn.Gap(gap), Fold: keyturn.Fold(fold)}
		if from != "" || to != "" {
			s.Windows = []keyturn.Window{{Days: []string{"mon", "sun"}, From: from, To: to}}
		}
		if date != "" {
			s.Blackouts = []keyturn.Blackout{{Date: date}}
		}
		tt, err := scheduler.Parse(s)
		now := time.Unix(unix%(200*366*24*3600), 0) // 1770 to 2170
		if err != nil {
			return
		}
		slot, ok := tt.First(now)
		names := make(map[string]bool)
		for i := range 10 {
			if !ok {
				return
			}
			open, until := tt.Open(slot.At)
			if !open || !until.IsZero() && !until.After(slot.At) || !slot.At.After(now) || names[slot.Name()] {
				t.Fatalf("slot %d after %s is %v, open %t until %s", i, now, slot, open, until)
			}
			names[slot.Name()] = true
			if again, ok := tt.First(slot.At.Add(-time.Nanosecond)); !tt.Relative() && (!ok || again != slot) {
				t.Fatalf("First just before %v is %v", slot, again)
			}
			if notes := tt.Notes(slot); len(notes) > 8 {
				t.Fatalf("notes %q", notes)
			}
			now = slot.At
			slot, ok = tt.Next(slot)
		}
	})
}
