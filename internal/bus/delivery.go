package bus

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// The headers of a dead letter. Those of the original message come along,
// except the ones that tell JetStream what to do.
const (
	headerReason   = "Keyturn-Reason"
	headerSubject  = "Keyturn-Subject"
	headerStream   = "Keyturn-Stream"
	headerSequence = "Keyturn-Sequence"
)

// maxReason bounds the reason in a dead letter, in bytes.
const maxReason = 1024

// messageKey tells a message from all others of its kind: a stream that was deleted and
// made anew counts from 1 again.
type messageKey struct {
	seq    uint64
	stored int64 // Unix nanoseconds
}

// delivery is one message in the hands of a handler.
type delivery struct {
	msg   jetstream.Msg
	of    *consumer
	key   messageKey
	epoch uint64 // of the stream, when the message came
	again bool
	ended atomic.Bool
}

// Data returns the message's body.
func (d *delivery) Data() []byte { return d.msg.Data() }

// Key returns the stream's name, the message's number in it and when it was stored.
func (d *delivery) Key() string {
	return d.of.stream + "." + strconv.FormatUint(d.key.seq, 10) + "." + strconv.FormatInt(d.key.stored, 10)
}

// Again reports that the message was delivered before.
func (d *delivery) Again() bool { return d.again }

// Ack removes the message from the queue. It does not wait: an acknowledgement that gets lost
// makes the message come again.
func (d *delivery) Ack() { d.end(jetstream.Msg.Ack) }

// Reject puts the message into the dead letter stream and then removes it
// from the queue. After an error it is still in the queue.
func (d *delivery) Reject(ctx context.Context, reason string) error {
	b := d.of.bus
	header := nats.Header{}
	for name, values := range d.msg.Headers() {
		if !strings.HasPrefix(name, "Nats-") {
			header[name] = values
		}
	}
	header.Set(headerReason, headerText(reason))
	header.Set(headerSubject, d.msg.Subject())
	header.Set(headerStream, d.of.stream)
	header.Set(headerSequence, strconv.FormatUint(d.key.seq, 10))
	letter := message{subject: b.topo.deadLetters(d.of.kind), id: d.Key(), header: header, body: d.msg.Data()}
	if err := b.publish(ctx, StreamDeadLetter, []message{letter}); err != nil {
		return fmt.Errorf("putting message %s into the dead letter: %w", d.Key(), err)
	}
	b.count.deadLetters[d.of.kind].Add(1)
	d.end(jetstream.Msg.Term)
	return nil
}

// handBack makes the message available to others at once.
func (d *delivery) handBack() {
	if d.end(jetstream.Msg.Nak) {
		d.of.bus.count.handedBack.Add(1)
	}
}

// end tells the server, once, what became of the message.
func (d *delivery) end(tell func(jetstream.Msg) error) bool {
	if !d.ended.CompareAndSwap(false, true) {
		return false
	}
	if d.current() {
		if err := tell(d.msg); err != nil {
			d.of.bus.log.Debug("could not answer a delivery; it comes again", zap.String("message", d.Key()), zap.Error(err))
		}
	}
	d.of.forget(d)
	return true
}

// current reports whether the message's stream is still the one that it came from.
func (d *delivery) current() bool { return d.of.bus.epoch[d.of.kind].Load() == d.epoch }

// headerText makes text fit for a header: one line of valid UTF-8.
func headerText(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "")
	}
	return strings.TrimSpace(text)
}
