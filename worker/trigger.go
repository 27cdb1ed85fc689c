package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// triggerType is the CloudEvents type of a manual trigger.
const triggerType = "keyturn.rotation.trigger"

// TriggerMessage is what is published to PREFIX.trigger, plainly or as the data of a CloudEvent.
type TriggerMessage struct {
	Policy string `json:"policy"`
	Reason string `json:"reason"`
	// ID is the caller's: the same id again is the same rotation.
	ID   string            `json:"id"`
	Only keyturn.Selection `json:"only"`
	// Keys are keys that someone else has made, by unit id; the same as those in Only.
	Keys map[string]string `json:"keys"`
}

// triggers turns messages into rotations.
type triggers struct {
	store   TriggerStore
	queue   Queue
	log     *zap.Logger
	metrics *Metrics
}

func (t *triggers) handle(ctx context.Context, d Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	message, err := parseTrigger(d.Data())
	if err != nil {
		t.reject(ctx, d, err.Error())
		return
	}
	id := message.ID
	if id == "" { // a redelivery must still be the same rotation
		id = "message:" + d.Key()
	}
	rotation, created, err := t.store.Request(ctx, keyturn.Request{
		Policy: message.Policy, Trigger: keyturn.TriggerManual, TriggerID: id,
		Reason: message.Reason, RequestedBy: "nats", Only: message.Only,
	})
	switch {
	case errors.Is(err, keyturn.ErrNotFound):
		t.reject(ctx, d, fmt.Sprintf("unknown policy %q", message.Policy))
		return
	case errors.Is(err, keyturn.ErrConflict):
		t.reject(ctx, d, fmt.Sprintf("id %q was used before for another policy", message.ID))
		return
	case err != nil:
		t.log.Warn("trigger left to be delivered again", zap.String("policy", message.Policy), zap.Error(err))
		return
	}
	if created {
		t.metrics.triggers.WithLabelValues("accepted").Inc()
		if err := t.queue.PublishRotation(ctx, rotation.ID); err != nil { // the sweeper will
			t.log.Warn("waking a planner", zap.Stringer("rotation", rotation.ID), zap.Error(err))
		}
	} else {
		t.metrics.triggers.WithLabelValues("repeated").Inc()
	}
	d.Ack()
}

func (t *triggers) reject(ctx context.Context, d Delivery, reason string) {
	if reject(ctx, d, t.log, reason) {
		t.metrics.triggers.WithLabelValues("rejected").Inc()
	}
}

// parseTrigger reads a trigger, strictly: a misspelled field could otherwise
// turn more keys than was meant.
func parseTrigger(data []byte) (TriggerMessage, error) {
	if !keyturn.StorableJSON(data) { // the database would refuse it each time it comes
		return TriggerMessage{}, errors.New(`a text in it has a NUL character (\u0000)`)
	}
	var envelope struct {
		SpecVersion string          `json:"specversion"`
		Type        string          `json:"type"`
		Source      string          `json:"source"`
		ID          string          `json:"id"`
		Data        json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return TriggerMessage{}, fmt.Errorf("not a JSON object: %w", err)
	}
	plain := data
	if envelope.SpecVersion != "" {
		switch {
		case envelope.SpecVersion != "1.0":
			return TriggerMessage{}, fmt.Errorf("CloudEvents specversion %q: expected 1.0", envelope.SpecVersion)
		case envelope.Type != triggerType:
			return TriggerMessage{}, fmt.Errorf("CloudEvent of type %q: expected %s", envelope.Type, triggerType)
		case envelope.ID == "" || envelope.Source == "":
			return TriggerMessage{}, errors.New("CloudEvent without id or source")
		case len(envelope.Data) == 0:
			return TriggerMessage{}, errors.New("CloudEvent without JSON data")
		}
		plain = envelope.Data
	}
	var message TriggerMessage
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&message); err != nil {
		return TriggerMessage{}, fmt.Errorf("not a trigger: %w", err)
	}
	if decoder.More() {
		return TriggerMessage{}, errors.New("not a trigger: more than one JSON value")
	}
	if message.Policy == "" {
		return TriggerMessage{}, errors.New("no policy named")
	}
	if len(message.ID) > 200 || len(message.Reason) > 2000 {
		return TriggerMessage{}, errors.New("id longer than 200 or reason longer than 2000 characters")
	}
	if err := message.Only.Check(); err != nil {
		return TriggerMessage{}, err
	}
	var err error
	if message.Only, err = message.Only.WithKeys(message.Keys); err != nil {
		return TriggerMessage{}, err
	}
	if message.ID == "" && envelope.ID != "" && envelope.SpecVersion != "" {
		message.ID = envelope.Source + "#" + envelope.ID // unique by the CloudEvents specification
		if len(message.ID) > 1000 {
			return TriggerMessage{}, errors.New("CloudEvent whose source and id are longer than 1000 characters together")
		}
	}
	return message, nil
}
