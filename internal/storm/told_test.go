package storm_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/checker"
	"github.com/keyturn/keyturn/worker/webhook/webhooktest"
)

// told holds what a webhook was told to what happened: every event at least once, under one id however often,
// and those of a rotation in their order. It waits for what is still under way.
func (l *lane) told(ctx context.Context, rotations []checker.Rotation) {
	l.t.Helper()
	var wrong []string
	within(ctx, 15*time.Second, func() bool {
		wrong = untold(l.receiver.Messages(), rotations)
		return len(wrong) == 0
	})
	for _, w := range wrong[:min(len(wrong), 20)] {
		l.t.Errorf("the webhook: %s", w)
	}
}

// untold says what is wrong with what a webhook took.
func untold(messages []webhooktest.Message, rotations []checker.Rotation) (wrong []string) {
	first, ids := map[string]int{}, map[string]string{}
	for i, m := range messages {
		if m.Status >= 300 {
			wrong = append(wrong, fmt.Sprintf("%s was refused with %d", m.EventID, m.Status))
			continue
		}
		if ids[m.EventID] == "" {
			first[m.EventID], ids[m.EventID] = i, m.ID
		} else if ids[m.EventID] != m.ID {
			wrong = append(wrong, fmt.Sprintf("event %s came as %s and as %s", m.EventID, ids[m.EventID], m.ID))
		}
	}
	for _, r := range rotations {
		var came []int
		for _, what := range []string{"requested", "started", "completed"} {
			event := "rotation." + what + "/" + r.ID
			switch at, ok := first[event]; {
			case ok:
				came = append(came, at)
			case what != "started": // one that fails to be planned never starts
				wrong = append(wrong, fmt.Sprintf("event %s did not come", event))
			}
		}
		if !slices.IsSorted(came) {
			wrong = append(wrong, fmt.Sprintf("the events of rotation %s came out of order", r.ID))
		}
		for _, task := range r.Tasks {
			if event := "task." + task.State + "/" + task.ID; task.State == "succeeded" && ids[event] == "" {
				wrong = append(wrong, fmt.Sprintf("event %s did not come", event))
			}
		}
	}
	return wrong
}

// alarmed waits until somebody was told of each policy whose rotation failed.
func (l *lane) alarmed(ctx context.Context) bool {
	return within(ctx, 20*time.Second, func() bool {
		messages := l.receiver.Messages()
		return !slices.ContainsFunc(l.failing, func(policy string) bool {
			return !slices.ContainsFunc(messages, func(m webhooktest.Message) bool {
				return strings.HasSuffix(m.Type, "alert.firing") && strings.Contains(string(m.Body), `"`+policy+`"`)
			})
		})
	})
}
