package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// enqueueChunk is how many deliveries one statement adds.
const enqueueChunk = 1000

// Enqueue adds deliveries. Those that are there stay as they are.
func (s *Store) Enqueue(ctx context.Context, deliveries []keyturn.Delivery) error {
	for chunk := range slices.Chunk(deliveries, enqueueChunk) {
		arg := db.EnqueueDeliveriesParams{Now: s.clock()}
		for _, d := range chunk {
			arg.Ids, arg.Webhooks = append(arg.Ids, s.newID()), append(arg.Webhooks, d.Webhook)
			arg.EventIds, arg.Events = append(arg.EventIds, clean(d.EventID)), append(arg.Events, d.Event)
			arg.OrderKeys, arg.Bodies = append(arg.OrderKeys, clean(d.Order)), append(arg.Bodies, clean(string(d.Body)))
		}
		_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, s.q.EnqueueDeliveries(ctx, s.pool, arg) })
		if err != nil {
			return fmt.Errorf("adding %d deliveries: %w", len(chunk), err)
		}
	}
	return nil
}

// DueWebhooks returns the webhooks that have something to be sent now.
func (s *Store) DueWebhooks(ctx context.Context) ([]string, error) {
	names, err := s.q.DueWebhooks(ctx, s.pool, s.clock())
	if err != nil {
		return nil, fmt.Errorf("looking for deliveries that are due: %w", err)
	}
	return names, nil
}

// ClaimDeliveries takes deliveries of a webhook that are due.
func (s *Store) ClaimDeliveries(ctx context.Context, webhook string, limit int, lease time.Duration) ([]keyturn.Delivery, error) {
	rows, err := retry(ctx, func() ([]db.ClaimDeliveriesRow, error) {
		return s.q.ClaimDeliveries(ctx, s.pool, db.ClaimDeliveriesParams{Now: s.clock(), Webhook: webhook, Max: int32Of(limit), Lease: micros(lease)})
	})
	if err != nil {
		return nil, fmt.Errorf("claiming deliveries of webhook %s: %w", webhook, err)
	}
	out := make([]keyturn.Delivery, len(rows))
	for i, r := range rows {
		out[i] = deliveryOf(db.Delivery(r))
	}
	return out, nil
}

// FinishDeliveries records what came of attempts.
func (s *Store) FinishDeliveries(ctx context.Context, webhook string, results []keyturn.DeliveryResult, giveUp time.Duration) error {
	arg := db.FinishDeliveriesParams{Now: s.clock()}
	for _, r := range results {
		arg.Ids, arg.Attempts = append(arg.Ids, r.ID), append(arg.Attempts, int32Of(r.Attempts))
		arg.States, arg.Afters = append(arg.States, string(r.State)), append(arg.Afters, micros(r.After))
		arg.Statuses, arg.Errors = append(arg.Statuses, int32Of(r.Status)), append(arg.Errors, clean(r.Error))
	}
	outcome := keyturn.OutcomeOf(results)
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		state, err := s.q.LockWebhookState(ctx, tx, webhook)
		if err != nil {
			return err
		}
		if _, err := s.q.FinishDeliveries(ctx, tx, arg); err != nil {
			return err
		}
		if outcome.Took {
			return s.webhookTook(ctx, tx, state)
		}
		return s.webhookFailed(ctx, tx, state, outcome, giveUp)
	})
	if err != nil {
		return fmt.Errorf("recording %d attempts of webhook %s: %w", len(results), webhook, err)
	}
	return nil
}

func (s *Store) webhookTook(ctx context.Context, tx pgx.Tx, state db.WebhookState) error {
	if err := s.q.WebhookTook(ctx, tx, db.WebhookTookParams{Now: s.clock(), Webhook: state.Webhook}); err != nil {
		return err
	}
	if state.Failures == 0 {
		return nil
	}
	return s.q.WakeDeliveries(ctx, tx, db.WakeDeliveriesParams{Now: s.clock(), Webhook: state.Webhook})
}

func (s *Store) webhookFailed(ctx context.Context, tx pgx.Tx, state db.WebhookState, outcome keyturn.DeliveryOutcome, giveUp time.Duration) error {
	failed := db.WebhookFailedParams{Now: s.clock(), Webhook: state.Webhook, Error: clean(outcome.Error), Gone: outcome.Gone}
	if outcome.Whole {
		failed.More, failed.Hold = 1, micros(keyturn.WebhookHold(int(state.Failures)+1, outcome.Asked))
	}
	if err := s.q.WebhookFailed(ctx, tx, failed); err != nil {
		return err
	}
	if !outcome.Whole {
		return nil
	}
	age := giveUp
	if outcome.Gone {
		age = 0
	}
	_, err := s.q.ParkDeliveries(ctx, tx, db.ParkDeliveriesParams{Now: s.clock(), Webhook: state.Webhook, Error: clean(outcome.Error), Age: micros(age)})
	return err
}

// EndDeliveries ends what is for webhooks that were removed.
func (s *Store) EndDeliveries(ctx context.Context) (int, error) {
	var n int64
	err := s.inTx(ctx, func(tx pgx.Tx) (err error) {
		if n, err = s.q.EndDeliveries(ctx, tx, s.clock()); err != nil {
			return err
		}
		return s.q.ForgetWebhooks(ctx, tx)
	})
	if err != nil {
		return 0, fmt.Errorf("ending the deliveries of removed webhooks: %w", err)
	}
	return int(n), nil
}

// PruneDeliveries removes deliveries that ended longer than age ago.
func (s *Store) PruneDeliveries(ctx context.Context, age time.Duration, limit int) (int, error) {
	n, err := s.q.PruneDeliveries(ctx, s.pool, db.PruneDeliveriesParams{Now: s.clock(), Age: micros(age), Max: int32Of(limit)})
	if err != nil {
		return 0, fmt.Errorf("removing old deliveries: %w", err)
	}
	return int(n), nil
}

// PruneHookRequests removes what came in longer than age ago.
func (s *Store) PruneHookRequests(ctx context.Context, age time.Duration, limit int) (int, error) {
	n, err := s.q.PruneHookRequests(ctx, s.pool, db.PruneHookRequestsParams{Now: s.clock(), Age: micros(age), Max: int32Of(limit)})
	if err != nil {
		return 0, fmt.Errorf("removing old calls of hooks: %w", err)
	}
	return int(n), nil
}

// Deliveries lists deliveries, newest first, without their bodies.
func (s *Store) Deliveries(ctx context.Context, f keyturn.DeliveryFilter) ([]keyturn.Delivery, string, error) {
	after, err := cursor(f.Page)
	if err != nil {
		return nil, "", err
	}
	limit := limitOf(f.Page)
	rows, err := s.q.Deliveries(ctx, s.pool, db.DeliveriesParams{Webhook: f.Webhook, State: string(f.State), After: after, Max: int32Of(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("listing deliveries: %w", err)
	}
	out := make([]keyturn.Delivery, len(rows))
	for i, r := range rows {
		out[i] = deliveryOf(db.Delivery{
			Seq: r.Seq, ID: r.ID, Webhook: r.Webhook, EventID: r.EventID, Event: r.Event, OrderKey: r.OrderKey, State: r.State,
			Attempts: r.Attempts, CreatedAt: r.CreatedAt, NextAt: r.NextAt, FinishedAt: r.FinishedAt, LastStatus: r.LastStatus, LastError: r.LastError,
		})
	}
	out, next := cut(out, limit, func(d keyturn.Delivery) string { return d.ID.String() })
	return out, next, nil
}

// Delivery returns one delivery with its body.
func (s *Store) Delivery(ctx context.Context, id keyturn.ID) (keyturn.Delivery, error) {
	row, err := s.q.Delivery(ctx, s.pool, id)
	if err != nil {
		return keyturn.Delivery{}, fmt.Errorf("reading delivery %s: %w", id, notFound(err))
	}
	return deliveryOf(row), nil
}

func deliveryOf(r db.Delivery) keyturn.Delivery {
	d := keyturn.Delivery{
		ID: r.ID, Webhook: r.Webhook, EventID: r.EventID, Event: r.Event, Order: r.OrderKey, State: keyturn.DeliveryState(r.State),
		Attempts: int(r.Attempts), CreatedAt: r.CreatedAt.UTC(), FinishedAt: utc(r.FinishedAt), LastStatus: int(r.LastStatus), LastError: r.LastError,
	}
	if d.State == keyturn.DeliveryPending {
		d.NextAt = utc(&r.NextAt)
	}
	if r.Body != "" {
		d.Body = json.RawMessage(r.Body)
	}
	return d
}

// Replay makes a delivery be sent anew.
func (s *Store) Replay(ctx context.Context, id keyturn.ID) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		d, err := s.q.Delivery(ctx, tx, id)
		if err != nil {
			return notFound(err)
		}
		n, err := s.q.ReplayDelivery(ctx, tx, db.ReplayDeliveryParams{ID: id, Now: s.clock()})
		if err == nil && n == 0 {
			err = fmt.Errorf("it is being sent now, or its webhook was removed: %w", keyturn.ErrConflict)
		}
		if err != nil {
			return err
		}
		if err := s.q.FreeWebhook(ctx, tx, d.Webhook); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("replaying delivery %s: %w", id, err)
	}
	return nil
}

// ReplayParked makes what was parked for a webhook be sent anew.
func (s *Store) ReplayParked(ctx context.Context, webhook string) (int, error) {
	var n int64
	err := s.inTx(ctx, func(tx pgx.Tx) (err error) {
		if n, err = s.q.ReplayParked(ctx, tx, db.ReplayParkedParams{Webhook: webhook, Now: s.clock()}); err != nil {
			return err
		}
		if err = s.q.FreeWebhook(ctx, tx, webhook); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return 0, fmt.Errorf("replaying what is parked of webhook %s: %w", webhook, err)
	}
	return int(n), nil
}

// WebhookStates returns what happens to each webhook there is.
func (s *Store) WebhookStates(ctx context.Context) ([]keyturn.WebhookState, error) {
	rows, err := s.q.WebhookStates(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("reading the states of webhooks: %w", err)
	}
	out := make([]keyturn.WebhookState, len(rows))
	for i, r := range rows {
		out[i] = keyturn.WebhookState{
			Webhook: r.Name, Pending: int(r.Pending), Parked: int(r.Parked), FailingSince: utc(r.FailingSince), HeldUntil: utc(r.HeldUntil),
			LastError: r.LastError, LastDeliveredAt: utc(r.LastDeliveredAt), Gone: r.Gone,
		}
	}
	return out, nil
}

// HookRequestOf returns the event that came in before; ErrNotFound: it is new.
func (s *Store) HookRequestOf(ctx context.Context, hook, eventID string) (keyturn.HookRequest, error) {
	row, err := s.q.HookRequestOfEvent(ctx, s.pool, db.HookRequestOfEventParams{Hook: hook, EventID: clean(eventID)})
	if err != nil {
		return keyturn.HookRequest{}, fmt.Errorf("looking for event %q of hook %s: %w", eventID, hook, notFound(err))
	}
	return hookRequestOf(row), nil
}

// SaveHookRequest writes down an event that came in, once: the same again changes nothing.
func (s *Store) SaveHookRequest(ctx context.Context, r keyturn.HookRequest) error {
	_, err := s.q.SaveHookRequest(ctx, s.pool, db.SaveHookRequestParams{
		ID: s.newID(), Hook: r.Hook, Now: s.clock(), EventID: clean(r.EventID), Event: clean(r.Event), Status: clean(r.Status),
		Verdict: string(r.Verdict), Reason: clean(r.Reason), RotationID: r.Rotation, Excerpt: clean(r.Excerpt), Remote: r.Remote,
	})
	if err != nil {
		return fmt.Errorf("writing down event %q of hook %s: %w", r.EventID, r.Hook, err)
	}
	return nil
}

// HookRequests lists what came in, newest first.
func (s *Store) HookRequests(ctx context.Context, hook string, page keyturn.Page) ([]keyturn.HookRequest, string, error) {
	after, err := cursor(page)
	if err != nil {
		return nil, "", err
	}
	limit := limitOf(page)
	rows, err := s.q.HookRequests(ctx, s.pool, db.HookRequestsParams{Hook: hook, After: after, Max: int32Of(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("listing what came in by hooks: %w", err)
	}
	out := make([]keyturn.HookRequest, len(rows))
	for i, r := range rows {
		out[i] = hookRequestOf(r)
	}
	out, next := cut(out, limit, func(r keyturn.HookRequest) string { return r.ID.String() })
	return out, next, nil
}

func hookRequestOf(r db.HookRequest) keyturn.HookRequest {
	return keyturn.HookRequest{
		ID: r.ID, Hook: r.Hook, ReceivedAt: r.ReceivedAt.UTC(), EventID: r.EventID, Event: r.Event, Status: r.Status,
		Verdict: keyturn.HookVerdict(r.Verdict), Reason: r.Reason, Rotation: r.RotationID, Excerpt: r.Excerpt, Remote: r.Remote,
	}
}
