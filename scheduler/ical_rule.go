package scheduler

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/keyturn/keyturn"
)

const (
	maxCount    = 10_000
	maxInterval = 1000
	// calendarCycle is after how many years the calendar repeats, weekdays and all.
	calendarCycle = 400
	// maxYears bounds how many years of recurring events are kept.
	maxYears = 128
)

// rule says how an event recurs.
type rule struct {
	option   rrule.ROption // Dtstart and Until are local times
	interval int
}

// parseRule reads an RRULE (RFC 5545, section 3.3.10). Rules of hours, minutes
// and seconds are refused: no blackout needs them, and their search is long.
func (p *calendarParser) parseRule(text string, e *event) (*rule, error) {
	r := &rule{interval: 1}
	var kept []string
	var until string
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(value))
		switch name {
		case "":
			continue
		case "FREQ":
			if !slices.Contains([]string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}, value) {
				return nil, fmt.Errorf("FREQ=%.20s is not understood: write DAILY, WEEKLY, MONTHLY or YEARLY", value)
			}
		case "UNTIL":
			until = value
			continue
		case "COUNT":
			if n, err := strconv.Atoi(value); err != nil || n < 1 || n > maxCount {
				return nil, fmt.Errorf("COUNT=%.20s: expected 1 to %d", value, maxCount)
			}
		case "INTERVAL":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxInterval {
				return nil, fmt.Errorf("INTERVAL=%.20s: expected 1 to %d", value, maxInterval)
			}
			r.interval = n
		case "BYDAY", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS", "WKST":
		default:
			return nil, fmt.Errorf("%.20s is not understood: write the dates out, or events of their own", name)
		}
		kept = append(kept, name+"="+value)
	}
	option, err := rrule.StrToROptionInLocation(strings.Join(kept, ";"), time.UTC)
	if err != nil {
		return nil, fmt.Errorf("%.100q: %w", text, err)
	}
	r.option = *option
	r.option.Dtstart = e.start
	if until != "" {
		if r.option.Until, err = p.until(until, e); err != nil {
			return nil, err
		}
	}
	return r, r.check(e)
}

// until reads the end of a rule as a local time of the event.
func (p *calendarParser) until(text string, e *event) (time.Time, error) {
	m, err := p.moment(contentLine{}, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("UNTIL: %w", err)
	}
	if m.allDay {
		return m.local.Add(keyturn.Day - time.Second), nil
	}
	if e.allDay {
		return m.local, nil
	}
	return m.in(e.zone), nil
}

func (r *rule) check(e *event) error {
	set, err := rrule.NewRRule(r.option)
	if err != nil {
		return fmt.Errorf("this rule can't be used: %w", err)
	}
	if set.After(e.start.Add(-time.Second), true).IsZero() {
		return errors.New("the event never recurs: no month that the rule names has such a day")
	}
	return nil
}

// between returns the beginnings of an event in [from, to), as local times.
func (r *rule) between(e *event, from, to time.Time) []time.Time {
	option := r.option
	if years := calendarCycle * r.interval; option.Count == 0 { // the same, with less to step through
		for option.Dtstart.Year()+years < from.Year() {
			option.Dtstart = option.Dtstart.AddDate(years, 0, 0)
		}
	}
	set, err := rrule.NewRRule(option)
	if err != nil {
		return []time.Time{from} // check has built it before; if in doubt, closed
	}
	begins := set.Between(from, to, true)
	if !e.start.Before(from) && e.start.Before(to) { // the first one counts, whether the rule says so or not
		begins = append(begins, e.start)
	}
	for _, d := range e.dates {
		if !d.Before(from) && d.Before(to) {
			begins = append(begins, d)
		}
	}
	return slices.DeleteFunc(begins, e.excepted)
}

// recurrence is an event that recurs, as a policy sees it.
type recurrence struct {
	event event
	zone  *time.Location
	note  string
}

// recurring spreads events out year by year, as far as anyone asks.
type recurring struct {
	events []recurrence
	mu     sync.Mutex
	years  map[int]yearSpans
}

type yearSpans struct {
	all    []span
	merged spans
}

// year returns the spans that touch a year of UTC.
func (r *recurring) year(y int) yearSpans {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.years[y]; ok {
		return known
	}
	var spread yearSpans
	first, last := time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(y+1, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, e := range r.events {
		from := first.Add(-e.event.length - 2*maxOffset)
		for _, begin := range e.event.rule.between(&e.event, from, last.Add(2*maxOffset)) {
			s := e.event.span(begin, e.zone, e.note)
			if s.to.After(first) && s.from.Before(last) {
				spread.all = append(spread.all, s)
			}
		}
	}
	spread.merged = mergeSpans(slices.Clone(spread.all))
	if r.years == nil || len(r.years) >= maxYears {
		r.years = make(map[int]yearSpans)
	}
	r.years[y] = spread
	return spread
}
