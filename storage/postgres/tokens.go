package postgres

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// CreateToken keeps a token's hash. A hash or id that exists is ErrConflict.
func (s *Store) CreateToken(ctx context.Context, t keyturn.Token, hash [32]byte) error {
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		n, err := s.q.CreateToken(ctx, on, db.CreateTokenParams{
			ID: t.ID, Name: clean(t.Name), Role: string(t.Role), Hash: hash[:], CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt,
		})
		if err == nil && n == 0 {
			err = keyturn.ErrConflict
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("creating token %q: %w", t.Name, err)
	}
	return nil
}

// Tokens lists all tokens, oldest first, also those that ended.
func (s *Store) Tokens(ctx context.Context) ([]keyturn.Token, error) {
	rows, err := s.q.Tokens(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	out := make([]keyturn.Token, len(rows))
	for i, row := range rows {
		out[i] = tokenOf(row)
	}
	return out, nil
}

// RevokeToken ends a token. Revoking it again changes nothing.
func (s *Store) RevokeToken(ctx context.Context, id keyturn.ID) error {
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		n, err := s.q.RevokeToken(ctx, on, db.RevokeTokenParams{Now: s.clock(), ID: id})
		return changedRow(n, err, func() (bool, error) { return s.q.TokenExists(ctx, on, id) })
	})
	if err != nil {
		return fmt.Errorf("revoking token %s: %w", id, err)
	}
	return nil
}

// TokenByHash answers ErrNotFound for a token that is unknown, revoked or expired.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (keyturn.Token, error) {
	row, err := s.q.TokenByHash(ctx, s.pool, db.TokenByHashParams{Hash: hash[:], Now: s.clock()})
	if err != nil {
		return keyturn.Token{}, fmt.Errorf("looking up a token: %w", notFound(err))
	}
	return tokenOf(db.TokensRow(row)), nil
}

func tokenOf(r db.TokensRow) keyturn.Token {
	return keyturn.Token{
		ID: r.ID, Name: r.Name, Role: keyturn.Role(r.Role),
		CreatedAt: r.CreatedAt.UTC(), ExpiresAt: utc(r.ExpiresAt), RevokedAt: utc(r.RevokedAt),
	}
}
