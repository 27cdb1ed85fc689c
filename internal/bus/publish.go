package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// The headers of an atomic batch:
// https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"

	// maxBatch is the server's default limit.
	maxBatch = 1000

	// publishTries is how often a publish is sent that certainly was not stored.
	publishTries = 5
)

// Error codes of the server that nats.go has no names for.
// https://github.com/nats-io/nats-server/blob/main/server/errors.json
const (
	codeMsgIDInProcess  = 10158 // the same message id is being stored
	codeBatchIncomplete = 10176 // a part got lost, or too many batches were under way
	codeBatchDuplicate  = 10201 // a message id of the batch was stored before
	codeBatchTooMany    = 10210
)

// pubAck is the server's answer to a publish.
type pubAck struct {
	Stream string              `json:"stream"`
	Error  *jetstream.APIError `json:"error"`
}

// PublishTasks hands tasks of one target to the workers, all or none for up to
// 1000 bundles. Repeating a call stores them again. Messages have no ids: nobody repeats a publish whose outcome is
// unknown, the row decides about a message that comes twice, and the server would remember each id for a while.
func (b *Bus) PublishTasks(ctx context.Context, target string, bundles [][]keyturn.QueuedTask) error {
	msgs := make([]message, 0, len(bundles))
	for _, tasks := range bundles {
		if len(tasks) == 0 {
			continue
		}
		for i := range tasks {
			of, _, _, err := keyturn.ParseUnitID(tasks[i].Unit)
			if err != nil {
				return fmt.Errorf("publishing task %s: %w", tasks[i].Task, err)
			}
			if of != target {
				return fmt.Errorf("publishing task %s: %q is not a unit of the target %s", tasks[i].Task, tasks[i].Unit, target)
			}
		}
		body, err := keyturn.EncodeQueuedTasks(tasks)
		if err != nil {
			return fmt.Errorf("encoding task %s: %w", tasks[0].Task, err)
		}
		msgs = append(msgs, message{subject: b.topo.tasks(tasks[0].Unit), body: body})
	}
	if err := b.publish(ctx, StreamTask, msgs); err != nil {
		return fmt.Errorf("publishing %d messages with tasks of %s: %w", len(msgs), target, err)
	}
	return nil
}

// PublishRotation wakes a planner. The message id is the rotation's id, and the
// stream remembers ids for 2 seconds only: schedulers and sweepers that publish the same
// rotation at once wake one planner, but a message that got lost is no reason to
// take its repetition for a duplicate, as long as it is repeated later than that.
func (b *Bus) PublishRotation(ctx context.Context, id keyturn.ID) error {
	text := id.String()
	if err := b.publish(ctx, StreamRotation, []message{{subject: b.topo.rotations(), id: text, body: []byte(text)}}); err != nil {
		return fmt.Errorf("publishing rotation %s: %w", text, err)
	}
	return nil
}

// PublishRotations wakes planners for several rotations, up to 1000 of them at once.
func (b *Bus) PublishRotations(ctx context.Context, ids []keyturn.ID) error {
	msgs := make([]message, len(ids))
	subject := b.topo.rotations()
	for i, id := range ids {
		text := id.String()
		msgs[i] = message{subject: subject, id: text, body: []byte(text)}
	}
	if err := b.publish(ctx, StreamRotation, msgs); err != nil {
		return fmt.Errorf("publishing %d rotations: %w", len(ids), err)
	}
	return nil
}

// PublishEvents publishes CloudEvents. Those of one announcement stand together in one atomic batch, whose message id
// is the announcement's: the server would remember an id of each event for a minute, in 100 bytes. An event that stands alone
// has its own id, and so have the events of an announcement that tells of more than a batch may hold.
func (b *Bus) PublishEvents(ctx context.Context, events []worker.Event) error {
	msgs := make([]message, 0, len(events))
	header := nats.Header{"Content-Type": []string{"application/cloudevents+json"}}
	for len(events) > 0 {
		told := events[:ofOneAnnouncement(events)]
		whole := len(told) > 1 && len(told) <= maxBatch && !told[0].Announcement.IsZero()
		for i, e := range told {
			if slices.ContainsFunc(strings.Split(e.Type, "."), func(token string) bool { return !plain(token) }) {
				return fmt.Errorf("publishing event %s: its type %q can't be part of a subject", e.ID, e.Type)
			}
			msg := message{subject: b.topo.events(e.Type), id: e.ID, header: header, body: e.Data}
			if whole {
				msg.id, msg.joined = "", i > 0
			}
			if whole && i == 0 {
				msg.id = e.Announcement.String()
			}
			msgs = append(msgs, msg)
		}
		events = events[len(told):]
	}
	if err := b.publish(ctx, StreamEvent, msgs); err != nil {
		return fmt.Errorf("publishing %d events: %w", len(msgs), err)
	}
	return nil
}

// ofOneAnnouncement is how many of the events, from the first one on, are of the same announcement.
func ofOneAnnouncement(events []worker.Event) int {
	for i := range events {
		if events[i].Announcement != events[0].Announcement {
			return i
		}
	}
	return len(events)
}

// message is one to be published. A thousand of them wait together: what they have in common they don't each hold.
type message struct {
	subject string
	id      string      // empty: none
	header  nats.Header // what else is to be in it; shared, and nil for most
	body    []byte
	joined  bool // to the one before: both are stored, or neither is
}

// publish stores the messages, in batches, and waits for the server to say so.
// After an error it is unknown how much was stored; repeating the call is safe.
func (b *Bus) publish(ctx context.Context, kind string, msgs []message) error {
	for len(msgs) > 0 {
		batch := msgs[:firstBatch(msgs)]
		err := b.publishBatch(ctx, kind, batch)
		if isCode(err, codeBatchDuplicate) {
			err = b.publishNew(ctx, kind, batch)
		}
		if err != nil {
			return err
		}
		b.count.published.Add(uint64(len(batch)))
		msgs = msgs[len(batch):]
	}
	return nil
}

// firstBatch is how many of the messages go at once, with what is joined to each.
func firstBatch(msgs []message) int {
	n := min(len(msgs), maxBatch)
	for n < len(msgs) && msgs[n].joined {
		n--
	}
	return n
}

// publishNew stores what is new of a batch that was refused because one of its message ids was known: what is joined by itself.
func (b *Bus) publishNew(ctx context.Context, kind string, msgs []message) error {
	for len(msgs) > 0 {
		n := 1
		for n < len(msgs) && msgs[n].joined {
			n++
		}
		if err := b.publishBatch(ctx, kind, msgs[:n]); err != nil && !isCode(err, codeBatchDuplicate) {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// publishBatch sends one batch, again while it is certain that nothing of it was stored.
func (b *Bus) publishBatch(ctx context.Context, kind string, msgs []message) error {
	wait := 20 * time.Millisecond
	for try := 1; ; try++ {
		err := b.send(ctx, msgs)
		missing := errors.Is(err, nats.ErrNoResponders)
		retry := missing || isCode(err, codeBatchIncomplete, codeBatchTooMany, codeMsgIDInProcess)
		if !retry || try == publishTries {
			return err
		}
		if missing { // no stream, or one that has no leader just now
			if err := b.ensure(ctx, kind, false); err != nil {
				return err
			}
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait *= 2
	}
}

// send sends one message, or several as an atomic batch, and waits for the answer.
func (b *Bus) send(ctx context.Context, msgs []message) error {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	next, last := writer(len(msgs)), len(msgs)-1
	for i := range msgs[:last] {
		if err := b.nc.PublishMsg(next(&msgs[i])); err != nil {
			return closedOr(err)
		}
	}
	answer, err := b.nc.RequestMsgWithContext(ctx, next(&msgs[last]))
	if err != nil {
		return closedOr(err)
	}
	var ack pubAck
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	if ack.Stream == "" {
		return errors.New("the answer is not JetStream's: somebody else answers on the subject")
	}
	return nil
}

// writer gives n messages the form in which they are sent, as one batch if there are several: all in one place, because
// the client writes each into its buffer before it comes back.
func writer(n int) func(*message) *nats.Msg {
	id, sequence, sent := []string{""}, []string{""}, 0
	batch := []string{rand.Text()}
	out := &nats.Msg{Header: nats.Header{}}
	return func(m *message) *nats.Msg {
		sent++
		clear(out.Header)
		maps.Copy(out.Header, m.header)
		if m.id != "" {
			id[0] = m.id
			out.Header[jetstream.MsgIDHeader] = id
		}
		if n > 1 {
			sequence[0] = strconv.Itoa(sent)
			out.Header[headerBatchID], out.Header[headerBatchSeq] = batch, sequence
		}
		if n > 1 && sent == n {
			out.Header[headerBatchCommit] = []string{"1"}
		}
		out.Subject, out.Data = m.subject, m.body
		return out
	}
}

func closedOr(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return ErrClosed
	}
	return err
}

func isCode(err error, codes ...jetstream.ErrorCode) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && slices.Contains(codes, e.ErrorCode)
}

// pause waits, or answers ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
