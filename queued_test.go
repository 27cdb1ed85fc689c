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
	of := func(unit, more string) string {
		return `{"task":"` + rotation.String() + `","unit":"` + unit + `"` + more + `}`
	}
	good := of("om.p1.c1", `,"state":"pending"`)
	line := "\n" + rotation.String() + " om.p1.c2"
	if _, err := keyturn.ParseQueuedTasks([]byte(good + line + "\n")); err != nil {
		t.Error(err)
	}
	for _, message := range []string{
		``, `x`, `[]`, `{}`, `[{}]`, `1`, `{"unit":"om.p1.c1"}`, of("om.p1", ""), of("om.p1.", ""), of("om.p1.c 1", ""), good + good,
		good + "\n", good + "\n\n", good + line, good + line + "\n\n", good + "\n" + rotation.String() + "\n", good + "\nom.p1.c2\n",
		good + "\n" + rotation.String() + " om\n", good + line + " om.p1.c3\n", good + line + "\r\n", good + "\n" + rotation.String() + "  om.p1.c2\n",
		good + "\n" + keyturn.ID{}.String() + " om.p1.c2\n", good + "\n" + rotation.String() + " om.p2.c2\n", good + "\n" + rotation.String() + " other.p1.c2\n",
		of("om.p1.c1", `,"state":"intended"`) + line + "\n",
	} {
		if tasks, err := keyturn.ParseQueuedTasks([]byte(message)); err == nil {
			t.Errorf("%q was read as %+v", message, tasks)
		}
	}
}

// A message that was cut off somewhere must not name a unit that is not its task's: om.p1.c1 for om.p1.c10.
func TestQueuedTasks_CutOff(t *testing.T) {
	now := time.Now()
	var tasks []keyturn.QueuedTask
	for _, unit := range []string{"om.p1.c10", "om.p1.c20", "om.p1.c30"} {
		tasks = append(tasks, keyturn.QueuedTask{Task: keyturn.NewID(now), Unit: unit, State: keyturn.TaskPending})
	}
	message, err := keyturn.EncodeQueuedTasks(tasks)
	if err != nil {
		t.Fatal(err)
	}
	var read []int
	for n := range message {
		got, err := keyturn.ParseQueuedTasks(message[:n])
		if err != nil {
			continue
		}
		read = append(read, len(got))
		if !slices.Equal(got, tasks[:len(got)]) {
			t.Errorf("%q was read as %+v", message[:n], got)
		}
	}
	if !slices.Equal(read, []int{1, 2}) {
		t.Errorf("read messages of %v tasks, want those of whole lines only", read)
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
