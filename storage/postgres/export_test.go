package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Prepare is what every new connection goes through.
var Prepare = prepare

// ListDue puts the places of what is due into the list, each so many times: as if other claimers had read it meanwhile.
func (s *Store) ListDue(ctx context.Context, times int) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		places, err := readPlaces(ctx, tx, s.clock(), 100)
		for range times {
			s.due.places = append(s.due.places, places...)
		}
		slices.SortStableFunc(s.due.places, func(a, b pgtype.TID) int { return cmp.Compare(a.OffsetNumber, b.OffsetNumber) })
		return err
	})
}
