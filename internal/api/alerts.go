package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
)

type listAlertsInput struct {
	Paging
	State  string `query:"state" enum:"firing,acknowledged,resolved" doc:"Only those in this state."`
	Kind   string `query:"kind" maxLength:"100" doc:"Only this kind, such as key.age."`
	Policy string `query:"policy" maxLength:"100" doc:"Only those about this policy."`
	Target string `query:"target" maxLength:"100" doc:"Only those about this target."`
}

type alertInput struct {
	ID string `path:"id" doc:"The alert's id."`
}

// AlertWithHistory is an alert and how it went on.
type AlertWithHistory struct {
	keyturn.Alert
	History []keyturn.AlertChange `json:"history" nullable:"false" doc:"Its changes of state and severity, the oldest first."`
}

type alertOutput struct {
	Body AlertWithHistory
}

type ackAlertInput struct {
	ID   string `path:"id" doc:"The alert's id."`
	Body *struct {
		Until *time.Time       `json:"until,omitempty" doc:"When it fires again if it still holds; left out: as long as it lasts."`
		For   keyturn.Duration `json:"for,omitempty" doc:"The same as a duration from now on, such as 4h or 2d."`
		Note  string           `json:"note,omitempty" maxLength:"500" doc:"Why, or what is being done."`
		Group bool             `json:"group,omitempty" doc:"Also all other open alerts of the same kind, policy and target."`
	}
}

type ackAlertOutput struct {
	Body keyturn.Alert
}

func (s *server) registerAlerts() {
	const tag = "alerts"
	handle(s, operation{
		id: "list-alerts", method: http.MethodGet, path: "/alerts", role: keyturn.RoleViewer, tag: tag,
		summary: "List alerts: the open ones first, of those and of the resolved ones the newest first",
	}, s.listAlerts)
	handle(s, operation{
		id: "get-alert", method: http.MethodGet, path: "/alerts/{id}", role: keyturn.RoleViewer, tag: tag,
		summary: "One alert with its history",
	}, s.getAlert)
	handle(s, operation{
		id: "ack-alert", method: http.MethodPost, path: "/alerts/{id}/ack", role: keyturn.RoleOperator, tag: tag,
		summary: "Say that you care for an alert: nobody is reminded of it until it gets worse, or the time is over", status: http.StatusOK,
	}, s.ackAlert)
}

func (s *server) listAlerts(ctx context.Context, in *listAlertsInput) (*listOutput[keyturn.Alert], error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	return listed(s.Store.Alerts(ctx, keyturn.AlertFilter{
		State: keyturn.AlertState(in.State), Kind: keyturn.AlertKind(in.Kind), Policy: in.Policy, Target: in.Target, Page: page,
	}))
}

func (s *server) getAlert(ctx context.Context, in *alertInput) (*alertOutput, error) {
	id, err := parseID("alert", in.ID)
	if err != nil {
		return nil, err
	}
	alert, history, err := s.Store.Alert(ctx, id)
	if err != nil {
		return nil, missing(err, "alert", in.ID)
	}
	if history == nil {
		history = []keyturn.AlertChange{}
	}
	return &alertOutput{Body: AlertWithHistory{Alert: alert, History: history}}, nil
}

func (s *server) ackAlert(ctx context.Context, in *ackAlertInput) (*ackAlertOutput, error) {
	id, err := parseID("alert", in.ID)
	if err != nil {
		return nil, err
	}
	ack := keyturn.Ack{By: requestedBy(ctx)}
	if in.Body != nil {
		ack.Note, ack.Group = in.Body.Note, in.Body.Group
		if ack.Until, err = s.ackedUntil(ctx, in.Body.Until, in.Body.For); err != nil {
			return nil, err
		}
	}
	alert, err := s.Store.AckAlert(audited(ctx, "alert.ack", id.String(), ack.Note, nil), id, ack)
	if errors.Is(err, keyturn.ErrConflict) {
		return nil, huma.Error409Conflict("the alert is resolved: there is nothing to acknowledge")
	}
	if err != nil {
		return nil, missing(err, "alert", in.ID)
	}
	return &ackAlertOutput{Body: alert}, nil
}

// ackedUntil is when an acknowledgement ends, by the database's clock; nil: never.
func (s *server) ackedUntil(ctx context.Context, until *time.Time, span keyturn.Duration) (*time.Time, error) {
	if until != nil && span != 0 {
		return nil, huma.Error422UnprocessableEntity("body: give until or for, not both")
	}
	if until == nil && span == 0 {
		return nil, nil //nolint:nilnil // nil is "as long as it lasts"
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	if until == nil {
		end := now.Add(span.Std())
		until = &end
	}
	if !until.After(now) {
		return nil, huma.Error422UnprocessableEntity("body.until: this time is over: give one that is still to come")
	}
	end := until.UTC()
	return &end, nil
}
