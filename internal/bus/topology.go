package bus

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The streams, by the word that follows the prefix in their subjects.
const (
	StreamTrigger    = "trigger"    // in: requests for rotations, from any NATS client
	StreamRotation   = "rotation"   // wake-ups of planners
	StreamTask       = "task"       // tasks that were handed out
	StreamEvent      = "event"      // out: what happened
	StreamDeadLetter = "deadletter" // what could not be understood, with the reason
)

const (
	day = 24 * time.Hour

	// maxQueued bounds what is put into a queue, so that the same bytes and a
	// reason fit into a dead letter under any server's max_payload.
	maxQueued = 64 << 10

	// idleConsumer is when the server may forget a consumer that nobody asks.
	// Its messages stay, and it is declared again before it is asked again.
	idleConsumer = day
)

// topology is every stream and consumer, as data.
type topology struct {
	prefix    string
	replicas  int
	ackWait   time.Duration
	diskTasks bool
}

func streamKinds() []string {
	return []string{StreamTrigger, StreamRotation, StreamTask, StreamEvent, StreamDeadLetter}
}

func (t topology) streamName(kind string) string {
	return strings.ToUpper(t.prefix + "_" + kind)
}

func (t topology) stream(kind string) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:      t.streamName(kind),
		Storage:   t.storage(kind),
		Replicas:  t.replicas,
		Retention: jetstream.WorkQueuePolicy,
		Discard:   jetstream.DiscardOld,
	}
	switch kind {
	case StreamTrigger:
		cfg.Description = "Keyturn: requests for rotations"
		cfg.Subjects = []string{t.triggers()}
		cfg.MaxMsgSize = maxQueued
		cfg.Duplicates = 2 * time.Minute
		cfg.Discard = jetstream.DiscardNew // what was acknowledged is kept
	case StreamRotation:
		cfg.Description = "Keyturn: wakes planners for new rotations"
		cfg.Subjects = []string{t.rotations()}
		cfg.MaxMsgSize = maxQueued
		// The window is short because the same rotation must be announced anew after a loss. See PublishRotation.
		cfg.Duplicates = 2 * time.Second
		// A wake-up is repeated for as long as its row waits, so old ones are worth nothing.
		cfg.MaxAge = time.Hour
		cfg.MaxMsgs = 100_000
		cfg.AllowAtomicPublish = true
	case StreamTask:
		cfg.Description = "Keyturn: tasks that were handed out to workers"
		cfg.Subjects = []string{t.tasks("") + ">"}
		cfg.MaxMsgSize = maxQueued
		cfg.MaxAge = day           // of targets that were removed; others are handed out anew long before
		cfg.MaxConsumers = 100_000 // one for each target; the server's default is 1000
		cfg.AllowAtomicPublish = true
	case StreamEvent:
		cfg.Description = "Keyturn: what happened, as CloudEvents"
		cfg.Subjects = []string{t.events("") + ">"}
		cfg.Retention = jetstream.LimitsPolicy
		cfg.MaxAge = 7 * day
		cfg.MaxBytes = 512 << 20
		cfg.Duplicates = time.Minute
		cfg.AllowAtomicPublish = true
		cfg.AllowDirect = true
	case StreamDeadLetter:
		cfg.Description = "Keyturn: messages that could not be understood"
		cfg.Subjects = []string{t.deadLetters("") + ">"}
		cfg.Retention = jetstream.LimitsPolicy
		cfg.MaxAge = 90 * day
		cfg.MaxBytes = 64 << 20
		cfg.Duplicates = 2 * time.Minute
		cfg.AllowDirect = true
	}
	return cfg
}

// storage keeps on disk what exists nowhere else. Tasks and wake-ups are rows,
// so memory is enough for them, and on a disk that is synced each acknowledgement would cost one fsync, one
// after the other: the server stores the removal of each message by itself.
func (t topology) storage(kind string) jetstream.StorageType {
	if repeatable(kind) && !t.diskTasks {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

// repeatable reports whether rows can bring back all that the stream holds.
func repeatable(kind string) bool { return kind == StreamTask || kind == StreamRotation }

// consumer is the durable pull consumer that all workers share. Its
// MaxAckPending is the concurrency over all of them.
func (t topology) consumer(name, filter string, concurrency int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:           name,
		FilterSubject:     filter,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           t.ackWait,
		MaxDeliver:        -1,
		MaxAckPending:     concurrency,
		InactiveThreshold: idleConsumer,
	}
}

func (t topology) triggers() string               { return t.prefix + ".trigger" }
func (t topology) rotations() string              { return t.prefix + ".rotation.requested" }
func (t topology) tasks(unit string) string       { return t.prefix + ".task." + unit }
func (t topology) events(typ string) string       { return t.prefix + ".event." + typ }
func (t topology) deadLetters(kind string) string { return t.prefix + ".deadletter." + kind }

// checkPrefix refuses prefixes that are no subject token or would share stream
// names with another one.
func checkPrefix(prefix string) error {
	if !plain(prefix) || len(prefix) > 32 || prefix != strings.ToLower(prefix) {
		return fmt.Errorf("%q can't be the prefix of NATS subjects: expected 1 to 32 lower-case letters, digits, - or _", prefix)
	}
	return nil
}

// plain reports whether s can be one token of a subject and a consumer's name.
func plain(s string) bool {
	for _, c := range s {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}
