package scheduler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The bounds of a calendar. A year's public holidays are about a dozen events.
const (
	maxCalendar  = 1 << 20 // bytes
	maxEvents    = 5000
	maxRecurring = 500
	maxDates     = 5000 // EXDATE and RDATE of one event
)

// event is one VEVENT of an iCalendar (RFC 5545). Its times are local ones, kept
// as the instants that have the same digits in UTC.
type event struct {
	uid, summary string
	line         int // where it begins
	start        time.Time
	length       time.Duration // by the clock on the wall
	allDay       bool
	zone         *time.Location // nil: wherever the reader is
	rule         *rule          // nil: once
	dates        []time.Time    // further beginnings
	except       []time.Time    // beginnings that are none
	instead      *time.Time     // of which beginning of the event of this uid it stands instead
}

// span is the event's time when it begins at start.
func (e *event) span(start time.Time, zone *time.Location, note string) span {
	if e.zone != nil {
		zone = e.zone
	}
	s := localSpan(start, start.Add(e.length), zone, note)
	if !e.allDay { // by the clock on the wall or by elapsed time, whichever is longer
		s.to = latest(s.to, s.from.Add(e.length))
	}
	return s
}

func (e *event) excepted(start time.Time) bool {
	return slices.ContainsFunc(e.except, start.Equal)
}

// contentLine is one property: NAME;PARAM=VALUE:TEXT.
type contentLine struct {
	number int
	name   string
	params map[string]string
	value  string
}

// parseCalendar reads the events of an iCalendar. What blocks time and can't be
// understood is an error, never passed over.
func parseCalendar(text string, zones func(string) (*time.Location, error)) ([]event, error) {
	lines, err := contentLines(text)
	if err != nil {
		return nil, err
	}
	p := &calendarParser{zones: zones}
	for _, l := range lines {
		if err := p.line(l); err != nil {
			return nil, fmt.Errorf("line %d of the calendar: %w", l.number, err)
		}
	}
	switch {
	case !p.seen:
		return nil, errors.New("this is no iCalendar: it must begin with BEGIN:VCALENDAR")
	case len(p.open) > 0:
		return nil, fmt.Errorf("the calendar ends within %s: is the rest missing?", p.open[len(p.open)-1])
	}
	return p.finish()
}

// contentLines unfolds the lines of a calendar.
func contentLines(text string) ([]contentLine, error) {
	if len(text) > maxCalendar {
		return nil, fmt.Errorf("the calendar is larger than %d bytes: leave out what lies in the past", maxCalendar)
	}
	var raw []string
	var numbers []int
	number := 0
	text = strings.TrimPrefix(text, "\ufeff")
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if len(raw) > 0 && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) && len(line) > 1 {
			raw[len(raw)-1] += line[1:]
			continue
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		raw, numbers = append(raw, line), append(numbers, number)
	}
	lines := make([]contentLine, 0, len(raw))
	for i, line := range raw {
		l, err := splitLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d of the calendar: %w", numbers[i], err)
		}
		l.number = numbers[i]
		lines = append(lines, l)
	}
	return lines, nil
}

func splitLine(line string) (contentLine, error) {
	colon, quoted := -1, false
	for i := range len(line) {
		if line[i] == '"' {
			quoted = !quoted
		}
		if line[i] == ':' && !quoted {
			colon = i
			break
		}
	}
	if colon < 0 {
		return contentLine{}, fmt.Errorf("%.40q is no property: expected NAME:VALUE", line)
	}
	parts := splitUnquoted(line[:colon], ';')
	l := contentLine{name: strings.ToUpper(parts[0]), value: line[colon+1:], params: map[string]string{}}
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		l.params[strings.ToUpper(name)] = strings.Trim(value, `"`)
	}
	return l, nil
}

func splitUnquoted(s string, by byte) []string {
	var parts []string
	from, quoted := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == by && !quoted:
			parts, from = append(parts, s[from:i]), i+1
		}
	}
	return append(parts, s[from:])
}

type calendarParser struct {
	zones  func(string) (*time.Location, error)
	seen   bool     // a VCALENDAR
	open   []string // components that have not ended
	event  []contentLine
	begins int
	events []event
}

func (p *calendarParser) line(l contentLine) error {
	switch l.name {
	case "BEGIN":
		name := strings.ToUpper(strings.TrimSpace(l.value))
		if len(p.open) == 0 && name != "VCALENDAR" {
			return fmt.Errorf("%.40q outside of a calendar: expected BEGIN:VCALENDAR", name)
		}
		if len(p.open) >= 10 {
			return errors.New("components are nested deeper than 10 levels")
		}
		p.seen = true
		p.open = append(p.open, name)
		if name == "VEVENT" {
			p.event, p.begins = nil, l.number
		}
		return nil
	case "END":
		return p.end(strings.ToUpper(strings.TrimSpace(l.value)))
	}
	if len(p.open) == 0 {
		return errors.New("this is no iCalendar: it must begin with BEGIN:VCALENDAR")
	}
	if p.open[len(p.open)-1] == "VEVENT" {
		p.event = append(p.event, l)
	}
	return nil
}

func (p *calendarParser) end(name string) error {
	if len(p.open) == 0 || p.open[len(p.open)-1] != name {
		return fmt.Errorf("END:%.40s without its BEGIN", name)
	}
	p.open = p.open[:len(p.open)-1]
	if name != "VEVENT" {
		return nil
	}
	if len(p.events) == maxEvents {
		return fmt.Errorf("the calendar has more than %d events: leave out what lies in the past", maxEvents)
	}
	e, err := p.readEvent()
	if err != nil || e == nil {
		return err
	}
	e.line = p.begins
	p.events = append(p.events, *e)
	return nil
}

// finish takes what stands instead of an occurrence out of the event that recurs.
func (p *calendarParser) finish() ([]event, error) {
	recurring := 0
	byUID := make(map[string]*event)
	for i := range p.events {
		e := &p.events[i]
		if e.instead == nil {
			byUID[e.uid] = e
		}
		if e.rule != nil {
			recurring++
		}
	}
	if recurring > maxRecurring {
		return nil, fmt.Errorf("the calendar has more than %d events that recur", maxRecurring)
	}
	var events []event
	for i := range p.events {
		if e := &p.events[i]; e.instead != nil {
			if main := byUID[e.uid]; main != nil {
				main.except = append(main.except, *e.instead)
			}
		}
	}
	for i := range p.events {
		if e := p.events[i]; e.length > 0 {
			events = append(events, e)
		}
	}
	return events, nil
}
