package api_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

func ensure(t *testing.T, store *apitest.Store, path string) (created bool) {
	t.Helper()
	created, err := api.EnsureAdminToken(t.Context(), store, path)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// adminFile reads the token and checks that it works.
func adminFile(t *testing.T, store *apitest.Store, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(string(raw))
	token, err := store.TokenByHash(t.Context(), sha256.Sum256([]byte(secret)))
	if err != nil || token.Role != keyturn.RoleAdmin {
		t.Fatalf("the file's token is %+v, %v", token, err)
	}
	return secret
}

func TestFirstStartMakesAnAdminTokenAndLaterOnesKeepIt(t *testing.T) {
	t.Parallel()
	store, path := &apitest.Store{}, filepath.Join(t.TempDir(), "admin-token")
	if !ensure(t, store, path) {
		t.Error("the first start made no token")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want mode 0600", info, err)
	}
	secret := adminFile(t, store, path)
	if ensure(t, store, path) || adminFile(t, store, path) != secret {
		t.Error("the second start replaced the token")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("more than the token is left: %v", entries)
	}
}

func TestAdminTokenAfterACrashBetweenFileAndRow(t *testing.T) {
	t.Parallel()
	store, path := &apitest.Store{}, filepath.Join(t.TempDir(), "admin-token")
	store.Fail = func(method string) error {
		if method == "CreateToken" {
			return errors.New("killed")
		}
		return nil
	}
	if _, err := api.EnsureAdminToken(t.Context(), store, path); err == nil {
		t.Fatal("no error")
	}
	store.Fail = nil
	ensure(t, store, path)
	adminFile(t, store, path)
}

func TestAdminTokenThatWasRevokedDoesNotComeBack(t *testing.T) {
	t.Parallel()
	store, path := &apitest.Store{}, filepath.Join(t.TempDir(), "admin-token")
	ensure(t, store, path)
	tokens, err := store.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store.AddTokens() // another admin
	if err := store.RevokeToken(t.Context(), tokens[0].ID); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	if ensure(t, store, path) {
		t.Error("a token was made though another admin has one")
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file was changed")
	}
}

func TestAdminTokenIsMadeAgainWhenNobodyElseIsAdmin(t *testing.T) {
	t.Parallel()
	store, path := &apitest.Store{}, filepath.Join(t.TempDir(), "admin-token")
	ensure(t, store, path)
	tokens, err := store.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.RevokeToken(t.Context(), tokens[0].ID); err != nil {
		t.Fatal(err)
	}
	ensure(t, store, path)
	adminFile(t, store, path)
}

func TestResetAdminTokenLetsInWhoIsLockedOut(t *testing.T) {
	t.Parallel()
	store, path := &apitest.Store{}, filepath.Join(t.TempDir(), "admin-token")
	ensure(t, store, path)
	first := adminFile(t, store, path)
	if err := api.ResetAdminToken(t.Context(), store, path); err != nil {
		t.Fatal(err)
	}
	if adminFile(t, store, path) == first {
		t.Error("the token is the same")
	}
	tokens, err := store.Tokens(t.Context())
	if err != nil || len(tokens) != 2 || tokens[0].Name == tokens[1].Name {
		t.Errorf("tokens %v, %v; want two with different names", tokens, err)
	}
}

func TestAdminTokenWithoutAFolderIsAClearError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nosuch", "admin-token")
	_, err := api.EnsureAdminToken(t.Context(), &apitest.Store{}, path)
	if err == nil || !strings.Contains(err.Error(), "admin token") || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("got %v", err)
	}
}
