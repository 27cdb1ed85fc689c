package retain_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/retain"
	"github.com/keyturn/keyturn/worker"
)

// hangingStore has one unit and one key, and one method that hangs until its caller gives up.
type hangingStore struct {
	retain.Store // nil: what else is called fails the test
	hangs        string
	end          keyturn.KeyJobEnd
}

func (s *hangingStore) call(ctx context.Context, method string) error {
	if s.hangs != method {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (*hangingStore) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (*hangingStore) KeyJobs(context.Context, string, time.Duration) ([]keyturn.KeyJob, error) {
	asked := time.Now()
	return []keyturn.KeyJob{
		{Target: "om", Kind: keyturn.JobSnapshots, AskedAt: &asked}, {Target: "om", Kind: keyturn.JobAudit, AskedAt: &asked},
	}, nil
}

func (*hangingStore) ClaimKeyJob(_ context.Context, job keyturn.KeyJob, _ string, _ time.Duration) (keyturn.KeyJob, error) {
	return job, nil
}

func (s *hangingStore) RenewKeyJob(ctx context.Context, _ keyturn.KeyJob, _ string, _ time.Duration) (bool, error) {
	return false, s.call(ctx, "RenewKeyJob")
}

func (s *hangingStore) EndKeyJob(_ context.Context, _ keyturn.KeyJob, _ string, end keyturn.KeyJobEnd) error {
	s.end = end
	return nil
}

func (s *hangingStore) UnitsOf(ctx context.Context, _, after string, _ int) ([]keyturn.Unit, error) {
	if after != "" {
		return nil, nil
	}
	return []keyturn.Unit{{ID: "om.p.c"}}, s.call(ctx, "UnitsOf")
}

func (s *hangingStore) Hold(ctx context.Context, _, _ string, _ time.Duration) error {
	return s.call(ctx, "Hold")
}

func (s *hangingStore) BeginSnapshotLooks(ctx context.Context, units []string) ([]keyturn.SnapshotLook, error) {
	return []keyturn.SnapshotLook{{Unit: units[0], Number: 1}}, s.call(ctx, "BeginSnapshotLooks")
}

func (s *hangingStore) SaveSnapshots(ctx context.Context, _ []keyturn.SeenSnapshot) error {
	return s.call(ctx, "SaveSnapshots")
}

func (s *hangingStore) EndSnapshotLooks(ctx context.Context, _ []keyturn.SnapshotLook) error {
	return s.call(ctx, "EndSnapshotLooks")
}

func (s *hangingStore) KeysToAudit(ctx context.Context, _, after string, _ int) ([]string, error) {
	if after != "" {
		return nil, nil
	}
	return []string{"k0"}, s.call(ctx, "KeysToAudit")
}

func (s *hangingStore) KnownKeysAmong(ctx context.Context, _ string, keys []string) ([]string, error) {
	return keys, s.call(ctx, "KnownKeysAmong")
}

func (s *hangingStore) SaveKeyStates(ctx context.Context, _ string, _ int64, _ []keyturn.KeyState) error {
	return s.call(ctx, "SaveKeyStates")
}

func (s *hangingStore) EndKeyAudit(ctx context.Context, _ string, _ int64) error {
	return s.call(ctx, "EndKeyAudit")
}

// around is what a keeper has besides the store.
type around struct {
	sys    *fakeSystem
	target keyturn.Target
	hangs  string
}

func (a around) Targets(context.Context) ([]keyturn.Target, error) {
	return []keyturn.Target{a.target}, nil
}

func (a around) System(ctx context.Context, _ string, _ int64) (worker.System, keyturn.Target, error) {
	if a.hangs == "System" {
		<-ctx.Done()
		return nil, a.target, ctx.Err()
	}
	return a.sys, a.target, nil
}

func (around) KeyServer(keyturn.Target) (retain.KeyServer, error) {
	return &fakeServer{keys: map[string]keyturn.KeyState{"k0": {KeyID: "k0", State: keyturn.KeyActive, Name: "mongodb-k0"}}}, nil
}

func TestDatabaseThatHangsHoldsNoJob(t *testing.T) {
	t.Parallel()
	for method, kind := range map[string]keyturn.KeyJobKind{
		"System": keyturn.JobSnapshots, "RenewKeyJob": keyturn.JobSnapshots, "UnitsOf": keyturn.JobSnapshots, "Hold": keyturn.JobSnapshots,
		"BeginSnapshotLooks": keyturn.JobSnapshots, "SaveSnapshots": keyturn.JobSnapshots, "EndSnapshotLooks": keyturn.JobSnapshots,
		"KeysToAudit": keyturn.JobAudit, "KnownKeysAmong": keyturn.JobAudit, "SaveKeyStates": keyturn.JobAudit, "EndKeyAudit": keyturn.JobAudit,
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sys := &fakeSystem{}
				sys.has("om.p.c", keyturn.Snapshot{ID: "s1"})
				if method == "Hold" {
					sys.breaks("", &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, RetryAfter: time.Minute, Err: errors.New("429")})
				}
				store := &hangingStore{hangs: method}
				parts := around{sys, keyturn.Target{Name: "om", KMIP: &keyturn.KMIP{NamePattern: "mongodb-*"}}, method}
				keeper := retain.New(retain.Config{Owner: "one", Store: store, Targets: parts, Systems: parts, Servers: parts})
				begin := time.Now()
				some, err := keeper.Next(t.Context(), kind)
				if err != nil || !some || store.end.Done || store.end.Retry == 0 {
					t.Errorf("it ended as %v, %v, %+v", some, err, store.end)
				}
				if took := time.Since(begin); took != time.Minute {
					t.Errorf("it was given up after %s", took)
				}
			})
		})
	}
}
