package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// These statements are written by hand because sqlc knows no ctid, the place of a row: to find a row that
// was just read by its place spares an index of all policies: docs/performance.md has what that is worth. A row that is locked stays in its
// place until the transaction that has locked it updates it:
// https://www.postgresql.org/docs/current/ddl-system-columns.html

// duePlaces finds what is due, and locks nothing.
const duePlaces = `-- name: DuePlaces
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::timestamptz, clock_timestamp()) AS at
)
SELECT p.ctid FROM policies p
WHERE p.wake_at <= (SELECT at FROM clock) AND (p.paused_until IS NULL OR p.paused_until > (SELECT at FROM clock))
ORDER BY p.wake_at LIMIT $2`

// claimPlaces locks those of the policies in some places that are due, before anything is joined to them: the work must
// not grow with what exists.
const claimPlaces = `-- name: ClaimPlaces
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::timestamptz, clock_timestamp()) AS at
), due AS MATERIALIZED (
    SELECT p.name, p.paused, p.next_local, p.next_timezone, p.next_at, p.ctid AS place, p.target, p.timetable
    FROM policies p
    WHERE p.ctid = ANY ($2::tid[])
        AND p.wake_at <= (SELECT at FROM clock) AND (p.paused_until IS NULL OR p.paused_until > (SELECT at FROM clock))
    FOR UPDATE SKIP LOCKED
)
SELECT d.name, d.paused, d.next_local, d.next_timezone, d.next_at, d.place, d.target, d.timetable,
    d.timetable IS NULL AND (SELECT r.id FROM rotations r WHERE r.policy = d.name AND r.finished_at IS NULL LIMIT 1) IS NOT NULL,
    s.spec, s.generation, (SELECT at FROM clock)
FROM due d LEFT JOIN LATERAL (
    SELECT r.spec, r.generation FROM resources r WHERE d.timetable IS NULL AND r.kind = 'Policy' AND r.name = d.name LIMIT 1
) s ON true
WHERE d.timetable IS NOT NULL OR s.spec IS NOT NULL`

// placesAhead is for how many claims the places of what is due are read at once. Each time that they are read, the
// index still has what has fired just before at its beginning: with 100,000 policies due at once, finding each thousand
// anew cost more than all that happens to them.
const placesAhead = 50

// sampled is how many places of one claim are tried at first, if another scheduler is at the same ones.
const sampled = 8

// duePlacesList holds places of policies that were due when they were read, oldest slot first. They are
// no more than hints: who claims one looks at the row again.
type duePlacesList struct {
	turn   chan struct{} // whoever has put something into it may use the rest
	places []pgtype.TID
	spread bool // it begins somewhere in the middle

	contended atomic.Bool // of the last places, others had most
}

// take takes up to n places from the list. If that is empty it reads new ones.
func (l *duePlacesList) take(ctx context.Context, n int, read func() ([]pgtype.TID, error)) (taken []pgtype.TID, err error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if len(l.places) == 0 {
		if l.places, err = read(); err != nil {
			return nil, err
		}
		l.spread = false
	}
	if parts := len(l.places) / n; parts > 2 && !l.spread && l.contended.Load() { // others have the same list
		from := n * rand.N(parts) //nolint:gosec // spreads replicas, guards nothing
		l.places = slices.Concat(l.places[from:], l.places[:from])
		l.spread = true
	}
	n = min(n, len(l.places))
	taken, l.places = l.places[:n:n], l.places[n:]
	return taken, nil
}

// putBack puts the places of what was claimed, and is due as before, at the beginning of the list. If somebody else is at
// the list, it leaves that: they are found again.
func (l *duePlacesList) putBack(due []duePolicy) {
	select {
	case l.turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-l.turn }()
	places := make([]pgtype.TID, 0, len(due)+len(l.places))
	for i := range due {
		places = append(places, due[i].place)
	}
	l.places = append(places, l.places...)
}

// duePolicy is a policy whose slot has come.
type duePolicy struct {
	name                    string
	paused                  bool
	nextLocal, nextTimezone string
	nextAt                  time.Time
	place                   pgtype.TID
	target                  string      // of one that has a timetable
	timetable               pgtype.Int8 // of one whose schedule is plain: the following are not told
	underWay                bool
	spec                    []byte
	generation              pgtype.Int8
	now                     time.Time
}

// duePolicies claims up to limit policies that are due, and at least half of that unless others have them.
func (s *Store) duePolicies(ctx context.Context, tx pgx.Tx, limit int) (due []duePolicy, err error) {
	hasRead := false
	read := func() ([]pgtype.TID, error) {
		if hasRead { // the others of those that it found have been tried
			return nil, nil
		}
		hasRead = true
		return readPlaces(ctx, tx, s.clock(), placesAhead*limit)
	}
	for len(due) <= limit/2 {
		places, err := s.due.take(ctx, limit-len(due), read)
		if err != nil {
			return nil, fmt.Errorf("looking for policies that are due: %w", err)
		}
		if len(places) == 0 {
			break
		}
		if due, err = s.claim(ctx, tx, without(places, due), due); err != nil {
			return nil, fmt.Errorf("claiming policies: %w", err)
		}
	}
	return due, nil
}

// without leaves out the places of what the transaction has claimed. Whoever reads the list, for another batch perhaps,
// finds that again: it is due until it is moved on.
func without(places []pgtype.TID, due []duePolicy) []pgtype.TID {
	if len(due) == 0 {
		return places
	}
	ours := make(map[pgtype.TID]bool, len(due))
	for i := range due {
		ours[due[i].place] = true
	}
	return slices.DeleteFunc(places, func(place pgtype.TID) bool { return ours[place] })
}

func readPlaces(ctx context.Context, tx pgx.Tx, now *time.Time, most int) ([]pgtype.TID, error) {
	rows, err := tx.Query(ctx, duePlaces, now, int32Of(most))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[pgtype.TID])
}

// claim appends the policies in these places that are due and that nobody else holds. If another scheduler is at the
// same ones it tries a few first, and leaves the others alone if that one has them: they are found again if not.
func (s *Store) claim(ctx context.Context, tx pgx.Tx, places []pgtype.TID, due []duePolicy) ([]duePolicy, error) {
	before, tried := len(due), len(places)
	if tried >= 8*sampled && s.due.contended.Load() {
		var sample, rest []pgtype.TID
		for i, place := range places {
			if i%(tried/sampled) == 0 {
				sample = append(sample, place)
			} else {
				rest = append(rest, place)
			}
		}
		var err error
		if due, err = s.claimPlaces(ctx, tx, sample, due); err != nil || len(due) == before {
			return due, err
		}
		places = without(rest, due) // a list that was read again may have a place twice
	}
	due, err := s.claimPlaces(ctx, tx, places, due)
	s.due.contended.Store(len(due)-before < tried/2)
	return due, err
}

// claimPlaces appends the policies in these places that are due and that nobody else holds.
func (s *Store) claimPlaces(ctx context.Context, tx pgx.Tx, places []pgtype.TID, due []duePolicy) ([]duePolicy, error) {
	rows, err := tx.Query(ctx, claimPlaces, s.clock(), places)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if due == nil {
		due = make([]duePolicy, 0, len(places))
	}
	var d duePolicy
	var local, timezone, target shared
	into := []any{
		&d.name, &d.paused, &local.read, &timezone.read, &d.nextAt, &d.place, &target.read, &d.timetable, &d.underWay, &d.spec, &d.generation, &d.now,
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		d.nextLocal, d.nextTimezone, d.target = local.text(), timezone.text(), target.text()
		due = append(due, d)
	}
	return due, rows.Err()
}

// shared reads texts of which many that follow each other are the same, and keeps those only once.
type shared struct {
	read pgtype.DriverBytes // valid until the next row is read
	last string
}

func (s *shared) text() string {
	if string(s.read) != s.last {
		s.last = string(s.read)
	}
	return s.last
}

// advancePolicies moves policies on to their next slot, and ends the schedule of one that has none. The rows are
// locked, so they are in their places.
const advancePolicies = `-- name: AdvancePolicies
WITH slot AS MATERIALIZED (
    SELECT unnest($1::tid[]) AS place, unnest($2::timestamptz[]) AS was, unnest($3::text[]) AS local, unnest($4::text[]) AS timezone,
        unnest($5::timestamptz[]) AS at, unnest($6::timestamptz[]) AS wake, unnest($7::timestamptz[]) AS deadline -- epoch: none
), told AS ( -- what the rows have in common is told once, what few of them have ends after the last
    SELECT place, coalesce(was, $8::timestamptz) AS was, coalesce(local, $9::text) AS local, coalesce(timezone, $10::text) AS timezone,
        nullif(coalesce(at, $11::timestamptz), 'epoch') AS at, nullif(wake, 'epoch') AS wake, nullif(deadline, 'epoch') AS deadline
    FROM slot
)
UPDATE policies p SET
    next_local = CASE WHEN s.at IS NOT NULL THEN s.local END, next_timezone = CASE WHEN s.at IS NOT NULL THEN s.timezone END,
    next_at = s.at, wake_at = CASE WHEN s.at IS NOT NULL THEN coalesce(s.wake, s.at) END, deadline_at = s.deadline
FROM told s WHERE p.ctid = s.place AND p.next_at = s.was`

// advance holds the columns of advancePolicies.
type advance struct {
	places            []pgtype.TID
	was, ats          common[time.Time]
	locals, timezones common[string]
	wakes, deadlines  []time.Time // see seldom
}

// common is a column of which all rows often have the same value. Then there is only that one, and no rows.
type common[T comparable] struct {
	one  T
	rows []T
	n    int
}

func (c *common[T]) add(value T) {
	switch {
	case c.n == 0:
		c.one = value
	case c.rows != nil:
		c.rows = append(c.rows, value)
	case value != c.one:
		c.rows = append(slices.Repeat([]T{c.one}, c.n), value)
	}
	c.n++
}

// seldom adds a value to a column that hardly ever has one. Rows that it leaves out at the end are NULL for the statement.
func seldom[T comparable](column *[]T, row int, value, none T) {
	if value == none {
		return
	}
	for len(*column) < row {
		*column = append(*column, none)
	}
	*column = append(*column, value)
}

func (s *Store) advancePolicies(ctx context.Context, tx pgx.Tx, a *advance) error {
	tag, err := tx.Exec(ctx, advancePolicies, a.places, a.was.rows, a.locals.rows, a.timezones.rows, a.ats.rows, a.wakes, a.deadlines,
		a.was.one, a.locals.one, a.timezones.one, a.ats.one)
	if err != nil {
		return fmt.Errorf("advancing policies: %w", err)
	}
	if got := tag.RowsAffected(); got != int64(len(a.places)) { // or their slots would come again
		return fmt.Errorf("advancing policies: %d of %d rows were in their places", got, len(a.places))
	}
	return nil
}
