package calendar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// The bounds of a forecast's work.
const (
	maxSteps  = 20_000_000 // of all groups of keys through their slots
	maxAlerts = 10_000     // lines
)

// ErrTooMuch is returned when a forecast would take too much work.
var ErrTooMuch = errors.New("too much to forecast at once: ask for one policy, or fewer months")

// Subject is a policy of a forecast.
type Subject struct {
	Policy keyturn.Policy
	Table  *scheduler.Timetable
	First  *keyturn.Slot  // the next slot; nil: none
	Units  []keyturn.Unit // that it selects
	// Quiet policies turn keys, but are not reported.
	Quiet bool
}

func (s Subject) fires() bool { return s.First != nil && !s.Policy.Paused }

// Forecast says what comes.
type Forecast struct {
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Rotations []PlannedRotation `json:"rotations" nullable:"false" doc:"In the order of time."`
	Ages      []AgePassed       `json:"ages" nullable:"false" doc:"The days on which keys get older than a policy's ages, if all goes well until then."`
	Notes     []string          `json:"notes" nullable:"false" doc:"What the forecast does not know."`
}

// PlannedRotation is a rotation that is to come.
type PlannedRotation struct {
	Slot

	Policy string `json:"policy"`
	Units  int    `json:"units" doc:"How many units it would turn, as far as they are known now."`
}

// AgePassed is a day on which keys pass an age.
type AgePassed struct {
	Policy   string    `json:"policy"`
	Day      string    `json:"day" doc:"The day, in the policy's time zone."`
	At       time.Time `json:"at" doc:"The first instant of it on that day."`
	Severity string    `json:"severity" enum:"warning,critical"`
	Age      string    `json:"age" doc:"The age that is passed, such as 90d."`
	Units    int       `json:"units"`
	Example  string    `json:"example" doc:"One of the units."`
}

// group are units whose keys are of the same age and turned by the same policies.
type group struct {
	subjects []int
	since    time.Time
	units    int
	example  string
	stuck    bool // not rotatable
}

// Make forecasts from one instant to another. It assumes that each rotation
// turns what can be turned, at its slot.
func Make(ctx context.Context, subjects []Subject, from, to time.Time) (Forecast, error) {
	f := Forecast{From: from.UTC(), To: to.UTC(), Rotations: []PlannedRotation{}, Ages: []AgePassed{}, Notes: []string{}}
	slots := make([][]time.Time, len(subjects))
	ends := slices.Repeat([]time.Time{to}, len(subjects))
	for i, s := range subjects {
		turned := 0
		for j := range s.Units {
			if s.Units[j].Rotatable {
				turned++
			}
		}
		list, end, err := rotations(ctx, s, to)
		if err != nil {
			return f, err
		}
		if end.Before(to) {
			f.Notes = append(f.Notes, fmt.Sprintf("policy %s has more than %d slots: its forecast ends on %s", s.Policy.Name, MaxSlots, end.UTC().Format("2006-01-02")))
		}
		ends[i] = end
		for _, slot := range list {
			slots[i] = append(slots[i], slot.At)
			if s.Quiet {
				continue
			}
			f.Rotations = append(f.Rotations, PlannedRotation{Slot: slot, Policy: s.Policy.Name, Units: turned})
		}
	}
	groups, unknown := grouped(subjects)
	if unknown > 0 {
		f.Notes = append(f.Notes, fmt.Sprintf("the age of the keys of %d units is not known: they count from their next rotation on", unknown))
	}
	err := f.pass(ctx, subjects, groups, slots, ends)
	slices.SortFunc(f.Rotations, func(a, b PlannedRotation) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Policy, b.Policy), strings.Compare(a.Name, b.Name))
	})
	return f, err
}

// rotations lists a policy's slots before to, and up to when that is all of them.
func rotations(ctx context.Context, s Subject, to time.Time) ([]Slot, time.Time, error) {
	if !s.fires() || s.Policy.Schedule.MaxAge > 0 { // when those turn depends on each key
		return nil, to, nil
	}
	list, err := SlotsFrom(ctx, s.Table, *s.First, MaxSlots)
	if err != nil {
		return nil, to, err
	}
	if len(list) == MaxSlots && list[MaxSlots-1].At.Before(to) {
		to = list[MaxSlots-1].At
	}
	return slices.DeleteFunc(list, func(slot Slot) bool { return !slot.At.Before(to) }), to, nil
}

// grouped puts units together that will go the same way.
func grouped(subjects []Subject) (groups []*group, unknown int) {
	type member struct {
		unit     *keyturn.Unit
		subjects []int
	}
	members := make(map[string]*member)
	var order []*member
	for i, s := range subjects {
		for j := range s.Units {
			u := &s.Units[j]
			m := members[u.ID]
			if m == nil {
				m = &member{unit: u}
				members[u.ID] = m
				order = append(order, m)
			}
			m.subjects = append(m.subjects, i)
		}
	}
	byKey := make(map[string]*group)
	for _, m := range order {
		since := time.Time{}
		if m.unit.KeySince != nil {
			since = m.unit.KeySince.UTC().Truncate(time.Hour)
		} else {
			unknown++
		}
		key := fmt.Sprint(m.subjects, since.Unix(), m.unit.Rotatable)
		g := byKey[key]
		if g == nil {
			g = &group{subjects: m.subjects, since: since, example: m.unit.ID, stuck: !m.unit.Rotatable}
			byKey[key] = g
			groups = append(groups, g)
		}
		g.units++
	}
	return groups, unknown
}

// passing is the work on a forecast.
type passing struct {
	*Forecast

	subjects []Subject
	slots    [][]time.Time // of each subject, but for those that turn keys of an age
	ends     []time.Time
	lines    map[string]*AgePassed
	aged     map[string]*PlannedRotation // of policies that turn keys of an age
}

// pass finds the days on which keys pass the ages of their policies.
func (f *Forecast) pass(ctx context.Context, subjects []Subject, groups []*group, slots [][]time.Time, ends []time.Time) error {
	p := passing{
		Forecast: f, subjects: subjects, slots: slots, ends: ends,
		lines: make(map[string]*AgePassed), aged: make(map[string]*PlannedRotation),
	}
	steps := 0
	for _, g := range groups {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("forecasting: %w", err)
		}
		if steps += p.follow(g); steps > maxSteps || len(p.lines) > maxAlerts || len(p.aged) > maxAlerts {
			return ErrTooMuch
		}
	}
	for _, line := range p.lines {
		f.Ages = append(f.Ages, *line)
	}
	for _, r := range p.aged {
		f.Rotations = append(f.Rotations, *r)
	}
	slices.SortFunc(f.Ages, func(a, b AgePassed) int {
		return cmp.Or(strings.Compare(a.Day, b.Day), strings.Compare(a.Policy, b.Policy), strings.Compare(b.Severity, a.Severity), a.At.Compare(b.At))
	})
	return nil
}

// follow goes through the turns of a group's keys.
func (p *passing) follow(g *group) (steps int) {
	turns, end := g.turns(p.slots, p.ends)
	begin := g.since
	for ; ; steps++ {
		until, by := end, keyturn.Slot{}
		if len(turns) > 0 {
			until = turns[0]
		}
		subject := -1
		for _, i := range g.subjects {
			if slot, ok := p.ageTurn(g, p.subjects[i], begin); ok && slot.At.Before(until) {
				until, by, subject = slot.At, slot, i
			}
		}
		if !begin.IsZero() {
			for _, i := range g.subjects {
				if !p.subjects[i].Quiet {
					p.passIn(p.lines, p.subjects[i], g, begin, until)
				}
			}
		}
		switch {
		case subject >= 0:
			p.note(p.subjects[subject], by, g.units)
		case len(turns) > 0:
			turns = turns[1:]
		default:
			return steps + 1
		}
		begin = until
	}
}

// ageTurn is the slot at which a policy with maxAge turns keys made at begin.
func (p *passing) ageTurn(g *group, s Subject, begin time.Time) (keyturn.Slot, bool) {
	maxAge := s.Policy.Schedule.MaxAge.Std()
	if maxAge == 0 || !s.fires() || g.stuck || begin.IsZero() {
		return keyturn.Slot{}, false
	}
	due := begin.Add(maxAge)
	if !due.After(s.First.At) {
		return *s.First, true
	}
	return s.Table.First(due.Add(-time.Nanosecond))
}

// note counts units that a policy with maxAge turns at a slot.
func (p *passing) note(s Subject, slot keyturn.Slot, units int) {
	if s.Quiet {
		return
	}
	key := s.Policy.Name + " " + slot.Name()
	r := p.aged[key]
	if r == nil {
		described, err := Describe(s.Table, slot)
		if err != nil { // its time zone is gone
			return
		}
		r = &PlannedRotation{Slot: described, Policy: s.Policy.Name}
		p.aged[key] = r
	}
	r.Units += units
}

// turns are the instants at which policies turn the keys of a group whatever
// their age, and when the forecast for them ends.
func (g *group) turns(slots [][]time.Time, ends []time.Time) ([]time.Time, time.Time) {
	end := ends[g.subjects[0]]
	var turns []time.Time
	for _, i := range g.subjects {
		if ends[i].Before(end) {
			end = ends[i]
		}
		if !g.stuck {
			turns = append(turns, slots[i]...)
		}
	}
	if len(g.subjects) > 1 {
		slices.SortFunc(turns, time.Time.Compare)
	}
	return slices.DeleteFunc(turns, func(t time.Time) bool { return !t.Before(end) }), end
}

// passIn notes the ages that keys made at begin pass before until.
func (f *Forecast) passIn(lines map[string]*AgePassed, s Subject, g *group, begin, until time.Time) {
	zone, err := time.LoadLocation(s.Policy.Schedule.Timezone)
	if err != nil {
		zone = time.UTC
	}
	for severity, age := range map[string]keyturn.Duration{"warning": s.Policy.Alerts.WarnAfter, "critical": s.Policy.Alerts.CriticalAfter} {
		at := begin.Add(age.Std())
		if at.Before(f.From) { // long ago: as of today
			at = f.From
		}
		if age <= 0 || !at.Before(until) {
			continue
		}
		day := at.In(zone).Format("2006-01-02")
		key := strings.Join([]string{s.Policy.Name, day, severity}, " ")
		line := lines[key]
		if line == nil {
			line = &AgePassed{Policy: s.Policy.Name, Day: day, At: at.UTC(), Severity: severity, Age: age.String(), Example: g.example}
			lines[key] = line
		}
		line.Units += g.units
		if at.Before(line.At) {
			line.At, line.Example = at.UTC(), g.example
		}
	}
}

// ICal writes a forecast as an iCalendar (RFC 5545).
func (f Forecast) ICal(now time.Time) string {
	var b strings.Builder
	line := func(text string) { b.WriteString(fold(text) + "\r\n") }
	stamp := now.UTC().Format("20060102T150405Z")
	line("BEGIN:VCALENDAR")
	line("VERSION:2.0")
	line("PRODID:-//Keyturn//forecast//EN")
	for _, r := range f.Rotations {
		line("BEGIN:VEVENT")
		line("UID:" + escape(r.Policy+"/"+r.Name) + "@keyturn")
		line("DTSTAMP:" + stamp)
		line("DTSTART:" + r.At.UTC().Format("20060102T150405Z"))
		line("SUMMARY:" + escape("Rotation of "+r.Policy))
		line("DESCRIPTION:" + escape(strings.TrimSuffix(strconv.Itoa(r.Units)+" units; "+r.Note, "; ")))
		line("END:VEVENT")
	}
	for _, a := range f.Ages {
		line("BEGIN:VEVENT")
		line("UID:" + escape(a.Policy+"/"+a.Day+"/"+a.Severity) + "@keyturn")
		line("DTSTAMP:" + stamp)
		line("DTSTART;VALUE=DATE:" + strings.ReplaceAll(a.Day, "-", ""))
		line("SUMMARY:" + escape(fmt.Sprintf("%s: keys of %s pass %s", a.Severity, a.Policy, a.Age)))
		line("DESCRIPTION:" + escape(fmt.Sprintf("%d units, such as %s", a.Units, a.Example)))
		line("END:VEVENT")
	}
	line("END:VCALENDAR")
	return b.String()
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r", "", "\n", `\n`).Replace(s)
}

// fold breaks a line after 75 bytes at most, between characters.
func fold(s string) string {
	var b strings.Builder
	width := 0
	for _, r := range s {
		if n := len(string(r)); width+n > 75 {
			b.WriteString("\r\n ")
			width = 1 + n
		} else {
			width += n
		}
		b.WriteRune(r)
	}
	return b.String()
}
