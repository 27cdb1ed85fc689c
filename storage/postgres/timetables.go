package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
)

const (
	// maxTimetable bounds the text of a schedule that is kept in the table timetables.
	maxTimetable = 1000
	// maxTimetables bounds how many are kept in memory.
	maxTimetables = 4096
)

// timetables keeps schedules that were read from the table of that name, by their ids. A row never changes, and its id comes
// from its text: what was read once stays right, also when somebody puts back a backup of the database.
type timetables struct {
	mu    sync.Mutex
	known map[int64]*keyturn.Schedule
}

// timetableOf returns the form in which a plain schedule is kept, and its id; nil for any other.
func timetableOf(s keyturn.Schedule) (id *int64, text *string, err error) {
	if !s.Plain() {
		return nil, nil, nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the schedule: %w", err)
	}
	if len(data) > maxTimetable {
		return nil, nil, nil
	}
	sum, written := sha256.Sum256(data), string(data)
	first := int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // all bits are wanted, as they are
	return &first, &written, nil
}

// schedules returns the schedules of the policies that are due and have a timetable.
func (t *timetables) schedules(ctx context.Context, s *Store, tx pgx.Tx, rows []duePolicy) (map[int64]*keyturn.Schedule, error) {
	found, missing := t.find(rows)
	if len(missing) == 0 {
		return found, nil
	}
	read, err := s.q.Timetables(ctx, tx, missing)
	if err != nil {
		return nil, fmt.Errorf("reading timetables: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || len(t.known)+len(read) > maxTimetables {
		t.known = make(map[int64]*keyturn.Schedule, len(read))
	}
	for _, row := range read {
		var schedule keyturn.Schedule
		if err := json.Unmarshal([]byte(row.Schedule), &schedule); err != nil {
			continue // its policies are left alone, as any whose schedule can't be read
		}
		found[row.ID], t.known[row.ID] = &schedule, &schedule
	}
	return found, nil
}

// find returns the schedules that are known, and the ids of those that are not.
func (t *timetables) find(rows []duePolicy) (found map[int64]*keyturn.Schedule, missing []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found = make(map[int64]*keyturn.Schedule)
	for i := range rows {
		id := rows[i].timetable.Int64
		if _, ok := found[id]; ok || !rows[i].timetable.Valid {
			continue
		}
		known := t.known[id]
		if found[id] = known; known == nil {
			missing = append(missing, id)
		}
	}
	return found, missing
}
