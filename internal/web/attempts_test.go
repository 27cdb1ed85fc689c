package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestAttemptsAreInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Date(2026, 3, 1, 12, 0, second, 0, time.UTC) }
	end := func(second int) *time.Time { e := at(second); return &e }
	line := func(n, second, attempt int, what keyturn.TaskEvent) keyturn.TaskLine {
		return keyturn.TaskLine{N: n, At: at(second), Attempt: attempt, What: what, Text: string(what)}
	}
	intent := &keyturn.TaskIntent{Before: "a", IntendedAt: at(10), ApplyBy: at(50), AnsweredAt: end(11)}
	for name, test := range map[string]struct {
		task keyturn.TaskDetail
		want string
	}{
		"its turn has not come": {keyturn.TaskDetail{}, ""},
		"a clean success": {
			keyturn.TaskDetail{Task: keyturn.Task{State: keyturn.TaskSucceeded, Resolution: keyturn.ResolutionConfirmed, FinishedAt: end(12)}, Intent: intent},
			"intent accepted succeeded",
		},
		"put back before, and inferred at last": {
			keyturn.TaskDetail{
				Task: keyturn.Task{State: keyturn.TaskSucceeded, Resolution: keyturn.ResolutionInferred, FinishedAt: end(20)}, Intent: intent,
				Log: []keyturn.TaskLine{line(1, 5, 0, keyturn.TaskPutBack), line(2, 15, 1, keyturn.TaskWaits), line(3, 20, 1, keyturn.TaskInferred)},
			},
			"put back, intent accepted outcome open, inferred",
		},
		"lines that are not kept": {
			keyturn.TaskDetail{
				Task: keyturn.Task{State: keyturn.TaskFailed, Reason: "403", FinishedAt: end(30)},
				Log:  []keyturn.TaskLine{line(1, 1, 0, keyturn.TaskPutBack), line(5, 30, 0, keyturn.TaskGaveUp)},
			},
			"put back, … failed",
		},
		"skipped": {keyturn.TaskDetail{Task: keyturn.Task{State: keyturn.TaskSkipped, Reason: "already turned", FinishedAt: end(3)}}, "skipped"},
	} {
		var got []string
		for _, l := range attemptsOf(test.task) {
			got = append(got, l.Chip.Text)
		}
		if text := fmt.Sprint(strings.Join(got, " ")); text != strings.ReplaceAll(test.want, ",", "") {
			t.Errorf("%s: %s, want %s", name, text, test.want)
		}
	}
}
