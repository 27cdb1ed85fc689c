package web

import (
	"testing"

	"github.com/keyturn/keyturn"
)

// Units of a plan that are not saved yet have no cells: they are to be turned or, of a rotation that was stopped, skipped.
func TestBoard_CountsWhatIsNotSaved(t *testing.T) {
	t.Parallel()
	for halted, want := range map[bool]keyturn.Counts{
		false: {Total: 5, Succeeded: 1, Skipped: 1, Pending: 3},
		true:  {Total: 5, Succeeded: 1, Skipped: 4},
	} {
		b := newBoard(keyturn.Rotation{Halted: halted, Counts: keyturn.Counts{Total: 5}}, []keyturn.Cell{
			{Task: keyturn.ID{1}, Component: keyturn.ComponentShard, State: keyturn.TaskSucceeded},
			{Task: keyturn.ID{2}, Component: keyturn.ComponentShard, State: keyturn.TaskSkipped},
		})
		if b.count(); b.rotation.Counts != want {
			t.Errorf("stopped %t: counted %+v, want %+v", halted, b.rotation.Counts, want)
		}
	}
}
