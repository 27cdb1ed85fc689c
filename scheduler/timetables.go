package scheduler

import (
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// maxTimetables bounds how many are kept.
const maxTimetables = 1024

// timetables reads schedules, and keeps those that say nothing but when: a million policies have
// few different ones, and reading one costs more than finding its next slot.
type timetables struct {
	reader Reader
	mu     sync.Mutex
	plain  map[plainSchedule]*Timetable
}

// plainSchedule is all that decides about the timetable of a schedule without windows and blackouts.
type plainSchedule struct {
	cron, timezone string
	gap            keyturn.Gap
	fold           keyturn.Fold
	from, to       int64 // UnixNano of the bounds; 0: none
	jitter, maxAge keyturn.Duration
}

func (t *timetables) load(s *keyturn.Schedule) (*Timetable, error) {
	if len(s.Windows) > 0 || len(s.Blackouts) > 0 {
		return t.reader.Timetable(*s)
	}
	key := plainSchedule{
		cron: s.Cron, timezone: s.Timezone, gap: s.Gap, fold: s.Fold, from: nano(s.StartAt), to: nano(s.EndAt), jitter: s.Jitter, maxAge: s.MaxAge,
	}
	t.mu.Lock()
	known := t.plain[key]
	t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	read, err := t.reader.Timetable(*s)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.plain == nil || len(t.plain) >= maxTimetables {
		t.plain = make(map[plainSchedule]*Timetable)
	}
	t.plain[key] = read
	return read, nil
}

func nano(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.UnixNano()
}
