package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// CreateToken implements api.TokenStore.
func (s *Store) CreateToken(ctx context.Context, t keyturn.Token, hash [32]byte) error {
	return s.inTx(ctx, "creating a token", func(ctx context.Context, tx *tx) error {
		err := s.q.InsertToken(ctx, tx, db.InsertTokenParams{
			ID: t.ID.String(), Name: t.Name, Role: string(t.Role), Hash: hash[:], CreatedAt: t.CreatedAt.UnixMilli(),
			ExpiresAt: fromTimePtr(t.ExpiresAt),
		})
		if isDuplicate(err) {
			return fmt.Errorf("%w: there is such a token already", keyturn.ErrConflict)
		}
		if err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// Tokens implements api.TokenStore.
func (s *Store) Tokens(ctx context.Context) ([]keyturn.Token, error) {
	rows, err := s.q.Tokens(ctx, s.read)
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	out := make([]keyturn.Token, len(rows))
	for i, row := range rows {
		if out[i], err = toToken(row.ID, row.Name, row.Role, row.CreatedAt, row.ExpiresAt, row.RevokedAt); err != nil {
			return nil, fmt.Errorf("listing tokens: %w", err)
		}
	}
	return out, nil
}

// RevokeToken implements api.TokenStore. Revoking twice changes nothing.
func (s *Store) RevokeToken(ctx context.Context, id keyturn.ID) error {
	return s.inTx(ctx, "revoking token "+id.String(), func(ctx context.Context, tx *tx) error {
		n, err := s.q.RevokeToken(ctx, tx, db.RevokeTokenParams{ID: id.String(), Now: at(tx.now)})
		return s.auditChange(ctx, tx, n, err, func() (int64, error) { return s.q.TokenExists(ctx, tx, id.String()) })
	})
}

// TokenByHash implements api.TokenStore.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (keyturn.Token, error) {
	row, err := s.q.TokenByHash(ctx, s.read, db.TokenByHashParams{Hash: hash[:], Now: at(s.nowMS())})
	if err != nil {
		return keyturn.Token{}, fmt.Errorf("finding a token: %w", found(err))
	}
	return toToken(row.ID, row.Name, row.Role, row.CreatedAt, row.ExpiresAt, row.RevokedAt)
}

func toToken(id, name, role string, created int64, expires, revoked sql.NullInt64) (keyturn.Token, error) {
	t := keyturn.Token{
		Name: name, Role: keyturn.Role(role), CreatedAt: toTime(created), ExpiresAt: toTimePtr(expires), RevokedAt: toTimePtr(revoked),
	}
	return t, t.ID.Scan(id)
}
