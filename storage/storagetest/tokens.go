package storagetest

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func tokenTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"FoundByItsHash":            tokenFound,
		"ExpiredOrRevokedIsUnknown": tokenEnds,
		"DuplicateIsConflict":       tokenDuplicate,
		"ListedWithWhatHappened":    tokenList,
		"NowIsTheStoresClock":       tokenNow,
	}
}

func (f *fixture) token(name string, expires time.Duration) (keyturn.Token, [32]byte) {
	f.t.Helper()
	token := keyturn.Token{ID: keyturn.NewID(f.clock.Now()), Name: name, Role: keyturn.RoleOperator, CreatedAt: f.clock.Now()}
	if expires > 0 {
		at := f.clock.Now().Add(expires)
		token.ExpiresAt = &at
	}
	var hash [32]byte
	copy(hash[:], name)
	f.ok(f.CreateToken(f.ctx(), token, hash))
	return token, hash
}

func tokenFound(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	want, hash := f.token("ci", time.Hour)
	f.token("other", 0)
	got, err := f.TokenByHash(f.ctx(), hash)
	f.ok(err)
	if got.ID != want.ID || got.Name != "ci" || got.Role != keyturn.RoleOperator || !got.CreatedAt.Equal(want.CreatedAt) ||
		got.ExpiresAt == nil || !got.ExpiresAt.Equal(*want.ExpiresAt) || got.RevokedAt != nil {
		t.Errorf("token is %+v, want %+v", got, want)
	}
	hash[31]++
	_, err = f.TokenByHash(f.ctx(), hash)
	f.is(err, keyturn.ErrNotFound)
}

func tokenEnds(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	_, expiring := f.token("expiring", time.Hour)
	revoked, revokedHash := f.token("revoked", 0)
	f.ok(f.RevokeToken(f.ctx(), revoked.ID))
	f.ok(f.RevokeToken(f.ctx(), revoked.ID))
	_, err := f.TokenByHash(f.ctx(), revokedHash)
	f.is(err, keyturn.ErrNotFound)
	f.clock.Advance(time.Hour)
	_, err = f.TokenByHash(f.ctx(), expiring)
	f.is(err, keyturn.ErrNotFound)
	f.is(f.RevokeToken(f.ctx(), keyturn.NewID(f.clock.Now())), keyturn.ErrNotFound)
}

func tokenDuplicate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	token, hash := f.token("ci", 0)
	token.ID = keyturn.NewID(f.clock.Now())
	f.is(f.CreateToken(f.ctx(), token, hash), keyturn.ErrConflict)
}

func tokenList(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	first, _ := f.token("first", 0)
	f.clock.Advance(time.Second)
	f.token("second", time.Hour)
	f.ok(f.RevokeToken(f.ctx(), first.ID))
	all, err := f.Tokens(f.ctx())
	f.ok(err)
	if len(all) != 2 || all[0].Name != "first" || all[1].Name != "second" {
		t.Fatalf("tokens are %+v", all)
	}
	if all[0].RevokedAt == nil || !all[0].RevokedAt.Equal(f.clock.Now()) || all[1].RevokedAt != nil || all[1].ExpiresAt == nil {
		t.Errorf("tokens are %+v", all)
	}
}

func tokenNow(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	now, err := f.Now(f.ctx())
	f.ok(err)
	if !now.Equal(f.clock.Now()) {
		t.Errorf("now is %v, want %v", now, f.clock.Now())
	}
	own := newStore(t, nil)
	now, err = own.Now(f.ctx())
	f.ok(err)
	if off := time.Since(now).Abs(); off > time.Minute {
		t.Errorf("the database's own clock is off by %v", off)
	}
	f.ok(own.Ping(f.ctx()))
}
