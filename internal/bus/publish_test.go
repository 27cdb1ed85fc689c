package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/worker"
)

func TestPublishTasks(t *testing.T) {
	t.Parallel()
	url := startServer(t, nil)

	// each case has streams of its own
	setup := func(t *testing.T, prefix string) (*bus.Bus, jetstream.JetStream, string) {
		t.Helper()
		_, js := raw(t, url)
		return connect(t, bus.Config{URL: url, Prefix: prefix}), js, strings.ToUpper(prefix) + "_TASK"
	}
	publish := func(t *testing.T, b *bus.Bus, list []keyturn.QueuedTask) {
		t.Helper()
		if err := b.PublishTasks(t.Context(), "om", alone(list)); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("StoresMoreThanOneBatchHolds", func(t *testing.T) {
		t.Parallel()
		b, js, stream := setup(t, "many")
		publish(t, b, tasks("om", 2345))
		if n := stored(t, js, stream); n != 2345 {
			t.Errorf("%d stored, want 2345", n)
		}
	})
	t.Run("StoresARepetitionAgain", func(t *testing.T) {
		t.Parallel()
		b, js, stream := setup(t, "repeat")
		list := tasks("om", 5)
		publish(t, b, list)
		publish(t, b, list)
		publish(t, b, list[:1])
		if n := stored(t, js, stream); n != 11 {
			t.Errorf("%d stored, want 11: the row decides, not the bus", n)
		}
	})
	t.Run("PutsABundleIntoOneMessage", func(t *testing.T) {
		t.Parallel()
		b, js, stream := setup(t, "bundle")
		list := tasks("om", 5)
		for i := range list[:4] { // only those of one project share a message
			list[i].Unit = fmt.Sprint("om.project0.cluster", i)
		}
		if err := b.PublishTasks(t.Context(), "om", [][]keyturn.QueuedTask{list[:4], {}, list[4:]}); err != nil {
			t.Fatal(err)
		}
		if n := stored(t, js, stream); n != 2 {
			t.Errorf("%d stored, want 2", n)
		}
		var got []keyturn.QueuedTask
		arrived := make(chan []byte, 2)
		consume(t, func(ctx context.Context) error {
			return b.ConsumeTasks(ctx, "om", 2, func(_ context.Context, d worker.Delivery) {
				arrived <- d.Data()
				d.Ack()
			})
		})
		for range 2 {
			some, err := keyturn.ParseQueuedTasks(receive(t, "a message", arrived))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, some...)
		}
		slices.SortFunc(got, func(a, b keyturn.QueuedTask) int { return strings.Compare(a.Unit, b.Unit) })
		if !slices.Equal(got, list) {
			t.Errorf("got %+v, want %+v", got, list)
		}
	})
	t.Run("RefusesAnotherTargetsUnit", func(t *testing.T) {
		t.Parallel()
		b, js, stream := setup(t, "foreign")
		for _, unit := range []string{"other.p.c", "om.p", "om.p.*", ""} {
			list := tasks("om", 2)
			list[1].Unit = unit
			if err := b.PublishTasks(t.Context(), "om", alone(list)); err == nil {
				t.Errorf("a task of the unit %q was accepted", unit)
			}
			if err := b.PublishTasks(t.Context(), "om", [][]keyturn.QueuedTask{list}); err == nil {
				t.Errorf("a bundle with a task of the unit %q was accepted", unit)
			}
		}
		if n := stored(t, js, stream); n != 0 {
			t.Errorf("%d stored, want none", n)
		}
	})
	t.Run("ObeysItsContext", func(t *testing.T) {
		t.Parallel()
		b, _, _ := setup(t, "context")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.PublishTasks(ctx, "om", alone(tasks("om", 2))); err == nil {
			t.Error("publishing went on after its context ended")
		}
	})
}

func TestPublishRotationWakesOneConsumerAndCanBeRepeatedLater(t *testing.T) {
	t.Parallel()
	url := startServer(t, nil)
	b := connect(t, bus.Config{URL: url})
	_, js := raw(t, url)
	id := keyturn.NewID(time.Now())
	for range 3 {
		if err := b.PublishRotation(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if n := stored(t, js, "KEYTURN_ROTATION"); n != 1 {
		t.Errorf("%d stored, want 1", n)
	}
	got := make(chan string, 100)
	consume(t, func(ctx context.Context) error {
		return b.ConsumeRotations(ctx, 2, func(_ context.Context, d worker.Delivery) {
			got <- string(d.Data())
			d.Ack()
		})
	})
	if body := receive(t, "the wake-up", got); body != id.String() {
		t.Errorf("the body is %q, want %q", body, id)
	}
	eventually(t, "a later repetition arrives", func() bool {
		if err := b.PublishRotation(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return len(got) > 0
	})
}

func TestPublishEvents(t *testing.T) {
	t.Parallel()

	t.Run("TakesARepetitionForDoneAndStoresWhatIsNewNextToIt", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url})
		_, js := raw(t, url)
		list := make([]worker.Event, 5)
		for i := range list {
			list[i] = worker.Event{ID: strconv.Itoa(i), Type: "task.succeeded", Data: []byte("{}")}
		}
		for _, events := range [][]worker.Event{list[:3], list, list, list[:1]} {
			if err := b.PublishEvents(t.Context(), events); err != nil {
				t.Fatal(err)
			}
		}
		if n := stored(t, js, "KEYTURN_EVENT"); n != 5 {
			t.Errorf("%d stored, want 5", n)
		}
	})
	t.Run("StoresWhatAnAnnouncementTellsOnceAndTogether", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url})
		_, js := raw(t, url)
		var list []worker.Event
		for _, n := range []int{700, 600, 1, 1000, 1001, 3} { // 600 don't fit beside 700, and 1001 nowhere
			announcement := keyturn.NewID(time.Now())
			for i := range n {
				list = append(list, worker.Event{
					ID: announcement.String() + strconv.Itoa(i), Type: "task.succeeded", Data: []byte("{}"), Announcement: announcement,
				})
			}
		}
		for _, events := range [][]worker.Event{list[700:1300], list[:1301], list[2301:3302], list, list[700:], list[3302:]} {
			if err := b.PublishEvents(t.Context(), events); err != nil {
				t.Fatal(err)
			}
		}
		stream, err := js.Stream(t.Context(), "KEYTURN_EVENT")
		if err != nil {
			t.Fatal(err)
		}
		if n := stored(t, js, "KEYTURN_EVENT"); n != uint64(len(list)) {
			t.Errorf("%d stored, want %d", n, len(list))
		}
		withID := 0
		for seq := range uint64(3000) {
			msg, err := stream.GetMsg(t.Context(), seq+1)
			if err != nil {
				t.Fatal(err)
			}
			if msg.Header.Get(jetstream.MsgIDHeader) != "" {
				withID++
			}
		}
		if withID > 1010 {
			t.Errorf("%d of 3000 messages have ids, want one for each announcement, and for each that does not fit into a batch", withID)
		}
	})
	t.Run("StoresAllOfABatchOrNone", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url})
		_, js := raw(t, url)
		good := worker.Event{ID: "1", Type: "task.succeeded", Data: []byte("{}")}
		big := worker.Event{ID: "2", Type: "task.succeeded", Data: bytes.Repeat([]byte("x"), 2<<20)}
		for _, events := range [][]worker.Event{{good, big}, {good, big, good}} {
			if err := b.PublishEvents(t.Context(), events); err == nil {
				t.Error("an event beyond the server's limit was accepted")
			}
		}
		if n := stored(t, js, "KEYTURN_EVENT"); n != 0 {
			t.Errorf("%d stored, want none", n)
		}
	})
	t.Run("SaysThatTheyAreCloudEvents", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		b := connect(t, bus.Config{URL: url})
		_, js := raw(t, url)
		events := []worker.Event{{ID: "a", Type: "key.rotated", Data: []byte(`{"id":"a"}`)}, {ID: "b", Type: "task.failed", Data: []byte(`{}`)}}
		for range 2 {
			if err := b.PublishEvents(t.Context(), events); err != nil {
				t.Fatal(err)
			}
		}
		stream, err := js.Stream(t.Context(), "KEYTURN_EVENT")
		if err != nil {
			t.Fatal(err)
		}
		msg, err := stream.GetLastMsgForSubject(t.Context(), "keyturn.event.key.rotated")
		if err != nil {
			t.Fatal(err)
		}
		if msg.Header.Get("Content-Type") != "application/cloudevents+json" || msg.Header.Get("Nats-Msg-Id") != "a" || string(msg.Data) != `{"id":"a"}` {
			t.Errorf("stored as %v %s", msg.Header, msg.Data)
		}
		if n := stored(t, js, "KEYTURN_EVENT"); n != 2 {
			t.Errorf("%d stored, want 2", n)
		}
	})
	t.Run("RefusesATypeThatIsNoSubject", func(t *testing.T) {
		t.Parallel()
		b := connect(t, bus.Config{URL: startServer(t, nil)})
		for _, typ := range []string{"", "a..b", "a.*", "a b", ">"} {
			if err := b.PublishEvents(t.Context(), []worker.Event{{ID: "1", Type: typ}}); err == nil {
				t.Errorf("the type %q was accepted", typ)
			}
		}
	})
}

func TestRejectMovesTheMessageToTheDeadLetter(t *testing.T) {
	t.Parallel()
	url := startServer(t, nil)
	b := connect(t, bus.Config{URL: url})
	nc, js := raw(t, url)
	letters, err := nc.SubscribeSync("keyturn.deadletter.>")
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(t.Context(), "keyturn.trigger", []byte("{not json"), jetstream.WithMsgID("mine"))
	if err != nil {
		t.Fatal(err)
	}
	rejected := make(chan error, 10)
	consume(t, func(ctx context.Context) error {
		return b.ConsumeTriggers(ctx, 1, func(ctx context.Context, d worker.Delivery) {
			rejected <- d.Reject(ctx, "not JSON:\r\nEvil: yes")
		})
	})
	if err := receive(t, "the message", rejected); err != nil {
		t.Fatal(err)
	}
	letter, err := letters.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Keyturn-Reason": "not JSON:  Evil: yes", "Keyturn-Subject": "keyturn.trigger",
		"Keyturn-Stream": "KEYTURN_TRIGGER", "Keyturn-Sequence": "1", "Evil": "",
	}
	for name, value := range want {
		if got := letter.Header.Get(name); got != value {
			t.Errorf("header %s is %q, want %q", name, got, value)
		}
	}
	if letter.Subject != "keyturn.deadletter.trigger" || string(letter.Data) != "{not json" || ack.Sequence != 1 {
		t.Errorf("dead letter %s %q of message %d", letter.Subject, letter.Data, ack.Sequence)
	}
	eventually(t, "the trigger is gone", func() bool { return stored(t, js, "KEYTURN_TRIGGER") == 0 })
	if n := b.Stats().DeadLetters[bus.StreamTrigger]; n != 1 {
		t.Errorf("%d dead letters counted, want 1", n)
	}
}
