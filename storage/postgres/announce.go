package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Unannounced returns the oldest announcements that nobody else holds and holds them for the lease.
func (s *Store) Unannounced(ctx context.Context, limit int, lease time.Duration) ([]keyturn.Announcement, error) {
	rows, err := retry(ctx, func() ([]db.UnannouncedRow, error) {
		return s.q.Unannounced(ctx, s.pool, db.UnannouncedParams{Now: s.clock(), Max: int32Of(limit), Lease: micros(lease)})
	})
	if err != nil {
		return nil, fmt.Errorf("reading announcements: %w", err)
	}
	out := make([]keyturn.Announcement, len(rows))
	for i, r := range rows {
		out[i] = keyturn.Announcement{ID: r.ID, Type: r.Type, Rotation: r.RotationID, Notice: r.NoticeID, Tasks: r.TaskIds}
		switch r.Type {
		case "rotations":
			out[i].Tasks, out[i].Requested = nil, r.TaskIds
		case "keys":
			out[i].Tasks, out[i].Keys = nil, r.TaskIds
		case "retired":
			out[i].Tasks, out[i].Retired = nil, r.TaskIds
		}
	}
	return out, nil
}

// AnnouncedTasks returns the tasks, and the key records they made in the order in which the keys were used.
func (s *Store) AnnouncedTasks(ctx context.Context, tasks []keyturn.ID) ([]keyturn.Task, []keyturn.KeyRecord, error) {
	taskRows, err := s.q.TasksByID(ctx, s.pool, tasks)
	if err != nil {
		return nil, nil, fmt.Errorf("reading announced tasks: %w", err)
	}
	recordRows, err := s.q.KeyRecordsOfTasks(ctx, s.pool, tasks)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key records of announced tasks: %w", err)
	}
	out := make([]keyturn.Task, len(taskRows))
	for i, r := range taskRows {
		out[i] = taskOf(db.TasksOfRotationRow(r))
	}
	records := make([]keyturn.KeyRecord, len(recordRows))
	for i, r := range recordRows {
		records[i] = recordOf(r.KeyRecord, nil)
		if r.UsedUntil.Unix() != 0 {
			records[i] = recordOf(r.KeyRecord, &r.UsedUntil)
		}
	}
	return out, records, nil
}

// Announced removes announcements that were published.
func (s *Store) Announced(ctx context.Context, ids []keyturn.ID) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, s.q.Announced(ctx, s.pool, ids) })
	if err != nil {
		return fmt.Errorf("removing %d announcements: %w", len(ids), err)
	}
	return nil
}
