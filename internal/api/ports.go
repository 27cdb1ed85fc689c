package api

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// Store is what the API reads, and the little that it writes itself. A change under
// keyturn.WithAudit is recorded in the same transaction.
type Store interface {
	Reader
	ResourceStore
	TokenStore
	RotationControl
	AlertStore
	// WriteAudit records what changes nothing here, such as a message that is sent to try something.
	WriteAudit(ctx context.Context) error
	// AskLook makes a look at the target's keys due now. An unknown target is ErrNotFound.
	AskLook(ctx context.Context, target string) error
	// Request inserts a rotation, or finds the one that the same TriggerID made before.
	Request(ctx context.Context, req keyturn.Request) (r keyturn.Rotation, created bool, err error)
	// TakenSlots returns those of a policy's slots, by name, that have a rotation.
	TakenSlots(ctx context.Context, policy string, slots []string) ([]string, error)
	// Ping answers when the database can be written to.
	Ping(ctx context.Context) error
}

// Reader lists. Every listing returns the cursor of the next page, empty at the end.
type Reader interface {
	Rotation(ctx context.Context, id keyturn.ID) (keyturn.Rotation, error)
	Rotations(ctx context.Context, f keyturn.RotationFilter) ([]keyturn.Rotation, string, error)
	// Clusters sums a rotation's tasks up by cluster, mixed ones first.
	Clusters(ctx context.Context, rotation keyturn.ID) ([]keyturn.ClusterCounts, error)
	Task(ctx context.Context, id keyturn.ID) (keyturn.Task, error)
	// TaskDetail returns a task with its last intent and the log of its attempts.
	TaskDetail(ctx context.Context, id keyturn.ID) (keyturn.TaskDetail, error)
	// Audit lists what was changed under keyturn.WithAudit, newest first.
	Audit(ctx context.Context, f keyturn.AuditFilter) ([]keyturn.AuditEntry, string, error)
	// Tasks returns a rotation's tasks in the order of their turn.
	Tasks(ctx context.Context, rotation keyturn.ID, page keyturn.Page) ([]keyturn.Task, string, error)
	Units(ctx context.Context, f keyturn.UnitFilter) ([]keyturn.Unit, string, error)
	// FleetUnits returns all units, or those of one target, in no order.
	FleetUnits(ctx context.Context, target string) ([]keyturn.FleetUnit, error)
	// TasksOfUnit returns the tasks that a unit had in its target's newest rotations, the newest first.
	TasksOfUnit(ctx context.Context, unit string, limit int) ([]keyturn.Task, error)
	History(ctx context.Context, f keyturn.HistoryFilter) ([]keyturn.KeyRecord, string, error)
}

// RotationControl is what a person may do with a rotation.
type RotationControl interface {
	// StopRotation stops what has not begun: pending tasks are skipped, open intents go on until
	// their outcome is known. A rotation that was not planned yet ends at once. cancelled says that a
	// person did it: then it ends as cancelled. Stopping it again changes nothing; it answers
	// ErrConflict for a rotation that ended otherwise.
	StopRotation(ctx context.Context, id keyturn.ID, by, reason string, cancelled bool) (keyturn.Rotation, error)
	// ResumeRotation asks for a retry of a rotation that has ended: of the units that neither it nor its
	// earlier retries have turned. It answers with the retry under way when that covers them all, and
	// ErrConflict when the rotation has not ended or nothing is missing.
	ResumeRotation(ctx context.Context, id keyturn.ID, by, reason string) (keyturn.Resumed, error)
	// ResolveTask carries out what a person decided about a parked task, and corrects a rotation that
	// has ended. Trying again what belongs to an ended rotation is a retry of its own. It answers
	// ErrConflict for a task that is not parked, and for a key that can't be this task's.
	ResolveTask(ctx context.Context, d keyturn.Decision) (keyturn.Decided, error)
}

// AlertStore lists alerts, and keeps who cares for them.
type AlertStore interface {
	// Alerts lists the open alerts first; of those and of the resolved ones the newest first.
	Alerts(ctx context.Context, f keyturn.AlertFilter) ([]keyturn.Alert, string, error)
	// Alert returns an alert with its history, the oldest change first.
	Alert(ctx context.Context, id keyturn.ID) (keyturn.Alert, []keyturn.AlertChange, error)
	// AckAlert notes that somebody cares for an alert, and tells so. It answers ErrConflict for one that is resolved.
	AckAlert(ctx context.Context, id keyturn.ID, ack keyturn.Ack) (keyturn.Alert, error)
}

// ResourceStore keeps what `apply` manages.
type ResourceStore interface {
	// Resources returns everything that was applied, by kind and name.
	Resources(ctx context.Context) ([]keyturn.Resource, error)
	// ResourcesOf returns the resources of one kind, by name.
	ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error)
	// Resource returns one; it answers ErrNotFound when there is none.
	Resource(ctx context.Context, kind keyturn.ResourceKind, name string) (keyturn.Resource, error)
	// ApplyResources makes all the changes or none. It answers ErrConflict when a resource is not at
	// the generation that the change expects, for the removal of a target that a policy names or that
	// has a rotation under way, and of a paused policy with one: it would go on.
	ApplyResources(ctx context.Context, changes []keyturn.ResourceChange) error
	// SetPaused pauses or resumes a policy. Resuming sets the next slot anew: slots that
	// were missed while paused do not fire. What is so already is left as it is, and leaves no audit entry.
	SetPaused(ctx context.Context, policy string, paused bool, by, note string, next *keyturn.Slot) error
	// PauseUntil pauses a policy until a time by the database's clock: then a scheduler resumes it. As with SetPaused,
	// what is so already is left as it is.
	PauseUntil(ctx context.Context, policy, by, note string, until time.Time) error
}

// TokenStore keeps the hashes of API tokens.
type TokenStore interface {
	CreateToken(ctx context.Context, t keyturn.Token, hash [32]byte) error
	Tokens(ctx context.Context) ([]keyturn.Token, error)
	// RevokeToken ends a token. Revoking it again changes nothing, and leaves no audit entry.
	RevokeToken(ctx context.Context, id keyturn.ID) error
	// TokenByHash answers ErrNotFound for a token that is unknown, revoked or expired.
	TokenByHash(ctx context.Context, hash [32]byte) (keyturn.Token, error)
	// Now is the database's clock.
	Now(ctx context.Context) (time.Time, error)
}
