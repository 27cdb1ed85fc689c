package worker

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestOnlyScheduledRotationsAreSpread(t *testing.T) {
	t.Parallel()
	jitter := keyturn.Schedule{Jitter: keyturn.Duration(time.Hour)}
	aged := jitter
	aged.MaxAge = keyturn.Duration(80 * keyturn.Day)
	for _, tc := range []struct {
		name     string
		schedule keyturn.Schedule
		trigger  keyturn.Trigger
		want     bool
	}{
		{"scheduled", jitter, keyturn.TriggerSchedule, true},
		{"by hand", jitter, keyturn.TriggerManual, false},
		{"without jitter", keyturn.Schedule{}, keyturn.TriggerSchedule, false},
		{"by age, which is spread already", aged, keyturn.TriggerSchedule, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			units := []keyturn.Unit{{ID: "om.p.a"}}
			spread(keyturn.Policy{Name: "quarterly", Schedule: tc.schedule}, keyturn.Rotation{Trigger: tc.trigger}, units)
			want := time.Duration(0)
			if tc.want {
				want = keyturn.Spread("quarterly", "om.p.a", time.Hour)
			}
			if units[0].Delay != want {
				t.Errorf("delayed by %s, want %s", units[0].Delay, want)
			}
		})
	}
}
