// Package retain knows which keys must be kept: it lists the snapshots that need them, asks KMIP servers
// whether they are still there, and says when a key may go.
//
// Both looks are taken now and then at each target, by one process at a time: a lease in the database says
// by whom. What was found is rows. Nothing here changes a target, but for a person who has a key disabled.
package retain

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

const (
	jobEvery = 10 * time.Second // how often it is looked whether a job is due
	jobLease = 2 * time.Minute
	jobRetry = 10 * time.Minute // after one that did not come to its end
	jobMost  = 6 * time.Hour    // the longest that one may take
	callMost = time.Minute      // one call of the database
	// soon and patience: a look at snapshots waits for rotations that work or are about to, but not for longer.
	soon     = 2 * time.Minute
	patience = 6 * time.Hour
	// jobFirst is how long after a target was applied it is looked at first.
	jobFirst = 10 * time.Minute
	// snapshotsMost is the longest time between two looks at the snapshots of a target.
	snapshotsMost = 24 * time.Hour
)

// errYields ends a look when a rotation begins.
var errYields = errors.New("a rotation works on the target, or it is held")

// Store is what is known of keys, snapshots and KMIP servers.
type Store interface {
	JobStore
	SnapshotStore
	KeyStore
	RetirementStore
	// PoliciesOf returns the policies of a target.
	PoliciesOf(ctx context.Context, target string) ([]keyturn.Policy, error)
	// UnitsOf returns the units of a target behind after, by id.
	UnitsOf(ctx context.Context, target, after string, limit int) ([]keyturn.Unit, error)
	// Hold keeps a target's tasks from being handed out.
	Hold(ctx context.Context, target, reason string, hold time.Duration) error
	// Now is the database's clock.
	Now(ctx context.Context) (time.Time, error)
}

// JobStore says which looks are due, and who is at them.
type JobStore interface {
	// KeyJobs returns the jobs of every target, or of one, whether or not anybody was ever at them. One is busy
	// when a rotation works on the target or is about to within soon.
	KeyJobs(ctx context.Context, target string, soon time.Duration) ([]keyturn.KeyJob, error)
	// ClaimKeyJob takes a job as it was read until the lease ends, and returns it with the claim's turn. It
	// answers ErrNotFound when somebody else was faster.
	ClaimKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, lease time.Duration) (keyturn.KeyJob, error)
	// RenewKeyJob renews the claim, and answers whether a rotation works on the target or it is held. It answers
	// ErrNotFound when the claim is not owner's any more.
	RenewKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, lease time.Duration) (busy bool, err error)
	// AskKeyJob makes a job due now, with the audit entry of the context. An unknown target is ErrNotFound.
	AskKeyJob(ctx context.Context, target string, kind keyturn.KeyJobKind) error
	// EndKeyJob gives the claim back.
	EndKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, end keyturn.KeyJobEnd) error
}

// SnapshotStore keeps which snapshots there are.
type SnapshotStore interface {
	// BeginSnapshotLooks begins a look at the snapshots of each unit, and returns them by unit.
	BeginSnapshotLooks(ctx context.Context, units []string) ([]keyturn.SnapshotLook, error)
	// SaveSnapshots records what looks have seen.
	SaveSnapshots(ctx context.Context, seen []keyturn.SeenSnapshot) error
	// EndSnapshotLooks ends looks. One without trouble forgets what it did not see: at once what has expired, else
	// when the look before did not see it either. One that was overtaken by another ends nothing.
	EndSnapshotLooks(ctx context.Context, looks []keyturn.SnapshotLook) error
}

// KeyStore knows who used which key, and what servers said of them.
type KeyStore interface {
	// RetainedPage lists the keys that histories or snapshots name.
	RetainedPage(ctx context.Context, f keyturn.KeyFilter) ([]keyturn.KeyRef, string, error)
	// KeyUses returns who used the keys when: those of one key together, the oldest first.
	KeyUses(ctx context.Context, keys []keyturn.KeyRef) ([]keyturn.KeyUse, error)
	// KeyNeeds sums up what needs each of the keys, in their order: the snapshots that name it, and those that
	// name no key of the history and were made in one of its windows.
	KeyNeeds(ctx context.Context, keys []keyturn.KeyRef, windows []keyturn.NeedWindow) ([]keyturn.KeyNeed, error)
	// NeedingSnapshots returns those of one key, the last to expire first.
	NeedingSnapshots(ctx context.Context, key keyturn.KeyRef, windows []keyturn.NeedWindow, limit int) ([]keyturn.Snapshot, error)
	KeyStates(ctx context.Context, keys []keyturn.KeyRef) (map[keyturn.KeyRef]keyturn.KeyState, error)
	// BadKeys returns keys behind after, by target and id, that are gone, not active any more, or orphans.
	BadKeys(ctx context.Context, after keyturn.KeyRef, limit int) ([]keyturn.KeyState, error)
	// KeysToAudit returns the ids of keys behind after that a target's history or snapshots name, in order.
	KeysToAudit(ctx context.Context, target, after string, limit int) ([]string, error)
	// KnownKeysAmong returns which of the keys they name.
	KnownKeysAmong(ctx context.Context, target string, keys []string) ([]string, error)
	// SaveKeyStates records what a server said of keys in an audit, the turn of its job. The age of a key in use
	// that was a lower bound becomes exact, where the server's date fits what the history knows.
	SaveKeyStates(ctx context.Context, target string, audit int64, states []keyturn.KeyState) error
	// EndKeyAudit forgets orphans that the audit did not find.
	EndKeyAudit(ctx context.Context, target string, audit int64) error
	// UsersOfKey returns units of any target that use a key now, by whatever name.
	UsersOfKey(ctx context.Context, key string, limit int) ([]string, error)
}

// RetirementStore records who had a key disabled.
type RetirementStore interface {
	// AskRetirement writes down, with the audit entry of the context, that a key is about to be disabled. The same that
	// was asked by the same person for the same reason, and not done yet, leaves no second entry.
	AskRetirement(ctx context.Context, key keyturn.KeyRef, by, reason string) error
	// NoteRetired writes down that it was, and returns when.
	NoteRetired(ctx context.Context, key keyturn.KeyRef) (time.Time, error)
}

// KeyServer is a KMIP server. It is only ever asked.
type KeyServer interface {
	// Describe says what the server is: vendor, version of the protocol.
	Describe(ctx context.Context) (string, error)
	// Keys asks about keys by their ids, in their order. What could not be found out about one key is KeyUnclear.
	Keys(ctx context.Context, ids []string) ([]keyturn.KeyState, error)
	// Locate returns the ids of all keys that the server shows, or of those with exactly this name.
	Locate(ctx context.Context, name string) ([]string, error)
	// RoundTrips counts the messages that were exchanged.
	RoundTrips() int
	Close()
}

// KeyServers finds the KMIP server of a target.
type KeyServers interface {
	KeyServer(target keyturn.Target) (KeyServer, error)
}

// Config is what a Keeper is made of.
type Config struct {
	Owner   string // names this process in leases
	Store   Store
	Targets worker.TargetLister
	Systems worker.Systems
	Servers KeyServers
	Logger  *zap.Logger
	Metrics *Metrics
	Now     func() time.Time // nil: time.Now
}

// Keeper looks at snapshots and keys, and says which keys must be kept.
type Keeper struct {
	cfg   Config
	asked map[keyturn.KeyJobKind]chan struct{}
	found remembered
}

// New returns a keeper. It starts nothing.
func New(cfg Config) *Keeper {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	cfg.Store = bounded{cfg.Store}
	return &Keeper{cfg: cfg, asked: map[keyturn.KeyJobKind]chan struct{}{
		keyturn.JobSnapshots: make(chan struct{}, 1), keyturn.JobAudit: make(chan struct{}, 1),
	}}
}

// Wake makes this process look soon whether something is due. It never blocks.
func (k *Keeper) Wake() {
	for _, c := range k.asked {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Run looks until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var both sync.WaitGroup
	for _, kind := range []keyturn.KeyJobKind{keyturn.JobSnapshots, keyturn.JobAudit} {
		both.Go(func() { k.run(ctx, kind) })
	}
	both.Wait()
}

func (k *Keeper) run(ctx context.Context, kind keyturn.KeyJobKind) {
	ticker := time.NewTicker(jobEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-k.asked[kind]:
		}
		for {
			some, err := k.Next(ctx, kind)
			if err != nil && ctx.Err() == nil {
				k.cfg.Logger.Warn("looking after keys that must be kept", zap.String("what", string(kind)), zap.Error(err))
			}
			if err != nil || !some {
				break
			}
		}
	}
}

// Next does the job of the kind that is due for longest, if one is.
func (k *Keeper) Next(ctx context.Context, kind keyturn.KeyJobKind) (bool, error) {
	target, job, err := k.due(ctx, kind)
	if errors.Is(err, keyturn.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	jobCtx, cancel := context.WithTimeout(ctx, jobMost)
	defer cancel()
	began := k.cfg.Now()
	stop := worker.KeepLease(jobCtx, cancel, jobLease, func(ctx context.Context) error {
		_, err := k.renew(ctx, job)
		return err
	})
	end := keyturn.KeyJobEnd{}
	if kind == keyturn.JobAudit {
		var result keyturn.KeyAudit
		result, err = k.audit(jobCtx, job, target)
		result.Took = keyturn.Duration(k.cfg.Now().Sub(began))
		if err == nil {
			end.Result = &result
		}
	} else {
		err = k.look(jobCtx, job, target)
	}
	stop()
	return true, k.ended(ctx, job, end, began, err)
}

// due claims the job of the kind that is due for longest.
func (k *Keeper) due(ctx context.Context, kind keyturn.KeyJobKind) (keyturn.Target, keyturn.KeyJob, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	targets, err := k.cfg.Targets.Targets(ctx)
	if err != nil {
		return keyturn.Target{}, keyturn.KeyJob{}, err
	}
	by := make(map[string]keyturn.Target, len(targets))
	for _, t := range targets {
		by[t.Name] = t.WithDefaults()
	}
	now, err := k.cfg.Store.Now(ctx)
	if err != nil {
		return keyturn.Target{}, keyturn.KeyJob{}, err
	}
	jobs, err := k.cfg.Store.KeyJobs(ctx, "", soon)
	if err != nil {
		return keyturn.Target{}, keyturn.KeyJob{}, err
	}
	var best *keyturn.KeyJob
	var since time.Time
	for _, job := range jobs {
		t, ok := by[job.Target]
		if job.Kind != kind || !ok {
			continue
		}
		if at, ok := dueSince(job, t, now); ok && (best == nil || at.Before(since)) {
			best, since = &job, at
		}
	}
	if best == nil {
		return keyturn.Target{}, keyturn.KeyJob{}, keyturn.ErrNotFound
	}
	job, err := k.cfg.Store.ClaimKeyJob(ctx, *best, k.cfg.Owner, jobLease)
	return by[job.Target], job, err
}

// dueSince is since when a job may be done, if it may.
func dueSince(job keyturn.KeyJob, t keyturn.Target, now time.Time) (time.Time, bool) {
	every := min(t.Observe.Std(), snapshotsMost)
	if job.Kind == keyturn.JobAudit {
		if t.KMIP == nil {
			return time.Time{}, false
		}
		every = t.KMIP.Interval()
	}
	at, ok := job.DueAt(every, jobFirst)
	if !ok || at.After(now) || job.Taken || job.NotBefore != nil && job.NotBefore.After(now) {
		return at, false
	}
	if job.Kind == keyturn.JobAudit { // a KMIP server is none of the target's
		return at, true
	}
	if job.HeldUntil != nil && job.HeldUntil.After(now) {
		return at, false
	}
	return at, !job.Busy || !at.Add(max(every, patience)).After(now)
}

// ended writes down how a job ended.
func (k *Keeper) ended(ctx context.Context, job keyturn.KeyJob, end keyturn.KeyJobEnd, began time.Time, err error) error {
	fields := []zap.Field{zap.String("target", job.Target), zap.String("what", string(job.Kind)), zap.Duration("took", k.cfg.Now().Sub(began))}
	result := "done"
	switch {
	case err == nil:
		end.Done = true
		k.cfg.Logger.Info("looked after keys that must be kept", fields...)
	case errors.Is(err, errYields), ctx.Err() != nil: // goes on when the rotations have ended, or in another process
		result = "yielded"
		end.Trouble = job.Trouble
		k.cfg.Logger.Info("a look at keys that must be kept was put off", fields...)
	default:
		result = "broken"
		end.Retry, end.Trouble = jobRetry, err.Error()
		k.cfg.Logger.Warn("looking after keys that must be kept; tried again later", append(fields, zap.Duration("after", jobRetry), zap.Error(err))...)
	}
	k.cfg.Metrics.job(job, result, end.Result, k.cfg.Now())
	endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := k.cfg.Store.EndKeyJob(endCtx, job, k.cfg.Owner, end); err != nil && !errors.Is(err, keyturn.ErrNotFound) {
		return err
	}
	return nil // the lease ended: somebody else is at it
}

func (k *Keeper) renew(ctx context.Context, job keyturn.KeyJob) (busy bool, err error) {
	return k.cfg.Store.RenewKeyJob(ctx, job, k.cfg.Owner, jobLease)
}
