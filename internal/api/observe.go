package api

import (
	"context"
	"net/http"

	"github.com/keyturn/keyturn"
)

func (s *server) registerObserve() {
	handle(s, operation{
		id: "observe-target", method: http.MethodPost, path: "/targets/{name}/observe", role: keyturn.RoleOperator, tag: "targets",
		summary: "Look soon at the keys that the target's units use; a look waits for rotations", status: http.StatusAccepted,
	}, s.observe)
}

func (s *server) observe(ctx context.Context, in *nameInput) (*resourceOutput, error) {
	if err := s.Store.AskLook(audited(ctx, "target.observe", in.Name, "", nil), in.Name); err != nil {
		return nil, missing(err, "target", in.Name)
	}
	s.OnLook()
	if s.Retained != nil {
		if err := s.Retained.AskSnapshots(ctx, in.Name); err != nil {
			return nil, missing(err, "target", in.Name)
		}
	}
	target, err := s.resource(ctx, keyturn.KindTarget, in.Name)
	if err != nil {
		return nil, err
	}
	return &resourceOutput{Body: target}, nil
}
