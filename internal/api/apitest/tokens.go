package apitest

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// CreateToken implements api.TokenStore.
func (s *Store) CreateToken(ctx context.Context, t keyturn.Token, hash [32]byte) error {
	if err := s.begin(ctx, "CreateToken"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, storedToken{Token: t, hash: hash})
	return nil
}

// Tokens implements api.TokenStore.
func (s *Store) Tokens(ctx context.Context) ([]keyturn.Token, error) {
	if err := s.begin(ctx, "Tokens"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	tokens := make([]keyturn.Token, len(s.tokens))
	for i, t := range s.tokens {
		tokens[i] = t.Token
	}
	return tokens, nil
}

// RevokeToken implements api.TokenStore.
func (s *Store) RevokeToken(ctx context.Context, id keyturn.ID) error {
	if err := s.begin(ctx, "RevokeToken"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for i := range s.tokens {
		if s.tokens[i].ID == id {
			at := s.now()
			s.tokens[i].RevokedAt = &at
			return nil
		}
	}
	return keyturn.ErrNotFound
}

// TokenByHash implements api.TokenStore.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (keyturn.Token, error) {
	if err := s.begin(ctx, "TokenByHash"); err != nil {
		return keyturn.Token{}, err
	}
	defer s.mu.Unlock()
	s.lookups++
	for _, t := range s.tokens {
		if t.hash == hash && t.RevokedAt == nil && (t.ExpiresAt == nil || s.now().Before(*t.ExpiresAt)) {
			return t.Token, nil
		}
	}
	return keyturn.Token{}, keyturn.ErrNotFound
}

// Now implements api.TokenStore.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := s.begin(ctx, "Now"); err != nil {
		return time.Time{}, err
	}
	defer s.mu.Unlock()
	return s.now(), nil
}

// Secret is the secret of the token of a role that AddTokens adds.
func Secret(role keyturn.Role) string {
	return "kt_" + string(role) + strings.Repeat("0", 43-len(role))
}

// AddTokens adds one token of each role, named as the role.
func (s *Store) AddTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, role := range []keyturn.Role{keyturn.RoleViewer, keyturn.RoleOperator, keyturn.RoleAdmin} {
		s.tokens = append(s.tokens, storedToken{
			Token: keyturn.Token{ID: keyturn.NewID(s.now()), Name: string(role), Role: role, CreatedAt: s.now()},
			hash:  sha256.Sum256([]byte(Secret(role))),
		})
	}
}
