package web

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// functions are what templates can call.
func functions(assets *assets) template.FuncMap {
	return template.FuncMap{
		"asset":     assets.url,
		"icon":      icon,
		"chip":      func(tone, text string) chip { return chip{Tone: tone, Text: text, Icon: toneIcon(tone)} },
		"state":     stateChip,
		"when":      when,
		"since":     func(now, t any) string { return since(now, t) },
		"age":       age,
		"duration":  duration,
		"num":       number,
		"plural":    plural,
		"words":     func(v any) string { return strings.ReplaceAll(fmt.Sprint(v), "-", " ") },
		"actor":     actorOf,
		"component": componentTitle,
		"join":      strings.Join,
		"sentence":  sentence,
		"args":      args,

		"swatch":     swatch,
		"swatchMark": swatchMark,
		"check":      checkChip,
		"life":       lifeChip,
		"attempts":   attemptsOf,
		"taskWords":  taskWords,
		"localTime":  func(s string) string { return strings.Replace(s, "T", " ", 1) },
		"stateNames": func() []keyturn.AlertState {
			return []keyturn.AlertState{keyturn.AlertFiring, keyturn.AlertAcknowledged, keyturn.AlertResolved}
		},
	}
}

// chip is a state as people see it: a tone, an icon and a word, so that colour is never alone.
type chip struct{ Tone, Icon, Text string }

// The tones of chips, and what they mean. The style sheet has a colour for each.
const (
	toneOK      = "ok"      // as it should be
	toneBusy    = "busy"    // under way
	toneWait    = "wait"    // its turn has not come
	toneWarn    = "warn"    // look at it soon
	toneBad     = "bad"     // look at it now
	toneNeutral = "neutral" // neither good nor bad
)

func toneIcon(tone string) string {
	return map[string]string{toneOK: "check", toneBusy: "turn", toneWait: "clock", toneWarn: "warn", toneBad: "bad"}[tone]
}

// stateChip says a state of a rotation, task, alert, severity or target with its tone.
func stateChip(v any) chip {
	word := fmt.Sprint(v)
	tone := map[string]string{
		"succeeded": toneOK, "resolved": toneOK, "delivered": toneOK, "ok": toneOK, "active": toneOK,
		"running": toneBusy, "planning": toneBusy, "intended": toneBusy,
		"requested": toneWait, "pending": toneWait,
		"partial": toneWarn, "parked": toneWarn, "warning": toneWarn, "acknowledged": toneNeutral, "mixed": toneWarn, "held": toneWarn,
		"failed": toneBad, "firing": toneBad, "critical": toneBad, "unreachable": toneBad, "rejected": toneBad,
		"paused": toneWarn,
	}[word]
	if tone == "" {
		tone = toneNeutral
	}
	c := chip{Tone: tone, Icon: toneIcon(tone), Text: word}
	switch word {
	case "intended":
		c.Text = "turning"
	case "parked", "paused":
		c.Icon = "pause"
	case "skipped":
		c.Icon = "skip"
	case "cancelled":
		c.Icon = "stop"
	}
	return c
}

// componentTitle is what people call a component.
func componentTitle(c keyturn.Component) string {
	title := map[keyturn.Component]string{
		keyturn.ComponentShard: "Shard", keyturn.ComponentConfig: "Config servers", keyturn.ComponentReplicaSet: "Replica set", keyturn.ComponentProject: "Project",
	}[c]
	if title == "" {
		return string(c)
	}
	return title
}

// timeOf reads a time.Time or *time.Time; false: there is none.
func timeOf(v any) (time.Time, bool) {
	switch t := v.(type) {
	case time.Time:
		return t, !t.IsZero()
	case *time.Time:
		if t == nil {
			return time.Time{}, false
		}
		return *t, !t.IsZero()
	default:
		return time.Time{}, false
	}
}

// when shows a time: in UTC, which the script turns into the reader's zone, leaving UTC in the title.
func when(v any) template.HTML {
	t, ok := timeOf(v)
	if !ok {
		return "–"
	}
	t = t.UTC()
	text := t.Format("2006-01-02 15:04:05 UTC")
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339Nano) + `" title="` + text + `">` + t.Format("2006-01-02 15:04 UTC") + `</time>`) //nolint:gosec // made of digits only
}

// since says how long ago, or how soon: "3 d ago", "in 4 h".
func since(now, v any) string {
	at, ok := timeOf(v)
	from, ok2 := timeOf(now)
	switch d := from.Sub(at); {
	case !ok || !ok2:
		return ""
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return "in " + age(-d)
	default:
		return age(d) + " ago"
	}
}

// age says a long time in one unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	default:
		return number(int(d.Hours()/24)) + " d"
	}
}

// duration says how long something takes: "2 m 10 s".
func duration(d time.Duration) string {
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h > 0:
		return fmt.Sprintf("%d h %02d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %02d s", m, s)
	default:
		return fmt.Sprintf("%d s", s)
	}
}

// number groups digits with narrow spaces: 20 000.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// percent of the whole, rounded so that only all of it is 100 and only nothing is 0.
func percent(part, whole int) int {
	if whole <= 0 || part <= 0 {
		return 0
	}
	if part >= whole {
		return 100
	}
	return min(99, max(1, int(math.Round(100*float64(part)/float64(whole)))))
}

// args gives a template several values by name.
func args(pairs ...any) (map[string]any, error) {
	out := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("args: %v is no name", pairs[i])
		}
		out[name] = pairs[i+1]
	}
	return out, nil
}
