package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// adminTokenName names the token that the first start makes.
const adminTokenName = "admin"

// EnsureAdminToken makes sure that whoever can read the file can use the
// server: the first start makes an admin token and writes it to path, mode
// 0600. A file with a valid token is kept. When the file holds none but the
// database has an admin token that works, nothing is made either: a token that
// somebody revoked does not come back. It reports whether it made a token.
//
// The file is durable before the row: a crash in between leaves a file whose
// token is unknown, and the next start replaces it.
func EnsureAdminToken(ctx context.Context, store TokenStore, path string) (created bool, err error) {
	valid, err := fileTokenValid(ctx, store, path)
	if err != nil || valid {
		return false, err
	}
	now, err := store.Now(ctx)
	if err != nil {
		return false, fmt.Errorf("asking the database for the time: %w", err)
	}
	tokens, err := store.Tokens(ctx)
	if err != nil {
		return false, fmt.Errorf("listing tokens: %w", err)
	}
	for _, t := range tokens {
		if t.Role == keyturn.RoleAdmin && tokenLives(t, now) {
			return false, nil
		}
	}
	return true, ResetAdminToken(ctx, store, path)
}

// ResetAdminToken makes one more admin token and writes it to path, for whoever
// is locked out. Tokens that exist stay valid.
func ResetAdminToken(ctx context.Context, store TokenStore, path string) error {
	now, err := store.Now(ctx)
	if err != nil {
		return fmt.Errorf("asking the database for the time: %w", err)
	}
	tokens, err := store.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("listing tokens: %w", err)
	}
	secret, hash := newSecret()
	if err := writeSecret(path, secret); err != nil {
		return err
	}
	token := keyturn.Token{ID: keyturn.NewID(now), Name: adminTokenName, Role: keyturn.RoleAdmin, CreatedAt: now}
	if nameInUse(tokens, token.Name, now) {
		token.Name += "-" + token.ID.String()[24:]
	}
	if err := store.CreateToken(ctx, token, hash); err != nil {
		return fmt.Errorf("creating the admin token: %w", err)
	}
	return nil
}

func tokenLives(t keyturn.Token, now time.Time) bool {
	return t.RevokedAt == nil && (t.ExpiresAt == nil || now.Before(*t.ExpiresAt))
}

// nameInUse reports whether a token that works has the name.
func nameInUse(tokens []keyturn.Token, name string, now time.Time) bool {
	return slices.ContainsFunc(tokens, func(t keyturn.Token) bool { return t.Name == name && tokenLives(t, now) })
}

func fileTokenValid(ctx context.Context, store TokenStore, path string) (bool, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the path is the operator's configuration
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the admin token: %w", err)
	}
	secret := strings.TrimSpace(string(raw))
	if !plausibleSecret(secret) {
		return false, nil
	}
	_, err = store.TokenByHash(ctx, hashSecret(secret))
	if errors.Is(err, keyturn.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("checking the admin token of %s: %w", path, err)
	}
	return true, nil
}

// writeSecret replaces the file in one step, readable by its owner only.
func writeSecret(path, secret string) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".admin-token-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing the admin token: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.WriteString(secret + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("writing the admin token to %s: %w", path, err)
	}
	return nil
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the path is the operator's configuration
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
