//go:build unix

package crash_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/crash"
)

func TestArm_RefusesWhatIsNoPoint(t *testing.T) {
	t.Parallel()
	points := crash.New(zap.NewNop())
	for _, at := range []string{"", "store.Nothing.before", "store.Intend.before 0", "store.Intend.before soon", "store.Intend.before 1 stop now"} {
		if err := points.Arm(at); err == nil {
			t.Errorf("%q was armed", at)
		}
	}
	for _, at := range []string{"store.Intend.before", "tasks.Ack.after 3", "system.Apply.during 1 stop"} {
		if err := points.Arm(at); err != nil {
			t.Errorf("%q: %v", at, err)
		}
	}
	points.Pass("store.Intend.before") // another one is armed: nothing happens
}

func TestNames_AreUnique(t *testing.T) {
	t.Parallel()
	names := crash.Names()
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) || len(names) < 60 {
		t.Errorf("%d names, %d of them different", len(names), len(unique))
	}
}

func TestParse_ReadsTheEnvironment(t *testing.T) {
	t.Parallel()
	waits, err := crash.ParseWaits("sendSlack=1s ackWait=250ms")
	if err != nil || waits.SendSlack != time.Second || waits.AckWait != 250*time.Millisecond || waits.LeaseMargin != 0 {
		t.Errorf("got %+v, %v", waits, err)
	}
	for _, text := range []string{"sendSlack", "sendSlack=soon", "patience=1s"} {
		if _, err := crash.ParseWaits(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if b, err := crash.ParseBroken("blind"); b != crash.BrokenBlind || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := crash.ParseBroken("everything"); err == nil {
		t.Error("everything was broken")
	}
}

// TestReleases_HaveNoCrashPoints looks at what the program is made of, with the tag and without.
func TestReleases_HaveNoCrashPoints(t *testing.T) {
	t.Parallel()
	for tags, want := range map[string]bool{"": false, "crashpoints": true} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", tags, "../../cmd/keyturn").CombinedOutput() //nolint:gosec // the tags are ours
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := slices.Contains(strings.Fields(string(out)), "github.com/keyturn/keyturn/internal/crash"); got != want {
			t.Errorf("with the tags %q the program contains the crash points: %t", tags, got)
		}
	}
}
