package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	// announceEvery is long so that many events go at once: storing a few hundred costs the bus, and
	// fetching their announcements the database, hardly more than storing one.
	announceEvery = 900 * time.Millisecond
	// announceMost is how many announcements are published at a time. One names up to a group commit of tasks, of which
	// each makes up to three events of more than 1 kB: more at once would be megabytes for nothing.
	announceMost = 16
)

// announcer publishes what the outbox says happened, until the bus has it.
// An event can be published twice, under the same id; none is left out.
type announcer struct {
	source   string // the CloudEvents source
	store    AnnounceStore
	queue    Queue
	lease    time.Duration
	outbox   outbox
	recorded recorded
	log      *zap.Logger
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
	ctx, cancel := context.WithTimeout(ctx, a.lease)
	defer cancel()
	batch, err := a.store.Unannounced(ctx, announceMost, a.lease)
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	events, err := a.events(ctx, batch)
	if err != nil {
		return 0, fmt.Errorf("reading what is to be announced: %w", err)
	}
	ids := make([]keyturn.ID, len(batch))
	for i, note := range batch {
		ids[i] = note.ID
	}
	if err := a.outbox.add(ctx, events); err != nil {
		return 0, fmt.Errorf("handing events to webhooks: %w", err)
	}
	if len(events) > 0 {
		if err := a.queue.PublishEvents(ctx, events); err != nil {
			return 0, err
		}
	}
	return len(batch), a.store.Announced(ctx, ids)
}

// events writes what the announcements tell, one announcement after the other.
func (a *announcer) events(ctx context.Context, notes []keyturn.Announcement) ([]Event, error) {
	whole, err := a.read(ctx, notes)
	if err != nil {
		return nil, err
	}
	most := 0
	for _, what := range whole {
		most += len(what.Tasks) + len(what.Records) + len(what.retired) + 1
	}
	events := make([]Event, 0, most)
	for i, note := range notes {
		first := len(events)
		if events, err = a.tell(ctx, events, note, whole[i]); err != nil {
			return nil, err
		}
		for i := range events[first:] {
			events[first+i].Announcement = note.ID
		}
	}
	return events, nil
}

func (a *announcer) tell(ctx context.Context, events []Event, note keyturn.Announcement, what whole) ([]Event, error) {
	switch note.Type {
	case "tasks":
		return a.taskEvents(events, what.Tasks, what.Records)
	case "keys":
		return a.keyEvents(events, what.Records)
	case "retired":
		return a.retiredEvents(events, what.retired)
	default:
		return a.single(ctx, events, note)
	}
}

// single adds the events of an announcement that tells of alerts, or of rotations.
func (a *announcer) single(ctx context.Context, events []Event, note keyturn.Announcement) ([]Event, error) {
	switch note.Type {
	case "notice":
		n, err := a.store.Notice(ctx, note.Notice)
		if err != nil {
			return nil, err
		}
		return a.add(events, "alert."+string(n.State), n.ID.String(), n.At, n)
	case "rotations":
		var err error
		for _, id := range note.Requested {
			if events, err = a.rotationEvent(ctx, events, "rotation.requested", id); err != nil {
				return nil, err
			}
		}
		return events, nil
	default:
		return a.rotationEvent(ctx, events, note.Type, note.Rotation)
	}
}

func (a *announcer) rotationEvent(ctx context.Context, events []Event, what string, id keyturn.ID) ([]Event, error) {
	r, err := a.store.Rotation(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.RetryOf != nil {
		r.Only.Units = nil // thousands, perhaps: more than a message may hold
	}
	r.Only.Keys = nil
	return a.add(events, what, r.ID.String(), rotationTime(what, r), r)
}

func (a *announcer) taskEvents(events []Event, tasks []keyturn.Task, records []keyturn.KeyRecord) ([]Event, error) {
	var err error
	for _, t := range tasks {
		if t.FinishedAt == nil { // a person has it tried again: there will be another end to tell
			continue
		}
		what := "task." + string(t.State)
		id := what + "/" + t.ID.String()
		if t.State == keyturn.TaskParked { // it may be parked again after that
			id += "/" + strconv.FormatInt(t.FinishedAt.UnixMilli(), 10)
		}
		if events, err = a.addAs(id, events, what, t.ID.String(), *t.FinishedAt, t); err != nil {
			return nil, err
		}
	}
	return a.keyEvents(events, records)
}

func (a *announcer) keyEvents(events []Event, records []keyturn.KeyRecord) ([]Event, error) {
	var err error
	for _, k := range records {
		if events, err = a.add(events, "key."+string(k.Origin), k.ID.String(), k.From, k); err != nil {
			return nil, err
		}
	}
	return events, nil
}

func (a *announcer) retiredEvents(events []Event, keys []keyturn.RetiredKey) ([]Event, error) {
	var err error
	for _, k := range keys {
		if events, err = a.add(events, "key.retired", k.ID.String(), k.DisabledAt, k); err != nil {
			return nil, err
		}
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

// add appends a CloudEvent. Its id follows from what happened to what, so a
// repeat is recognised.
func (a *announcer) add(to []Event, what, subject string, at time.Time, data any) ([]Event, error) {
	return a.addAs(what+"/"+subject, to, what, subject, at, data)
}

func (a *announcer) addAs(id string, to []Event, what, subject string, at time.Time, data any) ([]Event, error) {
	body, err := json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: id, Source: a.source, Type: "keyturn." + what,
		Subject: subject, Time: at.UTC(), DataContentType: "application/json", Data: data,
	})
	if err != nil {
		return nil, fmt.Errorf("writing event %s: %w", id, err)
	}
	order, notice := orderOf(data)
	return append(to, Event{ID: id, Type: what, Data: body, Order: order, Notice: notice}), nil
}
