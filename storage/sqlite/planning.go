package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// The statements in this file are written by hand because they take any number of rows.

// savingUnits records units as they are now. One that did not change costs no write, and what is known of its key stays.
type savingUnits struct{ units, keys bulk }

func newSavingUnits() *savingUnits {
	return &savingUnits{
		units: bulk{
			head: `INSERT INTO units (id, target, system, project_id, project_name, cluster_id, cluster_name, component, name, fcv, rotatable, reason) VALUES `,
			row:  `(?,?,?,?,?,?,?,?,?,?,?,?)`,
			args: make([]any, 0, 12*maxBulk),
			tail: ` ON CONFLICT (id) DO UPDATE SET
    project_name = excluded.project_name, cluster_name = excluded.cluster_name, component = excluded.component,
    name = excluded.name, system = excluded.system, fcv = excluded.fcv, rotatable = excluded.rotatable,
    reason = excluded.reason
WHERE units.project_name <> excluded.project_name OR units.cluster_name <> excluded.cluster_name OR units.component <> excluded.component
    OR units.name <> excluded.name OR units.system <> excluded.system OR units.fcv <> excluded.fcv
    OR units.rotatable <> excluded.rotatable OR units.reason <> excluded.reason`,
		},
		keys: bulk{head: `INSERT INTO unit_keys (unit_id) VALUES `, row: `(?)`, tail: ` ON CONFLICT (unit_id) DO NOTHING`, args: make([]any, 0, maxBulk)},
	}
}

func (s *savingUnits) add(u *keyturn.Unit) {
	s.units.add(u.ID, u.Target, string(u.System), u.ProjectID, u.ProjectName, u.ClusterID, u.ClusterName, string(u.Component), u.Name,
		u.FCV, number(u.Rotatable), u.Reason)
	s.keys.add(u.ID)
}

func (s *savingUnits) full() bool { return s.units.rows >= maxBulk }

func (s *savingUnits) flush(ctx context.Context, tx *tx) error {
	if err := tx.flush(ctx, &s.units); err != nil {
		return fmt.Errorf("recording units: %w", err)
	}
	if err := tx.flush(ctx, &s.keys); err != nil {
		return fmt.Errorf("recording units' keys: %w", err)
	}
	return nil
}

// planning is the plan of a rotation that is being saved.
type planning struct {
	s       *Store
	tx      *tx
	id      keyturn.ID
	claim   db.OwnPlanRow
	planned map[string]bool // units
	skipped []keyturn.ID
	units   *savingUnits
	tasks   bulk
}

// planning begins to save a plan, or the next part of it, if it is the owner's to save. With the first part the rotation begins.
func (s *Store) planning(ctx context.Context, tx *tx, id keyturn.ID, owner string) (*planning, error) {
	claim, err := s.q.OwnPlan(ctx, tx, db.OwnPlanParams{ID: id.String(), Owner: text(owner)})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ours(0, nil)
	}
	if err == nil && claim.Saved == 0 {
		err = s.announce(ctx, tx, "rotation.started", id)
	}
	if err != nil {
		return nil, err
	}
	return &planning{
		s: s, tx: tx, id: id, claim: claim, planned: map[string]bool{}, units: newSavingUnits(),
		tasks: bulk{
			head:   `INSERT INTO tasks (rotation_id, id, unit_id, target, project_id, turn, state, back, reason, not_before, finished_at) VALUES `,
			row:    `(?1,?,?,?,?,?,?,?,?,?,?)`,
			tail:   ` ON CONFLICT (rotation_id, unit_id) DO NOTHING`,
			shared: []any{id.String()},
			args:   make([]any, 0, 1+10*maxBulk),
		},
	}, nil
}

// unit plans a unit that was not planned yet.
func (p *planning) unit(ctx context.Context, unit keyturn.Unit, turn int64) error {
	p.planned[unit.ID] = true
	if unit.Target != p.claim.Target { // the policy was pointed elsewhere meanwhile
		return fmt.Errorf("the rotation is for target %s by now: %w", p.claim.Target, keyturn.ErrConflict)
	}
	soon, err := p.tooSoon(ctx, unit.ID)
	if err != nil {
		return fmt.Errorf("unit %s: %w", unit.ID, err)
	}
	task, notBefore := p.s.ids.next(p.tx.now), p.tx.now
	state, reason := keyturn.TaskPending, ""
	var back, finished any
	if begin := p.claim.RequestedAt + unit.Delay.Milliseconds(); unit.Delay > 0 && begin > p.tx.now {
		notBefore, back = begin, string(keyturn.TaskPending)
	}
	if !unit.Rotatable || soon {
		state, reason, back, finished = keyturn.TaskSkipped, unit.Reason, nil, p.tx.now
		p.skipped = append(p.skipped, task)
	}
	if unit.Rotatable && soon {
		reason = keyturn.TooSoon
	}
	p.units.add(&unit)
	p.tasks.add(task.String(), unit.ID, unit.Target, unit.ProjectID, turn, string(state), back, reason, notBefore, finished)
	if p.units.full() {
		return p.flush(ctx)
	}
	return nil
}

// tooSoon reports whether a task turned the unit less than the interval ago.
func (p *planning) tooSoon(ctx context.Context, unit string) (bool, error) {
	if p.claim.MinInterval == 0 {
		return false, nil
	}
	turned, err := p.s.q.TurnedAt(ctx, p.tx, unit)
	if err != nil && !errors.Is(err, sql.ErrNoRows) { // it may be new
		return false, fmt.Errorf("reading when it was turned: %w", err)
	}
	return turned.Valid && turned.Int64 > p.tx.now-p.claim.MinInterval, nil
}

func (p *planning) flush(ctx context.Context) error {
	if err := p.units.flush(ctx, p.tx); err != nil {
		return err
	}
	if err := p.tx.flush(ctx, &p.tasks); err != nil {
		return fmt.Errorf("recording tasks: %w", err)
	}
	return nil
}

// end saves what is left, and announces what was skipped. A plan that is whole is nobody's any more.
func (p *planning) end(ctx context.Context, whole bool) error {
	if err := p.flush(ctx); err != nil {
		return err
	}
	if whole {
		if err := p.s.q.StartRotation(ctx, p.tx, p.id.String()); err != nil {
			return err
		}
	}
	skipped, err := p.saved(ctx, p.skipped)
	if err != nil {
		return err
	}
	return p.s.announceTasks(ctx, p.tx, skipped)
}

// saved returns those of the tasks that there are. A planner before this one may have given their units others.
func (p *planning) saved(ctx context.Context, ids []keyturn.ID) ([]keyturn.ID, error) {
	if p.claim.Saved == 0 || len(ids) == 0 {
		return ids, nil
	}
	saved := make([]keyturn.ID, 0, len(ids))
	err := p.tx.each(ctx, `SELECT t.id FROM json_each(?1) ids CROSS JOIN tasks t ON t.id = ids.value ORDER BY ids.key`, ids, func(rows *sql.Rows) error {
		var id keyturn.ID
		err := rows.Scan(&id)
		saved = append(saved, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("finding the tasks that were skipped: %w", err)
	}
	return saved, nil
}
