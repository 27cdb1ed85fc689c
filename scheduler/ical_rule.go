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
		case "BYDAY":
			if err := checkDays(value, text); err != nil {
				return nil, err
			}
		case "WKST":
			if !slices.Contains(weekdays(), value) {
				return nil, fmt.Errorf("WKST=%.20s: expected MO, TU, WE, TH, FR, SA or SU", value)
			}
		case "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS":
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

func weekdays() []string { return []string{"MO", "TU", "WE", "TH", "FR", "SA", "SU"} }

// checkDays checks BYDAY. The library steps out of its tables on numbers that no
// month or year has.
func checkDays(value, rule string) error {
	rule = strings.ToUpper(rule)
	most := 53
	switch {
	case strings.Contains(rule, "FREQ=DAILY"), strings.Contains(rule, "FREQ=WEEKLY"):
		most = 0
	case strings.Contains(rule, "FREQ=MONTHLY"), strings.Contains(rule, "BYMONTH="):
		most = 5
	}
	for day := range strings.SplitSeq(value, ",") {
		number, name := "", day
		if i := len(day) - 2; i > 0 {
			number, name = day[:i], day[i:]
		}
		if !slices.Contains(weekdays(), name) {
			return fmt.Errorf("BYDAY=%.20s: expected MO, TU, WE, TH, FR, SA or SU, or one with a number such as -1FR", day)
		}
		if number == "" {
			continue
		}
		if n, err := strconv.Atoi(number); err != nil || n == 0 || max(n, -n) > most {
			return fmt.Errorf("BYDAY=%.20s: no such day: a number goes up to 5 in months, to 53 in years, and with no other FREQ", day)
		}
	}
	return nil
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

func (r *rule) check(e *event) (err error) {
	defer func() {
		if p := recover(); p != nil { // of the library, on a rule that it did not think of
			err = fmt.Errorf("this rule can't be used: %v", p)
		}
	}()
	set, err := rrule.NewRRule(r.option)
	if err != nil {
		return fmt.Errorf("this rule can't be used: %w", err)
	}
	if set.After(e.start.Add(-time.Second), true).IsZero() {
		return errors.New("the event never recurs: no month that the rule names has such a day")
	}
	return nil
}

// between returns the beginnings of an event in [from, to), as local times. It
// answers false if they can't be known.
func (r *rule) between(e *event, from, to time.Time) (begins []time.Time, ok bool) {
	defer func() {
		if recover() != nil { // of the library, on a year that it did not think of
			begins, ok = nil, false
		}
	}()
	option := r.option
	if option.Count == 0 {
		option.Dtstart = r.nearer(from)
	}
	set, err := rrule.NewRRule(option)
	if err != nil {
		return nil, false
	}
	begins = set.Between(from, to, true)
	if !e.start.Before(from) && e.start.Before(to) { // the first one counts, whether the rule says so or not
		begins = append(begins, e.start)
	}
	for _, d := range e.dates {
		if !d.Before(from) && d.Before(to) {
			begins = append(begins, d)
		}
	}
	return slices.DeleteFunc(begins, e.excepted), true
}

// nearer returns a start that gives the same beginnings from from on, with fewer
// to step through.
func (r *rule) nearer(from time.Time) time.Time {
	start := r.option.Dtstart
	days := map[rrule.Frequency]int{rrule.DAILY: 1, rrule.WEEKLY: 7}[r.option.Freq] * r.interval
	if ahead := int((from.Unix() - start.Unix()) / int64(keyturn.Day/time.Second)); days > 0 && ahead > 0 {
		return start.AddDate(0, 0, ahead/days*days)
	}
	for years := calendarCycle * r.interval; days == 0 && start.Year()+years < from.Year(); {
		start = start.AddDate(years, 0, 0)
	}
	return start
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
		begins, ok := e.event.rule.between(&e.event, from, last.Add(2*maxOffset))
		if !ok { // closed, if in doubt
			spread.all = append(spread.all, span{from: first, to: last, note: e.note})
		}
		for _, begin := range begins {
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
