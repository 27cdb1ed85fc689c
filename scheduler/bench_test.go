package scheduler_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

func BenchmarkParse(b *testing.B) {
	s := keyturn.Schedule{Cron: "0 2 1 */3 *", Timezone: "Europe/Berlin"}
	for b.Loop() {
		if _, err := scheduler.Parse(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	tt, err := scheduler.Parse(keyturn.Schedule{Cron: "0 2 1 */3 *", Timezone: "Europe/Berlin"})
	if err != nil {
		b.Fatal(err)
	}
	slot, _ := tt.First(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := tt.Next(slot); !ok {
			b.Fatal("no slot")
		}
	}
}
