package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	t.Run("NeedsTheFolder", func(t *testing.T) {
		t.Parallel()
		_, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "missing", "keyturn.db")})
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "check that its folder exists") {
			t.Errorf("error is %v, want one that says what to do", err)
		}
	})
	t.Run("RefusesAFileThatIsNoDatabase", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "notes.txt")
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v, want one that names the file", err)
		}
	})
	t.Run("KeepsOthersOut", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "keyturn.db")
		openAt(t, path, nil)
		for _, suffix := range []string{"", "-wal"} {
			info, err := os.Stat(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v, want 0600", info.Name(), info.Mode())
			}
		}
	})
	t.Run("TakesAnyPath", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "a b?c#d%20e.db")
		openAt(t, path, nil)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	})
	t.Run("FindsWhatWasCommitted", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "keyturn.db")
		s := openAt(t, path, nil)
		tasks := planned(t, s, 3)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := openAt(t, path, nil)
		r, err := again.Rotation(t.Context(), tasks[0].Rotation)
		if err != nil || r.Counts != (keyturn.Counts{Total: 3, Pending: 3}) {
			t.Errorf("rotation is %+v (%v)", r, err)
		}
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	t.Run("TwiceChangesNothing", func(t *testing.T) {
		t.Parallel()
		s := open(t, nil)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		have, want, err := s.Version(t.Context())
		if err != nil || have != want || want < 1 {
			t.Errorf("version %d of %d (%v), want the newest", have, want, err)
		}
	})
	t.Run("RefusesANewerDatabase", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "keyturn.db")
		s := openAt(t, path, nil)
		err := contract{Store: s, path: path}.Exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Migrate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "database is at version 999") || !strings.Contains(err.Error(), "run a newer keyturn") {
			t.Errorf("error is %v, want one that says what to do", err)
		}
		if have, want, err := s.Version(t.Context()); err != nil || have != 999 || want >= have {
			t.Errorf("version %d of %d (%v)", have, want, err)
		}
	})
	t.Run("ANewDatabaseHasNoVersion", func(t *testing.T) {
		t.Parallel()
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "keyturn.db")})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		if have, _, err := s.Version(t.Context()); err != nil || have != 0 {
			t.Errorf("version %d (%v), want 0", have, err)
		}
	})
}

func TestContextThatEndedWritesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	estate(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Request(ctx, keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that the context was cancelled", err)
	}
	rotations, _, err := s.Rotations(t.Context(), keyturn.RotationFilter{})
	if err != nil || len(rotations) != 0 {
		t.Errorf("rotations are %+v (%v), want none", rotations, err)
	}
}

func TestContextThatEndsInATransactionRollsItBack(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	slot := keyturn.Slot{Local: "2026-03-01T12:00:00", Timezone: "UTC", At: time.Now().Add(-time.Minute)}
	if err := s.ApplyResources(t.Context(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{}`)},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: []byte(`{"target":"om"}`), Next: &slot},
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	none := func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
		return keyturn.Firing{Start: []keyturn.Start{{Slot: due.Slot}}}, nil
	}
	_, err := s.FireDue(ctx, 1, func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
		cancel()
		return none(due, now)
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v, want that the context was cancelled", err)
	}
	fired, err := s.FireDue(t.Context(), 1, none)
	if err != nil || len(fired) != 1 {
		t.Errorf("fired %+v (%v), want the slot that was rolled back", fired, err)
	}
}

func TestCloseTwiceIsOnce(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("a closed database answered")
	}
}

// A clock that is set back must not put new rotations, or new records of the history, before older ones.
func TestOrderSurvivesAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := open(t, func() time.Time {
		now = now.Add(-time.Second)
		return now
	})
	estate(t, s)
	var want []keyturn.ID
	for range 5 {
		r, _, err := s.Request(t.Context(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	got, _, err := s.Rotations(t.Context(), keyturn.RotationFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if r.ID != want[len(want)-1-i] {
			t.Errorf("rotation %d of the list is %s, want newest first", i, r.ID)
		}
	}
}

// An intent that does not say which key is in use could never be settled: any key would look like its change.
func TestIntentWithoutTheKeyInUseIsHeldBack(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	tasks := planned(t, s, 2)
	write := keyturn.IntentWrite{Owner: "worker-1", ApplyFor: time.Second, Lease: time.Minute}
	bad, good := write, write
	bad.Task, bad.Unit = tasks[0].ID, tasks[0].Unit
	good.Task, good.Unit, good.Intent.Before = tasks[1].ID, tasks[1].Unit, "a"
	out, err := s.Intend(t.Context(), []keyturn.IntentWrite{bad, good})
	if err != nil {
		t.Fatal(err)
	}
	if out[0].Verdict != keyturn.VerdictHeld || out[1].Verdict != keyturn.VerdictGo {
		t.Errorf("verdicts are %q and %q, want held and go", out[0].Verdict, out[1].Verdict)
	}
}
