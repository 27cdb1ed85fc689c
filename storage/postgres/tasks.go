package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Intend records intents: one statement for the batch, and a second only if not all got leave.
// ApplyFor and Lease count from a moment between the call and its return.
func (s *Store) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	out := make([]keyturn.IntentOutcome, len(writes))
	open := make(map[keyturn.ID]int, len(writes)) // writes without an answer, by task
	for i, w := range writes {
		switch _, twice := open[w.Task]; {
		case twice: // the first of them takes it
			out[i].Verdict = keyturn.VerdictTaken
		case w.Intent.Before == "":
			s.log.Error("intent without a key before the change", zap.Stringer("task", w.Task), zap.String("owner", w.Owner))
			out[i].Verdict = keyturn.VerdictHeld
		default:
			open[w.Task] = i
		}
	}
	if err := s.intendAll(ctx, writes, open, out); err != nil {
		return nil, fmt.Errorf("recording %d intents: %w", len(writes), err)
	}
	if err := s.verdicts(ctx, writes, open, out); err != nil {
		return nil, fmt.Errorf("asking why %d intents were refused: %w", len(open), err)
	}
	for i, w := range writes { // of a task that is in the batch twice: the first did not take it
		if first, ok := open[w.Task]; ok && first != i && out[i].Verdict == keyturn.VerdictTaken {
			out[i] = out[first]
		}
	}
	return out, nil
}

// intendAll answers the writes that get leave and removes them from open. Of several that want the same thing for
// themselves, the first is tried; the others ask again.
func (s *Store) intendAll(ctx context.Context, writes []keyturn.IntentWrite, open map[keyturn.ID]int, out []keyturn.IntentOutcome) error {
	if len(open) == 0 {
		return nil
	}
	batch := make([]keyturn.IntentWrite, 0, len(open))
	named := map[string]bool{}
	for i, w := range writes {
		name := clean(w.Intent.Exclusive)
		if first, ok := open[w.Task]; ok && first == i && !named[name] {
			batch = append(batch, w)
			named[name] = name != ""
		}
	}
	slices.SortFunc(batch, func(a, b keyturn.IntentWrite) int { return bytes.Compare(a.Task[:], b.Task[:]) })
	granted, err := s.intend(ctx, batch)
	if err != nil {
		return err
	}
	for _, row := range granted {
		out[open[row.ID]] = keyturn.IntentOutcome{Verdict: keyturn.VerdictGo, Epoch: row.Epoch}
		delete(open, row.ID)
	}
	return nil
}

func (s *Store) intend(ctx context.Context, writes []keyturn.IntentWrite) ([]db.IntendRow, error) {
	n := len(writes)
	arg := db.IntendParams{
		Now: s.clock(), Ids: make([]keyturn.ID, n), Units: make([]string, n), Owners: make([]string, n), Befores: make([]string, n), Wants: make([]string, n),
		Data: make([][]byte, n), ApplyFors: make([]int64, n), Leases: make([]int64, n), Exclusives: make([]string, n),
	}
	for i, w := range writes {
		arg.Ids[i], arg.Units[i], arg.Owners[i], arg.Data[i] = w.Task, clean(w.Unit), clean(w.Owner), w.Intent.Data
		arg.Befores[i], arg.Wants[i] = clean(w.Intent.Before), clean(w.Intent.Want)
		arg.ApplyFors[i], arg.Leases[i], arg.Exclusives[i] = micros(w.ApplyFor), micros(w.Lease), clean(w.Intent.Exclusive)
	}
	var granted []db.IntendRow
	var err error
	// Another batch may take the same thing for itself at the same time. Then the next try sees that it has.
	for range triesOfATransaction {
		granted, err = retry(ctx, func() ([]db.IntendRow, error) {
			return inShared(ctx, s, n, func(on db.DBTX) ([]db.IntendRow, error) { return s.q.Intend(ctx, on, arg) })
		})
		if !hasCode(err, codeUniqueViolation) {
			break
		}
	}
	return granted, err
}

// verdicts answers the writes that are still open: they got no leave.
func (s *Store) verdicts(ctx context.Context, writes []keyturn.IntentWrite, open map[keyturn.ID]int, out []keyturn.IntentOutcome) error {
	if len(open) == 0 {
		return nil
	}
	ids, units := make([]keyturn.ID, 0, len(open)), make([]string, 0, len(open))
	for id, i := range open {
		ids, units = append(ids, id), append(units, clean(writes[i].Unit))
		out[i].Verdict = keyturn.VerdictDone // what the database does not know is gone
	}
	rows, err := s.q.Verdicts(ctx, s.pool, db.VerdictsParams{Ids: ids, Units: units, Now: s.clock()})
	if err != nil {
		return err
	}
	for _, row := range rows {
		out[open[row.ID]].Verdict = keyturn.Verdict(row.Verdict)
	}
	return nil
}

// Reintend renews an open intent that owner holds with this epoch, before its change is sent again.
func (s *Store) Reintend(
	ctx context.Context, task keyturn.ID, owner string, epoch int64, applyFor, lease time.Duration,
) (int64, error) {
	renewed, err := s.q.Reintend(ctx, s.pool, db.ReintendParams{
		Lease: micros(lease), ApplyFor: micros(applyFor), ID: task, Owner: clean(owner), Epoch: epoch, Now: s.clock(),
		LogFirst: keyturn.TaskLogFirst, LogLast: keyturn.TaskLogLast,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = s.notRenewed(ctx, task)
	}
	if err != nil {
		return 0, fmt.Errorf("renewing the intent of task %s: %w", task, notFound(err))
	}
	return renewed, nil
}

// notRenewed says why an open intent could not be renewed or amended.
func (s *Store) notRenewed(ctx context.Context, task keyturn.ID) error {
	rotation, err := s.q.RotationOfTask(ctx, s.pool, task)
	switch {
	case err != nil:
		return err
	case rotation.Halted:
		return fmt.Errorf("its rotation was stopped: %w", keyturn.ErrConflict)
	default:
		return keyturn.ErrNotFound
	}
}

// Take takes over an open intent whose lease has ended.
func (s *Store) Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error) {
	row, err := s.q.Take(ctx, s.pool, db.TakeParams{
		Owner: clean(owner), Lease: micros(lease), ID: task, Now: s.clock(), LogFirst: keyturn.TaskLogFirst, LogLast: keyturn.TaskLogLast,
	})
	if err != nil {
		return keyturn.Taken{}, fmt.Errorf("taking over the intent of task %s: %w", task, notFound(err))
	}
	if row.ApplyBy == nil || row.IntendedAt == nil {
		return keyturn.Taken{}, errors.New("taking over an intent without times: the schema forbids it")
	}
	taken := keyturn.Taken{
		Unit:        row.UnitID,
		Epoch:       row.Epoch,
		Intent:      keyturn.Intent{Before: row.KeyBefore, Want: row.KeyWant, Data: row.IntentData},
		SettledIn:   row.ApplyBy.Add(settle).Sub(row.Now),
		AnsweredFor: -1,
		Accepted:    row.Accepted || row.AnsweredAt != nil,
		OpenFor:     row.Now.Sub(*row.IntendedAt),
		Attempts:    int(row.Attempts),
	}
	if row.AnsweredAt != nil {
		taken.AnsweredFor = max(0, row.Now.Sub(*row.AnsweredAt)) // a clock that was set back is no "never"
	}
	return taken, nil
}

// clean removes what Postgres can't keep in a text: bytes that are no UTF-8, and NUL. Texts of
// others (an error's body, cut somewhere) must not fail the batch they are part of.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
