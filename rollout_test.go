package keyturn_test

import (
	"encoding/json"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestBatch_Size(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		batch string // as JSON
		of    int
		want  int // 0: an error
	}{
		{`"50"`, 100, 50},
		{`50`, 100, 50},
		{`50`, 10, 50},
		{`"25%"`, 100, 25},
		{`"25%"`, 101, 26},
		{`"1%"`, 3, 1},
		{`"25%"`, 0, 1},
		{`"100%"`, 7, 7},
		{`""`, 7, 7},
		{`""`, 0, 1},
		{`"0"`, 7, 0},
		{`0`, 7, 0},
		{`"-3"`, 7, 0},
		{`"+3"`, 7, 0},
		{`"101%"`, 7, 0},
		{`"%"`, 7, 0},
		{`"all"`, 7, 0},
		{`2.5`, 7, 0},
		{`true`, 7, 0},
		{`[1]`, 7, 0},
	} {
		var b keyturn.Batch
		err := json.Unmarshal([]byte(tt.batch), &b)
		got := 0
		if err == nil {
			got, err = b.Size(tt.of)
		}
		if got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%s of %d is %d (%v), want %d", tt.batch, tt.of, got, err, tt.want)
		}
	}
}

func TestRollout_Enabled(t *testing.T) {
	t.Parallel()
	none := 0
	for _, tt := range []struct {
		rollout keyturn.Rollout
		want    bool
	}{
		{keyturn.Rollout{}, false},
		{keyturn.Rollout{Order: keyturn.OrderAny}, false},
		{keyturn.Rollout{Order: keyturn.OrderConfigFirst}, true},
		{keyturn.Rollout{Canary: 1}, true},
		{keyturn.Rollout{Batch: "10"}, true},
		{keyturn.Rollout{MaxFailures: &none}, true},
	} {
		if got := tt.rollout.Enabled(); got != tt.want {
			t.Errorf("%+v is enabled: %t", tt.rollout, got)
		}
	}
}

func TestHaltReason(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{keyturn.HaltReason(1, 1, -1, "refused"), "the canary was not confirmed: 1 unit failed or was parked: refused"},
		{keyturn.HaltReason(0, 4, 3, ""), "4 units failed or were parked, more than maxFailures (3)"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
