package keyturn_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestQueuedTasks(t *testing.T) {
	now := time.Now()
	rotation := keyturn.NewID(now)
	task := func(unit string) keyturn.QueuedTask {
		return keyturn.QueuedTask{Task: keyturn.NewID(now), Rotation: rotation, Unit: unit, State: keyturn.TaskPending, Generation: 3, Handed: 17}
	}
	for _, tasks := range [][]keyturn.QueuedTask{{task("om.p1.c1")}, {task("om.p1.c1"), task("om.p1.c2"), task("om.p1.c3")}} {
		message, err := keyturn.EncodeQueuedTasks(tasks)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keyturn.ParseQueuedTasks(message)
		if err != nil || !slices.Equal(got, tasks) {
			t.Errorf("%s: read %+v, %v", message, got, err)
		}
		if n := strings.Count(string(message), rotation.String()); n != 1 {
			t.Errorf("%s says %d times what is the same for all", message, n)
		}
	}
	good := `{"unit":"om.p1.c1"}`
	for _, message := range []string{
		``, `x`, `[]`, `{}`, `[{}]`, `1`, `{"unit":"om.p1"}`, good + good,
		good + "\n", good + "\n" + rotation.String(), good + "\n" + rotation.String() + " om", good + "\nom.p1.c2",
		good + "\n" + rotation.String() + " om.p1.c2\n", good + "\n" + rotation.String() + " om.p1.c2 om.p1.c3",
	} {
		if tasks, err := keyturn.ParseQueuedTasks([]byte(message)); err == nil {
			t.Errorf("%q was read as %+v", message, tasks)
		}
	}
}

func TestQueuedTaskBundles(t *testing.T) {
	a := keyturn.QueuedTask{Unit: "om.p1.c1", State: keyturn.TaskPending}
	for name, c := range map[string]struct {
		change func(*keyturn.QueuedTask)
		want   bool
	}{
		"another unit":       {func(b *keyturn.QueuedTask) { b.Unit = "om.p1.c2" }, true},
		"another project":    {func(b *keyturn.QueuedTask) { b.Unit = "om.p2.c1" }, false},
		"another target":     {func(b *keyturn.QueuedTask) { b.Unit = "om2.p1.c1" }, false},
		"another rotation":   {func(b *keyturn.QueuedTask) { b.Rotation = keyturn.NewID(time.Now()) }, false},
		"an open intent":     {func(b *keyturn.QueuedTask) { b.State = keyturn.TaskIntended }, false},
		"put back before":    {func(b *keyturn.QueuedTask) { b.Returned = true }, false},
		"a unit of no shape": {func(b *keyturn.QueuedTask) { b.Unit = "p1" }, false},
	} {
		b := a
		c.change(&b)
		if a.Bundles(b) != c.want || b.Bundles(a) != c.want {
			t.Errorf("%s: %t and %t, want %t", name, a.Bundles(b), b.Bundles(a), c.want)
		}
	}
}
