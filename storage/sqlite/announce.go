package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// maxAnnounced is how many tasks one announcement names at most: a plan may skip thousands at once.
const maxAnnounced = 1000

// announce adds an announcement about a rotation to the outbox.
func (s *Store) announce(ctx context.Context, tx *tx, kind string, rotation keyturn.ID) error {
	err := s.q.InsertAnnouncement(ctx, tx, db.InsertAnnouncementParams{
		ID: s.ids.next(tx.now).String(), Type: kind, RotationID: text(rotation.String()), TaskIds: "[]",
	})
	if err != nil {
		return fmt.Errorf("announcing %s: %w", kind, err)
	}
	return nil
}

// announceTasks adds an announcement about tasks that ended to the outbox.
func (s *Store) announceTasks(ctx context.Context, tx *tx, tasks []keyturn.ID) error {
	return s.announceAll(ctx, tx, "tasks", tasks)
}

func (s *Store) announceAll(ctx context.Context, tx *tx, kind string, all []keyturn.ID) error {
	for ids := range slices.Chunk(all, maxAnnounced) {
		if _, err := s.announceSome(ctx, tx, kind, ids); err != nil {
			return err
		}
	}
	return nil
}

// announceSome adds one announcement, of maxAnnounced at most.
func (s *Store) announceSome(ctx context.Context, tx *tx, kind string, ids []keyturn.ID) (keyturn.ID, error) {
	id := s.ids.next(tx.now)
	err := s.q.InsertAnnouncement(ctx, tx, db.InsertAnnouncementParams{ID: id.String(), Type: kind, TaskIds: jsonIDs(ids)})
	if err != nil {
		return id, fmt.Errorf("announcing %s: %w", kind, err)
	}
	return id, nil
}

// Unannounced implements worker.AnnounceStore.
func (s *Store) Unannounced(ctx context.Context, limit int, lease time.Duration) ([]keyturn.Announcement, error) {
	var out []keyturn.Announcement
	err := s.inTx(ctx, "claiming announcements", func(ctx context.Context, tx *tx) error {
		rows, err := s.q.FreeAnnouncements(ctx, tx, db.FreeAnnouncementsParams{Now: at(tx.now), MaxRows: int64(limit)})
		if err != nil {
			return err
		}
		for _, row := range rows {
			a, err := toAnnouncement(row)
			if err != nil {
				return err
			}
			if err := s.q.HoldAnnouncement(ctx, tx, db.HoldAnnouncementParams{ID: row.ID, HeldUntil: tx.in(lease)}); err != nil {
				return err
			}
			out = append(out, a)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func toAnnouncement(row db.FreeAnnouncementsRow) (a keyturn.Announcement, err error) {
	a.Type = row.Type
	if a.ID, err = keyturn.ParseID(row.ID); err != nil {
		return a, err
	}
	if row.RotationID.Valid {
		if a.Rotation, err = keyturn.ParseID(row.RotationID.String); err != nil {
			return a, err
		}
	}
	if row.NoticeID.Valid {
		if a.Notice, err = keyturn.ParseID(row.NoticeID.String); err != nil {
			return a, err
		}
	}
	ids := &a.Tasks
	switch row.Type {
	case "tasks":
	case "keys":
		ids = &a.Keys
	case "retired":
		ids = &a.Retired
	default:
		return a, nil
	}
	if err := json.Unmarshal([]byte(row.TaskIds), ids); err != nil {
		return a, fmt.Errorf("reading what announcement %s names: %w", row.ID, err)
	}
	return a, nil
}

// AnnouncedTasks implements worker.AnnounceStore.
func (s *Store) AnnouncedTasks(ctx context.Context, tasks []keyturn.ID) (ended []keyturn.Task, records []keyturn.KeyRecord, err error) {
	err = each(ctx, s.read, announcedTasks, tasks, func(rows *sql.Rows) error {
		var t keyturn.Task
		var started, finished sql.NullInt64
		if err := rows.Scan(&t.ID, &t.Rotation, &t.Unit, &t.State, &t.Resolution, &t.Reason, &t.Attempts, &t.KeyBefore,
			&t.KeyAfter, &started, &finished); err != nil {
			return err
		}
		t.StartedAt, t.FinishedAt = toTimePtr(started), toTimePtr(finished)
		ended = append(ended, t)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading tasks that ended: %w", err)
	}
	err = each(ctx, s.read, announcedRecords, tasks, func(rows *sql.Rows) error {
		var row db.KeyHistory
		if err := rows.Scan(&row.ID, &row.UnitID, &row.KeyID, &row.PreviousKeyID, &row.UsedFrom, &row.UsedUntil, &row.Origin,
			&row.RotationID, &row.TaskID); err != nil {
			return err
		}
		record, err := toKeyRecord(row)
		records = append(records, record)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading key records of tasks that ended: %w", err)
	}
	return ended, records, nil
}

// Announced implements worker.AnnounceStore.
func (s *Store) Announced(ctx context.Context, ids []keyturn.ID) error {
	if len(ids) == 0 {
		return nil
	}
	return s.inTx(ctx, "removing announcements", func(ctx context.Context, tx *tx) error {
		for _, id := range ids {
			if err := s.q.RemoveAnnouncement(ctx, tx, id.String()); err != nil {
				return err
			}
		}
		return nil
	})
}
