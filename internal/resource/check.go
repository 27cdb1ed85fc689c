package resource

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// The checks in this file are about what a JSON Schema can't say. They pass
// over values of the wrong type: the schema has spoken about those.

const (
	maxAge         = keyturn.Duration(36500 * keyturn.Day)
	shortestRepeat = keyturn.Duration(5 * time.Minute)
)

func text(value any, path ...string) (string, bool) {
	s, ok := lookup(value, path).(string)
	return s, ok
}

func checkPolicy(t *tree, value any, checkSchedule func(keyturn.Schedule) error) {
	for _, list := range []string{"projects", "clusters", "units"} {
		checkGlobs(t, value, "spec", "select", list)
	}
	warn, warnOK := checkDuration(t, value, maxAge, "spec", "alerts", "warnAfter")
	critical, criticalOK := checkDuration(t, value, maxAge, "spec", "alerts", "criticalAfter")
	if warnOK && criticalOK {
		p := keyturn.Policy{Alerts: keyturn.PolicyAlerts{WarnAfter: warn, CriticalAfter: critical}}.WithDefaults().Alerts
		if p.WarnAfter >= p.CriticalAfter {
			t.fail([]string{"spec", "alerts"}, fmt.Sprintf("warnAfter (%s) must be shorter than criticalAfter (%s)", p.WarnAfter, p.CriticalAfter))
		}
		if soon, ok := checkDuration(t, value, maxAge, "spec", "alerts", "dueSoon"); ok && soon >= p.WarnAfter {
			t.fail([]string{"spec", "alerts", "dueSoon"}, fmt.Sprintf("dueSoon (%s) must be shorter than warnAfter (%s)", soon, p.WarnAfter))
		}
	}
	if repeat, ok := checkDuration(t, value, maxAge, "spec", "alerts", "repeat"); ok && repeat != 0 && repeat < shortestRepeat {
		t.fail([]string{"spec", "alerts", "repeat"}, fmt.Sprintf("must be at least %s: nobody reads what comes more often", shortestRepeat))
	}
	checkRollout(t, value)
	checkScheduleOf(t, value, checkSchedule)
}

func checkSilence(t *tree, value any) {
	for _, list := range []string{"kinds", "policies", "targets", "clusters", "subjects"} {
		checkGlobs(t, value, "spec", "match", list)
	}
	kinds, _ := lookup(value, []string{"spec", "match", "kinds"}).([]any)
	for i, e := range kinds {
		pattern, ok := e.(string)
		if ok && pattern != "" && !slices.ContainsFunc(keyturn.AlertKinds(), func(k keyturn.AlertKind) bool {
			matched, err := path.Match(pattern, string(k))
			return matched || err != nil // the glob has been spoken about
		}) {
			t.fail([]string{"spec", "match", "kinds", strconv.Itoa(i)}, fmt.Sprintf("%s matches no kind of alert: %s", show(pattern), choose(pattern, alertKinds())))
		}
	}
	starts, startsOK := checkInstant(t, value, "spec", "startsAt")
	ends, endsOK := checkInstant(t, value, "spec", "endsAt")
	if startsOK && endsOK && !ends.After(starts) {
		t.fail([]string{"spec", "endsAt"}, "must be later than startsAt")
	}
}

func alertKinds() []string {
	var names []string
	for _, k := range keyturn.AlertKinds() {
		names = append(names, string(k))
	}
	return names
}

// checkInstant answers false if there is none that can be used.
func checkInstant(t *tree, value any, where ...string) (time.Time, bool) {
	s, ok := text(value, where...)
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.fail(where, fmt.Sprintf("%s is no time: write it as 2026-12-31T18:00:00Z, or with an offset", show(s)))
	}
	return at, err == nil
}

// eventTypes are the events that are told to the world.
func eventTypes() []string {
	return []string{
		"rotation.requested", "rotation.started", "rotation.completed",
		"task.succeeded", "task.failed", "task.skipped", "task.parked",
		"key.rotated", "key.observed", "key.retired",
		"alert.firing", "alert.acknowledged", "alert.resolved",
	}
}

// checkURL never shows the URL: some are secrets themselves.
func checkURL(t *tree, value any, schemes ...string) {
	checkURLAt(t, value, []string{"spec", "url"}, schemes...)
}

func checkURLAt(t *tree, value any, where []string, schemes ...string) {
	raw, ok := text(value, where...)
	if !ok || raw == "" {
		return
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		t.fail(where, "this is no URL: write "+schemes[len(schemes)-1]+"://HOST")
	case !slices.Contains(schemes, u.Scheme):
		t.fail(where, "the URL must begin with "+strings.Join(schemes, ":// or ")+"://")
	case u.Hostname() == "":
		t.fail(where, "the URL has no host: write "+u.Scheme+"://HOST")
	case u.User != nil:
		t.fail(where, "the URL must not hold a user or password")
	case u.Fragment != "":
		t.fail(where, "the URL must not have a fragment (#)")
	}
	if err == nil && u.Port() != "" {
		if port, err := strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65535 {
			t.fail(where, "the port must be 1 to 65535")
		}
	}
}

// checkDuration answers false if there is a duration that can't be used.
func checkDuration(t *tree, value any, most keyturn.Duration, where ...string) (keyturn.Duration, bool) {
	raw := lookup(value, where)
	if raw == nil {
		return 0, true
	}
	s, ok := raw.(string)
	if !ok {
		return 0, false
	}
	d, err := keyturn.ParseDuration(s)
	switch {
	case err != nil:
		t.fail(where, err.Error())
	case d <= 0:
		t.fail(where, "must be longer than 0")
	case d > most:
		t.fail(where, fmt.Sprintf("must be at most %s", most))
	default:
		return d, true
	}
	return 0, false
}

func checkGlobs(t *tree, value any, where ...string) {
	list, _ := lookup(value, where).([]any)
	for i, e := range list {
		pattern, ok := e.(string)
		if !ok {
			continue
		}
		if _, err := path.Match(pattern, ""); err != nil {
			t.fail(child(where, strconv.Itoa(i)), fmt.Sprintf("%s is no glob: write * ? [a-z], and \\ before a character that means itself", show(pattern)))
		}
	}
}
