package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// enqueueChunk is how many deliveries one transaction adds: others write in between.
const enqueueChunk = 1000

// Enqueue implements worker.DeliveryStore.
func (s *Store) Enqueue(ctx context.Context, deliveries []keyturn.Delivery) error {
	for chunk := range slices.Chunk(deliveries, enqueueChunk) {
		err := s.inTx(ctx, "adding deliveries", func(ctx context.Context, tx *tx) error {
			for _, d := range chunk {
				err := s.q.EnqueueDelivery(ctx, tx, db.EnqueueDeliveryParams{
					ID: s.ids.next(tx.now).String(), Webhook: d.Webhook, EventID: d.EventID, Event: d.Event, OrderKey: d.Order,
					Now: tx.now, Body: string(d.Body),
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DueWebhooks implements worker.DeliveryStore.
func (s *Store) DueWebhooks(ctx context.Context) ([]string, error) {
	names, err := s.q.DueWebhooks(ctx, s.read, at(s.nowMS()))
	if err != nil {
		return nil, fmt.Errorf("looking for deliveries that are due: %w", err)
	}
	return names, nil
}

// ClaimDeliveries implements worker.DeliveryStore.
func (s *Store) ClaimDeliveries(ctx context.Context, webhook string, limit int, lease time.Duration) ([]keyturn.Delivery, error) {
	var out []keyturn.Delivery
	err := s.inTx(ctx, "claiming deliveries of webhook "+webhook, func(ctx context.Context, tx *tx) error {
		state, err := s.webhookState(ctx, tx, webhook)
		if err != nil || state.HeldUntil.Valid && state.HeldUntil.Int64 > tx.now {
			return err
		}
		if state.Failures > 0 {
			limit = 1
		}
		rows, err := s.q.DueDeliveries(ctx, tx, db.DueDeliveriesParams{Webhook: webhook, Now: tx.now, MaxRows: int64(limit)})
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b db.Delivery) int { return int(a.Seq - b.Seq) })
		for _, row := range rows {
			row.Attempts++
			row.NextAt = tx.now + lease.Milliseconds()
			if err := s.q.ClaimDelivery(ctx, tx, db.ClaimDeliveryParams{Seq: row.Seq, Until: row.NextAt}); err != nil {
				return err
			}
			d, err := toDelivery(row)
			if err != nil {
				return err
			}
			out = append(out, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// webhookState returns what happens to a webhook, of which there may be no row yet.
func (s *Store) webhookState(ctx context.Context, tx *tx, webhook string) (db.WebhookState, error) {
	state, err := s.q.WebhookState(ctx, tx, webhook)
	if errors.Is(err, sql.ErrNoRows) {
		return db.WebhookState{Webhook: webhook}, nil
	}
	return state, err
}

// FinishDeliveries implements worker.DeliveryStore.
func (s *Store) FinishDeliveries(ctx context.Context, webhook string, results []keyturn.DeliveryResult, giveUp time.Duration) error {
	outcome := keyturn.OutcomeOf(results)
	return s.inTx(ctx, "recording attempts of webhook "+webhook, func(ctx context.Context, tx *tx) error {
		for _, r := range results {
			arg := db.FinishDeliveryParams{
				ID: r.ID.String(), Attempts: int64(r.Attempts), State: string(r.State), LastStatus: int64(r.Status), LastError: r.Error,
			}
			if r.State == keyturn.DeliveryPending {
				arg.NextAt = tx.in(r.After)
			} else {
				arg.FinishedAt = at(tx.now)
			}
			if _, err := s.q.FinishDelivery(ctx, tx, arg); err != nil {
				return err
			}
		}
		state, err := s.webhookState(ctx, tx, webhook)
		if err != nil {
			return err
		}
		if outcome.Took {
			return s.webhookTook(ctx, tx, state)
		}
		return s.webhookFailed(ctx, tx, state, outcome, giveUp)
	})
}

func (s *Store) webhookTook(ctx context.Context, tx *tx, state db.WebhookState) error {
	err := s.q.SetWebhookState(ctx, tx, db.SetWebhookStateParams{Webhook: state.Webhook, LastDeliveredAt: at(tx.now)})
	if err != nil || state.Failures == 0 {
		return err
	}
	return s.q.WakeDeliveries(ctx, tx, db.WakeDeliveriesParams{Now: tx.now, Webhook: state.Webhook})
}

func (s *Store) webhookFailed(ctx context.Context, tx *tx, state db.WebhookState, outcome keyturn.DeliveryOutcome, giveUp time.Duration) error {
	state.LastError = outcome.Error
	if !state.FailingSince.Valid {
		state.FailingSince = at(tx.now)
	}
	if outcome.Whole {
		state.Failures++
		state.HeldUntil = tx.in(keyturn.WebhookHold(int(state.Failures), outcome.Asked))
	}
	if outcome.Gone {
		row, err := s.q.Resource(ctx, tx, db.ResourceParams{Kind: string(keyturn.KindWebhook), Name: state.Webhook})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		state.GoneGeneration = at(row.Generation)
		giveUp = 0
	}
	if err := s.q.SetWebhookState(ctx, tx, db.SetWebhookStateParams(state)); err != nil || !outcome.Whole {
		return err
	}
	_, err := s.q.ParkDeliveries(ctx, tx, db.ParkDeliveriesParams{
		Now: at(tx.now), Webhook: state.Webhook, LastError: outcome.Error, Before: tx.now - giveUp.Milliseconds(),
	})
	return err
}

// EndDeliveries implements worker.DeliveryStore.
func (s *Store) EndDeliveries(ctx context.Context) (int, error) {
	var n int64
	err := s.inTx(ctx, "ending the deliveries of removed webhooks", func(ctx context.Context, tx *tx) (err error) {
		if n, err = s.q.EndDeliveries(ctx, tx, at(tx.now)); err != nil {
			return err
		}
		return s.q.ForgetWebhooks(ctx, tx)
	})
	return int(n), err
}

// PruneDeliveries implements worker.DeliveryStore.
func (s *Store) PruneDeliveries(ctx context.Context, age time.Duration, limit int) (int, error) {
	var n int64
	err := s.inTx(ctx, "removing old deliveries", func(ctx context.Context, tx *tx) (err error) {
		n, err = s.q.PruneDeliveries(ctx, tx, db.PruneDeliveriesParams{Before: tx.in(-age), MaxRows: int64(limit)})
		return err
	})
	return int(n), err
}

// Deliveries implements api.DeliveryStore.
func (s *Store) Deliveries(ctx context.Context, f keyturn.DeliveryFilter) ([]keyturn.Delivery, string, error) {
	if err := checkCursor(f.Page.After); err != nil {
		return nil, "", err
	}
	rows, err := s.q.Deliveries(ctx, s.read, db.DeliveriesParams{
		Webhook: f.Webhook, State: string(f.State), After: f.Page.After, MaxRows: limit(f.Page) + 1,
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing deliveries: %w", err)
	}
	rows, next := cut(rows, f.Page, func(r db.DeliveriesRow) string { return r.ID })
	out := make([]keyturn.Delivery, len(rows))
	for i, r := range rows {
		if out[i], err = toDelivery(db.Delivery{
			Seq: r.Seq, ID: r.ID, Webhook: r.Webhook, EventID: r.EventID, Event: r.Event, OrderKey: r.OrderKey, State: r.State,
			Attempts: r.Attempts, CreatedAt: r.CreatedAt, NextAt: r.NextAt, FinishedAt: r.FinishedAt, LastStatus: r.LastStatus, LastError: r.LastError,
		}); err != nil {
			return nil, "", fmt.Errorf("listing deliveries: %w", err)
		}
	}
	return out, next, nil
}

// Delivery implements api.DeliveryStore.
func (s *Store) Delivery(ctx context.Context, id keyturn.ID) (keyturn.Delivery, error) {
	row, err := s.q.Delivery(ctx, s.read, id.String())
	if err != nil {
		return keyturn.Delivery{}, fmt.Errorf("reading delivery %s: %w", id, found(err))
	}
	return toDelivery(row)
}

func toDelivery(r db.Delivery) (keyturn.Delivery, error) {
	d := keyturn.Delivery{
		Webhook: r.Webhook, EventID: r.EventID, Event: r.Event, Order: r.OrderKey, State: keyturn.DeliveryState(r.State),
		Attempts: int(r.Attempts), CreatedAt: toTime(r.CreatedAt), FinishedAt: toTimePtr(r.FinishedAt),
		LastStatus: int(r.LastStatus), LastError: r.LastError,
	}
	if d.State == keyturn.DeliveryPending {
		d.NextAt = toTimePtr(at(r.NextAt))
	}
	if r.Body != "" {
		d.Body = json.RawMessage(r.Body)
	}
	return d, d.ID.Scan(r.ID)
}

// Replay implements api.DeliveryStore.
func (s *Store) Replay(ctx context.Context, id keyturn.ID) error {
	return s.inTx(ctx, "replaying delivery "+id.String(), func(ctx context.Context, tx *tx) error {
		d, err := s.q.Delivery(ctx, tx, id.String())
		if err != nil {
			return found(err)
		}
		n, err := s.q.ReplayDelivery(ctx, tx, db.ReplayDeliveryParams{Now: tx.now, ID: id.String()})
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: it is being sent now, or its webhook was removed", keyturn.ErrConflict)
		}
		if err != nil {
			return err
		}
		if err := s.q.FreeWebhook(ctx, tx, d.Webhook); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// ReplayParked implements api.DeliveryStore.
func (s *Store) ReplayParked(ctx context.Context, webhook string) (int, error) {
	var n int64
	err := s.inTx(ctx, "replaying what is parked of webhook "+webhook, func(ctx context.Context, tx *tx) (err error) {
		if n, err = s.q.ReplayParked(ctx, tx, db.ReplayParkedParams{Now: tx.now, Webhook: webhook}); err != nil {
			return err
		}
		if err = s.q.FreeWebhook(ctx, tx, webhook); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	return int(n), err
}

// WebhookStates implements api.DeliveryStore.
func (s *Store) WebhookStates(ctx context.Context) ([]keyturn.WebhookState, error) {
	rows, err := s.q.WebhookStates(ctx, s.read)
	if err != nil {
		return nil, fmt.Errorf("reading the states of webhooks: %w", err)
	}
	out := make([]keyturn.WebhookState, len(rows))
	for i, r := range rows {
		out[i] = keyturn.WebhookState{
			Webhook: r.Name, Pending: int(r.Pending), Parked: int(r.Parked), FailingSince: toTimePtr(r.FailingSince),
			HeldUntil: toTimePtr(r.HeldUntil), LastError: r.LastError.String, LastDeliveredAt: toTimePtr(r.LastDeliveredAt),
			Gone: r.GoneGeneration.Valid && r.GoneGeneration.Int64 == r.Generation,
		}
	}
	return out, nil
}

// HookRequestOf implements api.HookStore.
func (s *Store) HookRequestOf(ctx context.Context, hook, eventID string) (keyturn.HookRequest, error) {
	row, err := s.q.HookRequestOfEvent(ctx, s.read, db.HookRequestOfEventParams{Hook: hook, EventID: eventID})
	if err != nil {
		return keyturn.HookRequest{}, fmt.Errorf("looking for event %q of hook %s: %w", eventID, hook, found(err))
	}
	return toHookRequest(row)
}

// SaveHookRequest implements api.HookStore.
func (s *Store) SaveHookRequest(ctx context.Context, r keyturn.HookRequest) error {
	return s.inTx(ctx, fmt.Sprintf("writing down event %q of hook %s", r.EventID, r.Hook), func(ctx context.Context, tx *tx) error {
		arg := db.SaveHookRequestParams{
			ID: s.ids.next(tx.now).String(), Hook: r.Hook, ReceivedAt: tx.now, EventID: r.EventID, Event: r.Event, Status: r.Status,
			Verdict: string(r.Verdict), Reason: r.Reason, Excerpt: r.Excerpt, Remote: r.Remote,
		}
		if !r.Rotation.IsZero() {
			arg.RotationID = text(r.Rotation.String())
		}
		_, err := s.q.SaveHookRequest(ctx, tx, arg)
		return err
	})
}

// HookRequests implements api.HookStore.
func (s *Store) HookRequests(ctx context.Context, hook string, page keyturn.Page) ([]keyturn.HookRequest, string, error) {
	if err := checkCursor(page.After); err != nil {
		return nil, "", err
	}
	rows, err := s.q.HookRequests(ctx, s.read, db.HookRequestsParams{Hook: hook, After: page.After, MaxRows: limit(page) + 1})
	if err != nil {
		return nil, "", fmt.Errorf("listing what came in by hooks: %w", err)
	}
	rows, next := cut(rows, page, func(r db.HookRequest) string { return r.ID })
	out := make([]keyturn.HookRequest, len(rows))
	for i, row := range rows {
		if out[i], err = toHookRequest(row); err != nil {
			return nil, "", fmt.Errorf("listing what came in by hooks: %w", err)
		}
	}
	return out, next, nil
}

func toHookRequest(r db.HookRequest) (keyturn.HookRequest, error) {
	out := keyturn.HookRequest{
		Hook: r.Hook, ReceivedAt: toTime(r.ReceivedAt), EventID: r.EventID, Event: r.Event, Status: r.Status,
		Verdict: keyturn.HookVerdict(r.Verdict), Reason: r.Reason, Excerpt: r.Excerpt, Remote: r.Remote,
	}
	if err := out.ID.Scan(r.ID); err != nil {
		return out, err
	}
	if r.RotationID.Valid {
		return out, out.Rotation.Scan(r.RotationID.String)
	}
	return out, nil
}
