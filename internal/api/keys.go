package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
)

// KeyKeeper knows which keys must be kept.
type KeyKeeper interface {
	// Keys lists the keys that histories or snapshots name, with what is known of who needs them.
	Keys(ctx context.Context, f keyturn.KeyFilter) ([]keyturn.RetainedKey, string, error)
	// Audits returns how the last audit of each target with a KMIP server ended, or of one target.
	Audits(ctx context.Context, target string) ([]keyturn.KeyAudit, error)
	// AskAudit makes an audit of a target's keys due now, and a look at its snapshots; AskSnapshots only that.
	AskAudit(ctx context.Context, target string) error
	AskSnapshots(ctx context.Context, target string) error
	// Retirement says which keys may be disabled; Retire disables them.
	Retirement(ctx context.Context, q keyturn.RetireQuery) ([]keyturn.Retirement, error)
	Retire(ctx context.Context, q keyturn.RetireQuery) ([]keyturn.Retirement, error)
}

type listKeysInput struct {
	Paging
	Target string `query:"target" maxLength:"100" doc:"Only this target's."`
	Unit   string `query:"unit" maxLength:"400" doc:"Only those that the unit with this id, name, PROJECT/NAME or component id used."`
	Key    string `query:"key" maxLength:"500" doc:"Only the key with this id."`
	Old    bool   `query:"old" doc:"Only those that no unit uses any more."`
	Bad    bool   `query:"bad" doc:"Only those that are gone or not active any more, and orphans, as their KMIP server last said; narrows by target only."`
}

type listAuditsInput struct {
	Target string `query:"target" maxLength:"100" doc:"Only this target's."`
}

type retirementInput struct {
	Name   string `query:"name" required:"true" minLength:"1" maxLength:"500" doc:"The key's id, or the id, name, PROJECT/NAME or component id of a unit whose old keys are meant."`
	Target string `query:"target" maxLength:"100" doc:"The key's target, where several have a key of this id."`
}

type retireInput struct {
	Body struct {
		Name          string `json:"name" minLength:"1" maxLength:"500" doc:"The key's id, or the id, name, PROJECT/NAME or component id of a unit whose old keys are meant."`
		Target        string `json:"target,omitempty" maxLength:"100" doc:"The key's target, where several have a key of this id."`
		AcceptUnknown bool   `json:"acceptUnknown,omitempty" doc:"Disable although it is not known that nothing needs it. What is known is never overruled."`
		Reason        string `json:"reason,omitempty" maxLength:"500" doc:"Why; kept in the audit."`
	}
}

func (s *server) registerKeys() {
	handle(s, operation{
		id: "list-keys", method: http.MethodGet, path: "/keys", role: keyturn.RoleViewer, tag: "keys",
		summary: "List current and old keys, who used them, which snapshots need them and until when",
	}, s.listKeys)
	handle(s, operation{
		id: "list-key-audits", method: http.MethodGet, path: "/key-audits", role: keyturn.RoleViewer, tag: "keys",
		summary: "How the last audit of each target's keys at its KMIP server ended",
	}, s.listKeyAudits)
	handle(s, operation{
		id: "audit-keys", method: http.MethodPost, path: "/targets/{name}/audit-keys", role: keyturn.RoleOperator, tag: "keys",
		summary: "Ask the target's KMIP server soon about every key of the history", status: http.StatusAccepted,
	}, s.auditKeys)
	handle(s, operation{
		id: "get-retirement", method: http.MethodGet, path: "/keys/retirement", role: keyturn.RoleOperator, tag: "keys", timeout: planTimeout,
		summary: "Whether a key, or the old keys of a unit, may be disabled; the target is asked now",
	}, s.getRetirement)
	handle(s, operation{
		id: "retire-keys", method: http.MethodPost, path: "/keys/retirement", role: keyturn.RoleAdmin, tag: "keys", timeout: planTimeout,
		summary: "Disable a key, or the old keys of a unit, that nothing needs any more; nothing is ever deleted", status: http.StatusOK,
	}, s.retireKeys)
}

func (s *server) keeper() (KeyKeeper, error) {
	if s.Retained == nil {
		return nil, huma.Error501NotImplemented("this server does not look after keys that must be kept")
	}
	return s.Retained, nil
}

func (s *server) listKeys(ctx context.Context, in *listKeysInput) (*listOutput[keyturn.RetainedKey], error) {
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	return listed(keeper.Keys(ctx, keyturn.KeyFilter{Target: in.Target, Unit: in.Unit, Key: in.Key, Old: in.Old, Bad: in.Bad, Page: page}))
}

func (s *server) listKeyAudits(ctx context.Context, in *listAuditsInput) (*listOutput[keyturn.KeyAudit], error) {
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	audits, err := keeper.Audits(ctx, in.Target)
	if err != nil {
		return nil, missing(err, "target", in.Target)
	}
	return listed(audits, "", nil)
}

func (s *server) auditKeys(ctx context.Context, in *nameInput) (*listOutput[keyturn.KeyAudit], error) {
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	if err := keeper.AskAudit(audited(ctx, "target.audit-keys", in.Name, "", nil), in.Name); err != nil {
		return nil, missing(err, "target", in.Name)
	}
	return s.listKeyAudits(ctx, &listAuditsInput{Target: in.Name})
}

func (s *server) getRetirement(ctx context.Context, in *retirementInput) (*listOutput[keyturn.Retirement], error) {
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	judged, err := keeper.Retirement(ctx, keyturn.RetireQuery{Name: in.Name, Target: in.Target})
	return listed(judged, "", err)
}

func (s *server) retireKeys(ctx context.Context, in *retireInput) (*listOutput[keyturn.Retirement], error) {
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	detail := map[string]any{"acceptUnknown": in.Body.AcceptUnknown}
	retired, err := keeper.Retire(audited(ctx, "key.retire", in.Body.Name, in.Body.Reason, detail), keyturn.RetireQuery{
		Name: in.Body.Name, Target: in.Body.Target, AcceptUnknown: in.Body.AcceptUnknown, By: requestedBy(ctx), Reason: in.Body.Reason,
	})
	return listed(retired, "", err)
}
