package resource

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// checkScheduleOf checks spec.schedule. check says why a schedule can't be used:
// it is asked about each part alone, so that an error stands where the part is.
func checkScheduleOf(t *tree, value any, check func(keyturn.Schedule) error) {
	where := []string{"spec", "schedule"}
	before := len(t.errors)
	for _, name := range []string{"jitter", "catchUpWindow", "minInterval", "maxAge"} {
		checkDuration(t, value, maxAge, child(where, name)...)
	}
	if catchUp, _ := text(value, "spec", "schedule", "catchUp"); catchUp == string(keyturn.CatchUpSkip) {
		if lookup(value, child(where, "catchUpWindow")) != nil {
			t.fail(child(where, "catchUpWindow"), "goes with catchUp latest or all: with skip no slot fires late")
		}
	}
	checkBounds(t, value)
	checkBlackoutShapes(t, value)
	if check == nil {
		return
	}
	zone, _ := text(value, "spec", "schedule", "timezone")
	if err := check(keyturn.Schedule{Timezone: zone}); err != nil {
		t.fail(child(where, "timezone"), err.Error())
		zone = ""
	}
	if cron, ok := text(value, "spec", "schedule", "cron"); ok {
		if err := check(keyturn.Schedule{Cron: cron, Timezone: zone}); err != nil {
			t.fail(child(where, "cron"), err.Error())
		}
	}
	checkEach(t, value, "windows", func(w keyturn.Window) error {
		return check(keyturn.Schedule{Timezone: zone, Windows: []keyturn.Window{w}})
	})
	checkEach(t, value, "blackouts", func(b keyturn.Blackout) error {
		return check(keyturn.Schedule{Timezone: zone, Blackouts: []keyturn.Blackout{b}})
	})
	if len(t.errors) > before || t.failed {
		return
	}
	var whole keyturn.Schedule
	if decodePart(lookup(value, where), &whole) {
		if err := check(whole); err != nil { // each part is well, but not together
			t.fail(where, err.Error())
		}
	}
}

// checkBounds checks startAt and endAt.
func checkBounds(t *tree, value any) {
	var bounds [2]time.Time
	for i, name := range []string{"startAt", "endAt"} {
		raw, ok := text(value, "spec", "schedule", name)
		if !ok {
			continue
		}
		at, err := time.Parse(time.RFC3339, raw)
		if err != nil {
			t.fail([]string{"spec", "schedule", name}, fmt.Sprintf("%s is no instant: write date, time and offset such as 2026-01-31T00:00:00Z", show(raw)))
			continue
		}
		bounds[i] = at
	}
	if !bounds[0].IsZero() && !bounds[1].IsZero() && !bounds[0].Before(bounds[1]) {
		t.fail([]string{"spec", "schedule", "endAt"}, "must be after startAt")
	}
}

// checkBlackoutShapes checks that each blackout says its time in one way.
func checkBlackoutShapes(t *tree, value any) {
	list, _ := lookup(value, []string{"spec", "schedule", "blackouts"}).([]any)
	for i, entry := range list {
		fields, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		where := []string{"spec", "schedule", "blackouts", strconv.Itoa(i)}
		var ways []string
		for _, way := range []string{"date", "from", "ical", "icalFile"} {
			if fields[way] != nil || way == "from" && fields["to"] != nil {
				ways = append(ways, way)
			}
		}
		if len(ways) == 0 {
			t.fail(where, "says no time: write date, from and to, ical, or icalFile")
		}
		if len(ways) > 1 {
			t.fail(where, "says its time in more than one way ("+strings.Join(ways, ", ")+"): write a blackout for each")
		}
		if file, ok := fields["icalFile"].(string); ok && !path.IsAbs(file) {
			t.fail(child(where, "icalFile"), "the path must be absolute: the server reads it, wherever it runs")
		}
	}
}

// checkEach asks about each element of a list of the schedule. An error that
// begins with "LIST[0]: FIELD: " is noted at that field.
func checkEach[T any](t *tree, value any, list string, check func(T) error) {
	elements, _ := lookup(value, []string{"spec", "schedule", list}).([]any)
	for i, element := range elements {
		where := []string{"spec", "schedule", list, strconv.Itoa(i)}
		fields, _ := element.(map[string]any)
		var part T
		if fields == nil || t.failedBelow(where) || !decodePart(element, &part) {
			continue
		}
		err := check(part)
		if err == nil {
			continue
		}
		message := strings.TrimPrefix(err.Error(), list+"[0]: ")
		if name, rest, ok := strings.Cut(message, ": "); ok && slices.Contains([]string{"from", "to", "days", "date", "ical", "icalFile"}, name) {
			if _, there := fields[name]; there {
				where, message = child(where, name), rest
			}
		}
		t.fail(where, message)
	}
}

// failedBelow reports whether an error was noted at path or below it.
func (t *tree) failedBelow(path []string) bool {
	prefix := display(path)
	return slices.ContainsFunc(t.errors, func(e Error) bool {
		return e.File == t.file && strings.HasPrefix(e.Path, prefix) && e.Line >= t.chunk.line
	})
}

// decodePart makes a noun of values that were read. It answers false for values
// of the wrong type: the schema has spoken about those.
func decodePart(value, into any) bool {
	raw, err := json.Marshal(value)
	return err == nil && json.Unmarshal(raw, into) == nil
}
