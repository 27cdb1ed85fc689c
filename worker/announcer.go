package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	announceEvery = 500 * time.Millisecond
	announceLease = 30 * time.Second
	announceMost  = 16 // announcements at a time; one names up to a group commit of tasks
)

// announcer publishes what the outbox says happened, until the bus has it.
// An event can be published twice, under the same id; none is left out.
type announcer struct {
	source string // the CloudEvents source
	store  AnnounceStore
	queue  Queue
	log    *zap.Logger
}

func (a *announcer) run(ctx context.Context) {
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for {
			n, err := a.announce(ctx)
			if err != nil && ctx.Err() == nil {
				a.log.Warn("announcing; tried again after the lease", zap.Error(err))
			}
			if err != nil || n < announceMost {
				break
			}
		}
	}
}

func (a *announcer) announce(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, announceLease)
	defer cancel()
	batch, err := a.store.Unannounced(ctx, announceMost, announceLease)
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	var events []Event
	ids := make([]keyturn.ID, 0, len(batch))
	for _, note := range batch {
		made, err := a.events(ctx, note)
		if err != nil {
			return 0, fmt.Errorf("reading what %s announces: %w", note.Type, err)
		}
		events = append(events, made...)
		ids = append(ids, note.ID)
	}
	if len(events) > 0 {
		if err := a.queue.PublishEvents(ctx, events); err != nil {
			return 0, err
		}
	}
	return len(batch), a.store.Announced(ctx, ids)
}

func (a *announcer) events(ctx context.Context, note keyturn.Announcement) ([]Event, error) {
	if note.Type != "tasks" {
		r, err := a.store.Rotation(ctx, note.Rotation)
		if err != nil {
			return nil, err
		}
		e, err := a.event(note.Type, r.ID.String(), rotationTime(note.Type, r), r)
		return []Event{e}, err
	}
	tasks, records, err := a.store.AnnouncedTasks(ctx, note.Tasks)
	if err != nil {
		return nil, err
	}
	events := make([]Event, 0, len(tasks)+len(records))
	for _, t := range tasks {
		at := time.Time{}
		if t.FinishedAt != nil {
			at = *t.FinishedAt
		}
		e, err := a.event("task."+string(t.State), t.ID.String(), at, t)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	for _, k := range records {
		e, err := a.event("key."+string(k.Origin), k.ID.String(), k.From, k)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

func rotationTime(what string, r keyturn.Rotation) time.Time {
	switch {
	case what == "rotation.started" && r.StartedAt != nil:
		return *r.StartedAt
	case what == "rotation.completed" && r.FinishedAt != nil:
		return *r.FinishedAt
	default:
		return r.RequestedAt
	}
}

// cloudEvent is the structured JSON form of CloudEvents 1.0, in the order in
// which people read it. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            any       `json:"data"`
}

// event makes the CloudEvent. Its id follows from what happened to what, so a
// repeat is recognised.
func (a *announcer) event(what, subject string, at time.Time, data any) (Event, error) {
	id := what + "/" + subject
	body, err := json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: id, Source: a.source, Type: "keyturn." + what,
		Subject: subject, Time: at.UTC(), DataContentType: "application/json", Data: data,
	})
	if err != nil {
		return Event{}, fmt.Errorf("writing event %s: %w", id, err)
	}
	return Event{ID: id, Type: what, Data: body}, nil
}
