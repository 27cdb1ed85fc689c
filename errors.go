package keyturn

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotFound is returned when a named target, policy, unit, rotation, task or token does not exist.
var ErrNotFound = errors.New("not found")

// ErrConflict is returned when what was asked for does not go with what is there.
var ErrConflict = errors.New("conflict")

// ConflictError is an ErrConflict that says in one clear line what stands in the way and what to do.
type ConflictError struct{ Reason string }

func (e *ConflictError) Error() string { return e.Reason }

// Is makes it an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Conflictf returns a ConflictError.
func Conflictf(format string, args ...any) error {
	return &ConflictError{Reason: fmt.Sprintf(format, args...)}
}

// UnavailableError is returned, whatever was asked for, when the database can't be reached or can't be written to.
type UnavailableError struct {
	// Advice says in one line, without the inside of anything, what is the matter and what to do.
	Advice string
	Err    error
}

func (e *UnavailableError) Error() string { return e.Err.Error() }

func (e *UnavailableError) Unwrap() error { return e.Err }

// ErrorKind says what an error of a system means for the task that met it.
type ErrorKind string

// The kinds of error.
const (
	// KindTransient: it was not done, and may be done later (429, connection refused, a read that failed).
	KindTransient ErrorKind = "transient"
	// KindPermanent: it was not done, and asking again would not help (401, 403, 404, 409).
	KindPermanent ErrorKind = "permanent"
	// KindAmbiguous: it may have been done (a change that was sent and not answered clearly).
	KindAmbiguous ErrorKind = "ambiguous"
)

// SystemError is an error whose meaning is known.
type SystemError struct {
	Kind ErrorKind
	// Target reports that the target as a whole is in trouble (429, outage, network), not this unit.
	Target bool
	// Waits reports that nothing is wrong, but that it is not the unit's turn yet: with KindTransient, it
	// counts as no failed try.
	Waits bool
	// Needless reports that there is nothing to turn the unit to: with KindPermanent, and before anything was
	// sent, the task is skipped and has not failed.
	Needless bool
	// Earlier reports, with KindAmbiguous, that this call is proven to have changed nothing: only one that was sent for the
	// same intent before may have. It is not counted as an attempt, until the target's timeouts.complete has passed.
	Earlier bool
	// RetryAfter is what the system asked for; 0: nothing.
	RetryAfter time.Duration
	// Code is a short stable word for logs and metrics: "rate_limited", "http_500", "unauthorized", "network".
	Code string
	Err  error
}

func (e *SystemError) Error() string { return e.Err.Error() }

func (e *SystemError) Unwrap() error { return e.Err }

// AsSystemError returns the SystemError in err, or a stand-in of the given kind.
func AsSystemError(err error, unknown ErrorKind) *SystemError {
	if se, ok := errors.AsType[*SystemError](err); ok {
		return se
	}
	return &SystemError{Kind: unknown, Code: "unknown", Err: err}
}
