package web

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
)

// attemptLine is one thing that happened to a task.
type attemptLine struct {
	At      time.Time
	Attempt int
	Chip    chip
	Text    string
	Raw     string // what was written down, as it was
	order   int    // of things at the same time
}

// eventChip says what a line of a task's log is about.
func eventChip(e keyturn.TaskEvent) chip {
	tone := map[keyturn.TaskEvent]string{
		keyturn.TaskPutBack: toneWait, keyturn.TaskWaits: toneBusy, keyturn.TaskTakenOver: toneWarn, keyturn.TaskSentAgain: toneWarn,
		keyturn.TaskInferred: toneWarn, keyturn.TaskGaveUp: toneBad, keyturn.TaskUnclear: toneWarn, keyturn.TaskResolved: toneNeutral,
	}[e]
	word := map[keyturn.TaskEvent]string{
		keyturn.TaskPutBack: "put back", keyturn.TaskWaits: "outcome open", keyturn.TaskTakenOver: "taken over", keyturn.TaskSentAgain: "sent again",
	}[e]
	return chip{Tone: tone, Icon: toneIcon(tone), Text: cmp.Or(word, string(e))}
}

// attemptsOf puts everything that is known of a task's attempts in the order of time.
func attemptsOf(t keyturn.TaskDetail) []attemptLine {
	var lines []attemptLine
	last := 0
	for _, l := range t.Log {
		if gap := l.N - last - 1; gap > 0 {
			lines = append(lines, attemptLine{At: l.At, Chip: chip{Tone: toneNeutral, Text: "…"}, Text: plural(gap, "line is", "lines are") + " not kept", order: 1})
		}
		last = l.N
		text := l.Text
		if l.What == keyturn.TaskInferred {
			text = cmp.Or(text, "the new key was seen, but never the answer to the change")
		}
		lines = append(lines, attemptLine{At: l.At, Attempt: l.Attempt, Chip: eventChip(l.What), Text: text, order: 2})
	}
	if i := t.Intent; i != nil {
		text := fmt.Sprintf("written down before anything was sent: key in use %s", i.Before)
		if i.Want != "" {
			text += ", new key " + i.Want
		}
		text += fmt.Sprintf(", not to be sent after %s", i.ApplyBy.UTC().Format("15:04:05 UTC"))
		lines = append(lines, attemptLine{
			At: i.IntendedAt, Attempt: t.Attempts, Chip: chip{Tone: toneBusy, Icon: "key", Text: "intent"}, Text: text, Raw: string(i.Data),
		})
		if i.AnsweredAt != nil {
			lines = append(lines, attemptLine{
				At: *i.AnsweredAt, Attempt: t.Attempts, Chip: chip{Tone: toneOK, Icon: "check", Text: "accepted"}, Text: "the target accepted the change", order: 1,
			})
		}
	}
	if end, ok := endOf(t); ok {
		lines = append(lines, end)
	}
	slices.SortStableFunc(lines, func(a, b attemptLine) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.order, b.order)) })
	return lines
}

// endOf says how a task ended, unless its log says so already.
func endOf(t keyturn.TaskDetail) (attemptLine, bool) {
	if t.FinishedAt == nil || logged(t) {
		return attemptLine{}, false
	}
	line := attemptLine{At: *t.FinishedAt, Attempt: t.Attempts, Chip: stateChip(t.State), Text: t.Reason, order: 3}
	if t.State == keyturn.TaskSucceeded && t.Reason == "" {
		line.Text = "the new key was seen: " + t.KeyAfter
		if t.Resolution == keyturn.ResolutionConfirmed {
			line.Text = "the target accepted the change, then the new key was seen: " + t.KeyAfter
		}
	}
	return line, true
}

// logged reports whether the log's last line says how the task ended.
func logged(t keyturn.TaskDetail) bool {
	if len(t.Log) == 0 {
		return false
	}
	switch t.Log[len(t.Log)-1].What {
	case keyturn.TaskGaveUp, keyturn.TaskUnclear, keyturn.TaskResolved, keyturn.TaskInferred:
		return true
	default:
		return false
	}
}
