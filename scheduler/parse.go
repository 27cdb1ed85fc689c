package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/keyturn/keyturn"
)

const (
	maxLine  = 500                 // characters of a cron line
	maxEvery = 36500 * keyturn.Day // of "@every D"
)

// Parse reads a schedule: a cron line of five fields (minute, hour, day of
// month, month, day of week) or six (with seconds in front), @yearly,
// @annually, @monthly, @weekly, @daily, @midnight, @hourly, or "@every D" with
// D of whole seconds. A prefix "CRON_TZ=ZONE " or "TZ=ZONE " goes before the
// schedule's own time zone. An empty line is a timetable without slots.
//
// As cron has it, a day matches by day of month or day of week when both are
// restricted. A line that can never fire is an error.
//
// Windows and blackouts are read too; the calendars in files are read from disk.
func Parse(s keyturn.Schedule) (*Timetable, error) { return new(Reader).Timetable(s) }

func (r *Reader) parse(s keyturn.Schedule) (*Timetable, error) {
	if len(s.Cron) > maxLine {
		return nil, fmt.Errorf("cron line of %d characters: at most %d are read", len(s.Cron), maxLine)
	}
	line, timezone, err := splitZone(strings.TrimSpace(s.Cron), s.Timezone)
	if err != nil {
		return nil, err
	}
	t := &Timetable{timezone: timezone, gap: cmp.Or(s.Gap, keyturn.GapAfter), fold: cmp.Or(s.Fold, keyturn.FoldFirst), jitter: s.Jitter}
	if t.zone, err = r.zones.load(timezone); err != nil {
		return nil, err
	}
	if err := t.bound(s); err != nil {
		return nil, err
	}
	if t.calendar, err = r.calendar(s); err != nil {
		return nil, err
	}
	switch {
	case line == "" && s.MaxAge > 0:
		line = "@hourly" // looks for keys that are old enough
	case line == "":
		return t, nil
	case line == "@every" || strings.HasPrefix(line, "@every "):
		t.every, err = parseEvery(strings.TrimPrefix(line, "@every"))
		if err != nil {
			return nil, err
		}
		return t, t.check(line)
	}
	if t.fields, err = parseFields(line); err != nil {
		return nil, err
	}
	return t, t.check(line)
}

// bound reads the bounds and rules that a schedule has for its slots.
func (t *Timetable) bound(s keyturn.Schedule) error {
	switch t.gap {
	case keyturn.GapAfter, keyturn.GapSkip:
	default:
		return fmt.Errorf("unknown gap %q: write after or skip", s.Gap)
	}
	switch t.fold {
	case keyturn.FoldFirst, keyturn.FoldLast, keyturn.FoldBoth:
	default:
		return fmt.Errorf("unknown fold %q: write first, last or both", s.Fold)
	}
	if s.StartAt != nil {
		t.startAt = s.StartAt.UTC()
	}
	if s.EndAt != nil {
		t.endAt = s.EndAt.UTC()
		if !t.startAt.Before(t.endAt) {
			return fmt.Errorf("startAt (%s) must be before endAt (%s)", t.startAt.Format(time.RFC3339), t.endAt.Format(time.RFC3339))
		}
	}
	return nil
}

// calendar reads the windows and blackouts, which are local times of the
// schedule's own time zone, whatever the cron line's prefix says.
func (r *Reader) calendar(s keyturn.Schedule) (calendar, error) {
	zone, err := r.zones.load(cmp.Or(s.Timezone, "UTC"))
	if err != nil {
		return calendar{}, err
	}
	c := calendar{zone: zone}
	if c.windows, err = parseWindows(s.Windows); err != nil {
		return calendar{}, err
	}
	c.blackouts, err = r.blackouts(s.Blackouts, zone)
	return c, err
}

// check refuses a timetable that has no slot at any time.
func (t *Timetable) check(line string) error {
	// Any year does: the calendar repeats, and the longest pause starts in this one.
	leap := time.Date(2096, time.March, 1, 0, 0, 0, 0, time.UTC)
	if t.fields != nil {
		if _, ok := t.match(leap); !ok {
			return fmt.Errorf("cron line %q never fires: no month it names has such a day", line)
		}
	}
	from := []time.Time{leap, time.Unix(0, 0)}
	switch {
	case !t.startAt.IsZero():
		from = []time.Time{t.startAt.Add(-time.Nanosecond)}
	case !t.endAt.IsZero():
		return nil // the past has slots; whether the future has any depends on when one asks
	}
	for _, at := range from {
		if _, ok := t.First(at); ok {
			return nil
		}
	}
	return fmt.Errorf("cron line %q never fires: startAt, endAt, windows, blackouts and gap leave it no time", line)
}

// splitZone takes the CRON_TZ= prefix off a line. robfig's parser does the
// same, but panics where no line follows.
func splitZone(line, timezone string) (rest, zone string, err error) {
	if timezone == "" {
		timezone = "UTC"
	}
	prefix, tail, ok := cutZonePrefix(line)
	if !ok {
		return line, timezone, nil
	}
	name, rest := tail, ""
	if i := strings.IndexAny(tail, " \t"); i >= 0 {
		name, rest = tail[:i], strings.TrimSpace(tail[i:])
	}
	if name == "" || rest == "" {
		return "", "", fmt.Errorf("cron line %q: write %sZONE, a space and the fields, such as %sEurope/Berlin 0 2 * * *", line, prefix, prefix)
	}
	if _, _, again := cutZonePrefix(rest); again {
		return "", "", fmt.Errorf("cron line %q names two time zones", line)
	}
	return rest, name, nil
}

func cutZonePrefix(line string) (prefix, tail string, ok bool) {
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if tail, ok := strings.CutPrefix(line, prefix); ok {
			return prefix, tail, true
		}
	}
	return "", "", false
}

func parseEvery(text string) (time.Duration, error) {
	d, err := keyturn.ParseDuration(strings.TrimSpace(text))
	switch every := d.Std(); {
	case err != nil:
		return 0, fmt.Errorf("@every: %w", err)
	case every < time.Second || every%time.Second != 0:
		return 0, fmt.Errorf("@every %s: write whole seconds, at least 1s", every)
	case every > maxEvery:
		return 0, fmt.Errorf("@every %s: at most %s", every, keyturn.Duration(maxEvery))
	default:
		return every, nil
	}
}

const cronOptions = cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor

func parseFields(line string) (*cron.SpecSchedule, error) {
	if strings.HasPrefix(line, "@") {
		return parseDescriptor(line)
	}
	fields := strings.Fields(line)
	if len(fields) != 5 && len(fields) != 6 {
		return nil, fmt.Errorf("cron line %q has %d fields: write minute, hour, day of month, month and day of week, or seconds before them", line, len(fields))
	}
	if len(fields) == 5 {
		fields = append([]string{"0"}, fields...)
	}
	for i, field := range fields {
		if err := checkElements(field); err != nil {
			return nil, fieldError(i, field, err)
		}
	}
	parsed, err := cron.NewParser(cronOptions).Parse(strings.Join(fields, " "))
	if err != nil {
		return nil, blame(fields, err)
	}
	return inUTC(parsed)
}

func parseDescriptor(line string) (*cron.SpecSchedule, error) {
	parsed, err := cron.NewParser(cronOptions).Parse(line)
	if err != nil {
		return nil, fmt.Errorf("cron line %q: known are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every D, such as @every 12h", line)
	}
	return inUTC(parsed)
}

// inUTC makes robfig's evaluator work on local times, which it sees as UTC.
func inUTC(s cron.Schedule) (*cron.SpecSchedule, error) {
	fields, ok := s.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cron line: unexpected kind of schedule %T", s)
	}
	fields.Location = time.UTC
	return fields, nil
}

// blame finds the field that robfig's parser can't read.
func blame(fields []string, whole error) error {
	for i, field := range fields {
		alone := [6]string{"*", "*", "*", "*", "*", "*"}
		alone[i] = field
		if _, err := cron.NewParser(cronOptions).Parse(strings.Join(alone[:], " ")); err != nil {
			return fieldError(i, field, err)
		}
	}
	return fmt.Errorf("cron line %q: %w", strings.Join(fields, " "), whole)
}

func fieldError(i int, field string, err error) error {
	names := [6]string{"seconds", "minute", "hour", "day of month", "month", "day of week"}
	values := [6]string{"0 to 59", "0 to 59", "0 to 23", "1 to 31", "1 to 12 or JAN to DEC", "0 to 6 or SUN to SAT, Sunday is 0"}
	return fmt.Errorf("%s field %q: %w; write *, values (%s), lists (1,2), ranges (1-5) or steps (*/2)", names[i], field, err, values[i])
}

// checkElements refuses what robfig's parser reads as something else than it
// says, such as "*-5" and "1,,2", and "," (no value at all: its evaluator would
// search for hours).
func checkElements(field string) error {
	for e := range strings.SplitSeq(field, ",") {
		if e == "" {
			return errors.New("empty element in a list")
		}
		values, step, hasStep := strings.Cut(e, "/")
		from, to, isRange := strings.Cut(values, "-")
		star := from == "*" || from == "?"
		switch {
		case hasStep && !isWord(step),
			star && isRange,
			!star && !isWord(from),
			isRange && !isWord(to):
			return fmt.Errorf("%q is no value, range or step", e)
		}
	}
	return nil
}

func isWord(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}
