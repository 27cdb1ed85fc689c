package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

type listDeliveriesInput struct {
	Paging
	Webhook string `query:"webhook" maxLength:"100" doc:"Only this webhook's."`
	State   string `query:"state" enum:"pending,delivered,parked,ended" doc:"Only those in this state."`
}

type deliveryInput struct {
	ID string `path:"id" doc:"The delivery's id."`
}

type deliveryOutput struct {
	Body keyturn.Delivery
}

// Replayed is what a replay of all that is parked does.
type Replayed struct {
	Replayed int `json:"replayed" doc:"How many are sent anew. What a later delivery has overtaken stays parked."`
}

type replayedOutput struct {
	Body Replayed
}

// WebhookTest is what a receiver answered to a test event.
type WebhookTest struct {
	Delivered  bool   `json:"delivered"`
	Status     int    `json:"status" doc:"Of HTTP or SMTP; 0: no answer."`
	Answer     string `json:"answer" doc:"The begin of the answer's body."`
	Error      string `json:"error,omitempty"`
	TookMillis int64  `json:"tookMillis"`
}

type webhookTestOutput struct {
	Body WebhookTest
}

type hookRequestsInput struct {
	Paging
	Name string `path:"name" maxLength:"100" doc:"The hook's name."`
}

// registerWebhooks registers what there is to know and do about deliveries and hooks.
func (s *server) registerWebhooks() {
	const tag = "webhooks"
	if s.Deliveries != nil {
		handle(s, operation{
			id: "list-deliveries", method: http.MethodGet, path: "/deliveries", role: keyturn.RoleViewer, tag: tag,
			summary: "List what webhooks were or are to be told, newest first, without the bodies",
		}, s.listDeliveries)
		handle(s, operation{
			id: "get-delivery", method: http.MethodGet, path: "/deliveries/{id}", role: keyturn.RoleViewer, tag: tag,
			summary: "One delivery with its body",
		}, s.getDelivery)
		handle(s, operation{
			id: "replay-delivery", method: http.MethodPost, path: "/deliveries/{id}/replay", role: keyturn.RoleOperator, tag: tag,
			summary: "Send a delivery anew, under the same id", status: http.StatusOK,
		}, s.replayDelivery)
		handle(s, operation{
			id: "replay-webhook", method: http.MethodPost, path: "/webhooks/{name}/replay", role: keyturn.RoleOperator, tag: tag,
			summary: "Send what is parked for a webhook anew", status: http.StatusOK,
		}, s.replayWebhook)
		handle(s, operation{
			id: "test-webhook", method: http.MethodPost, path: "/webhooks/{name}/test", role: keyturn.RoleOperator, tag: tag,
			summary: "Send a test event to a webhook now", status: http.StatusOK, timeout: 3 * time.Minute,
		}, s.testWebhook)
	}
	if s.Hooks != nil {
		handle(s, operation{
			id: "list-hook-requests", method: http.MethodGet, path: "/hooks/{name}/requests", role: keyturn.RoleViewer, tag: "hooks",
			summary: "List the verified events that came in by a hook, newest first",
		}, func(ctx context.Context, in *hookRequestsInput) (*listOutput[keyturn.HookRequest], error) {
			page, err := in.page()
			if err != nil {
				return nil, err
			}
			return listed(s.Hooks.HookRequests(ctx, in.Name, page))
		})
	}
}

func (s *server) listDeliveries(ctx context.Context, in *listDeliveriesInput) (*listOutput[keyturn.Delivery], error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	return listed(s.Deliveries.Deliveries(ctx, keyturn.DeliveryFilter{Webhook: in.Webhook, State: keyturn.DeliveryState(in.State), Page: page}))
}

func (s *server) getDelivery(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	id, err := parseID("delivery", in.ID)
	if err != nil {
		return nil, err
	}
	d, err := s.Deliveries.Delivery(ctx, id)
	if err != nil {
		return nil, missing(err, "delivery", id.String())
	}
	return &deliveryOutput{Body: d}, nil
}

func (s *server) replayDelivery(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	id, err := parseID("delivery", in.ID)
	if err != nil {
		return nil, err
	}
	err = s.Deliveries.Replay(audited(ctx, "delivery.replay", id.String(), "", nil), id)
	if errors.Is(err, keyturn.ErrConflict) {
		return nil, huma.Error409Conflict(fmt.Sprintf("delivery %s can't be replayed: it is being sent now, or its webhook was removed", id))
	}
	if err != nil {
		return nil, missing(err, "delivery", id.String())
	}
	s.OnChange()
	return s.getDelivery(ctx, in)
}

func (s *server) replayWebhook(ctx context.Context, in *nameInput) (*replayedOutput, error) {
	if _, err := s.resource(ctx, keyturn.KindWebhook, in.Name); err != nil {
		return nil, err
	}
	n, err := s.Deliveries.ReplayParked(audited(ctx, "webhook.replay", in.Name, "", nil), in.Name)
	if err != nil {
		return nil, err
	}
	s.OnChange()
	return &replayedOutput{Body: Replayed{Replayed: n}}, nil
}

func (s *server) testWebhook(ctx context.Context, in *nameInput) (*webhookTestOutput, error) {
	stored, err := s.resource(ctx, keyturn.KindWebhook, in.Name)
	if err != nil {
		return nil, err
	}
	if s.Tester == nil {
		return nil, huma.Error501NotImplemented("this server can't send to webhooks")
	}
	hook, err := resource.WebhookOf(stored)
	if err != nil {
		return nil, err
	}
	if err := s.Store.WriteAudit(audited(ctx, "webhook.test", in.Name, "", nil)); err != nil {
		return nil, err
	}
	begin := time.Now()
	answer := s.Tester.TestWebhook(ctx, hook)
	out := WebhookTest{Delivered: answer.Err == nil, Status: answer.Status, Answer: answer.Answer, TookMillis: time.Since(begin).Milliseconds()}
	if answer.Err != nil {
		out.Error = answer.Err.Error()
	}
	return &webhookTestOutput{Body: out}, nil
}

// withStates adds to webhooks what happens to them.
func (s *server) withStates(ctx context.Context, resources []keyturn.Resource) error {
	if s.Deliveries == nil {
		return nil
	}
	var states map[string]keyturn.WebhookState
	for i := range resources {
		if resources[i].Kind != keyturn.KindWebhook {
			continue
		}
		if states == nil {
			all, err := s.Deliveries.WebhookStates(ctx)
			if err != nil {
				return err
			}
			states = make(map[string]keyturn.WebhookState, len(all))
			for _, state := range all {
				states[state.Webhook] = state
			}
		}
		if state, ok := states[resources[i].Name]; ok {
			resources[i].Status.Webhook = &state
		}
	}
	return nil
}
