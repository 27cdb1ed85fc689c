package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
)

// Doctor finds out whether rotations would work.
type Doctor interface {
	// Diagnose looks at one target, or at all if the name is empty. It answers ErrNotFound for one that there is not.
	Diagnose(ctx context.Context, target string) (keyturn.Diagnosis, error)
	// FixThresholds sets the ages at which a target tells of old keys to those of the policies, and returns what it has set.
	FixThresholds(ctx context.Context, target string) ([]keyturn.Threshold, error)
}

// maxExaminations is how many examinations run at once: each asks a target for all that it has, and whoever
// may read may ask for one. Others wait for their turn.
const maxExaminations = 2

type doctorInput struct {
	Target string `query:"target" maxLength:"100" doc:"Only this target; empty: all."`
}

type doctorOutput struct {
	Body keyturn.Diagnosis
}

func (s *server) registerDoctor() {
	s.examining = make(chan struct{}, maxExaminations)
	handle(s, operation{
		id: "diagnose", method: http.MethodGet, path: "/doctor", role: keyturn.RoleViewer, tag: "server", timeout: planTimeout,
		summary: "Whether rotations would work: what answers, how each unit's key would be turned, what is missing and how to get it",
	}, s.diagnose)
	handle(s, operation{
		id: "fix-thresholds", method: http.MethodPost, path: "/targets/{name}/thresholds", role: keyturn.RoleOperator, tag: "targets", timeout: planTimeout,
		summary: "Set the ages at which the target itself tells of old keys to those at which the policies warn",
	}, s.fixThresholds)
}

func (s *server) diagnose(ctx context.Context, in *doctorInput) (*doctorOutput, error) {
	if s.Doctor == nil {
		return nil, huma.Error501NotImplemented("this server can't examine targets")
	}
	select {
	case s.examining <- struct{}{}:
		defer func() { <-s.examining }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found, err := s.Doctor.Diagnose(ctx, in.Target)
	if err != nil {
		return nil, missing(err, "target", in.Target)
	}
	return &doctorOutput{Body: found}, nil
}

func (s *server) fixThresholds(ctx context.Context, in *nameInput) (*listOutput[keyturn.Threshold], error) {
	if s.Doctor == nil {
		return nil, huma.Error501NotImplemented("this server can't examine targets")
	}
	// It is recorded before: what was set before an error stays set.
	if _, err := s.resource(ctx, keyturn.KindTarget, in.Name); err != nil {
		return nil, err
	}
	if err := s.Store.WriteAudit(audited(ctx, "target.thresholds", in.Name, "", nil)); err != nil {
		return nil, err
	}
	set, err := s.Doctor.FixThresholds(ctx, in.Name)
	if err != nil {
		return nil, missing(err, "target", in.Name)
	}
	return listed(set, "", nil)
}
