package resource

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// longestPause bounds the pause between batches: a rotation that takes longer is a schedule.
const longestPause = keyturn.Duration(30 * keyturn.Day)

func checkRollout(t *tree, value any) {
	where := []string{"spec", "rollout", "batch"}
	switch batch := lookup(value, where).(type) {
	case string:
		if batch == "" {
			t.fail(where, `is empty: write a number of units such as 50, or a share such as "25%"`)
		} else if _, err := keyturn.Batch(batch).Size(1); err != nil {
			t.fail(where, err.Error())
		}
	case nil, bool, map[string]any, []any: // nothing, or the schema has spoken about it
	default:
		number := fmt.Sprint(batch)
		if strings.ContainsAny(number, ".eE") { // no whole number: the schema has spoken about it
			break
		}
		if _, err := keyturn.Batch(number).Size(1); err != nil {
			t.fail(where, err.Error())
		}
	}
	pause, ok := checkPause(t, value, 0, longestPause, "spec", "rollout", "pauseBetween")
	if !ok || pause == 0 || lookup(value, where) != nil {
		return
	}
	if canary := fmt.Sprint(lookup(value, []string{"spec", "rollout", "canary"})); canary == "<nil>" || canary == "0" {
		t.fail([]string{"spec", "rollout", "pauseBetween"}, "there is nothing to pause between: give a batch or a canary too")
	}
}

// checkPause is checkDuration for durations that may also be 0, which means none.
func checkPause(t *tree, value any, least, most keyturn.Duration, where ...string) (keyturn.Duration, bool) {
	raw, ok := lookup(value, where).(string)
	if !ok {
		return 0, lookup(value, where) == nil
	}
	if d, err := keyturn.ParseDuration(raw); err == nil && d == 0 {
		return 0, true
	}
	d, ok := checkDuration(t, value, most, where...)
	if ok && d < least {
		t.fail(where, fmt.Sprintf("must be at least %s, or 0s for never", time.Duration(least)))
		return 0, false
	}
	return d, ok
}
