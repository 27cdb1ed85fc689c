package scheduler

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// maxEventLength bounds one event; who wants longer, wants to pause the policy.
const maxEventLength = 3660 * keyturn.Day

// moment is a DATE or DATE-TIME.
type moment struct {
	local  time.Time
	allDay bool
	zone   *time.Location // nil: floating
}

// readEvent makes an event of the properties of a VEVENT; nil: it was cancelled.
func (p *calendarParser) readEvent() (*event, error) {
	var e event
	var end, start *moment
	var ruleText string
	var late []contentLine // need the start
	for _, l := range p.event {
		var err error
		switch l.name {
		case "DTSTART":
			start, err = p.moment(l, l.value)
		case "DTEND":
			end, err = p.moment(l, l.value)
		case "DURATION":
			e.length, err = parseICalDuration(l.value)
		case "RRULE":
			if ruleText != "" {
				err = errors.New("the event has two RRULEs: only one is understood")
			}
			ruleText = strings.TrimSpace(l.value)
		case "EXRULE":
			err = errors.New("EXRULE is not understood: write EXDATE")
		case "EXDATE", "RDATE", "RECURRENCE-ID":
			late = append(late, l)
		case "UID":
			e.uid = l.value
		case "SUMMARY":
			e.summary = unescape(l.value)
		case "STATUS":
			if strings.EqualFold(strings.TrimSpace(l.value), "CANCELLED") {
				return nil, nil //nolint:nilnil // nil is "no event"
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if start == nil {
		return nil, errors.New("the event has no DTSTART")
	}
	e.start, e.allDay, e.zone = start.local, start.allDay, start.zone
	if err := e.setLength(*start, end); err != nil {
		return nil, err
	}
	for _, l := range late {
		if err := p.exception(&e, l); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if ruleText == "" {
		return &e, nil
	}
	var err error
	if e.rule, err = p.parseRule(ruleText, &e); err != nil {
		return nil, fmt.Errorf("RRULE: %w", err)
	}
	return &e, nil
}

func (e *event) setLength(start moment, end *moment) error {
	switch {
	case end != nil && end.allDay != start.allDay:
		return errors.New("DTSTART and DTEND must both be days or both be times")
	case end != nil:
		e.length = end.in(start.zone).Sub(start.local)
	case e.length == 0 && start.allDay:
		e.length = keyturn.Day
	}
	if e.length < 0 {
		return errors.New("the event ends before it begins")
	}
	if e.allDay && e.length%keyturn.Day != 0 {
		return errors.New("DURATION: an event of days lasts whole days")
	}
	if e.length > maxEventLength {
		return errors.New("the event lasts longer than ten years: pause the policy instead")
	}
	return nil
}

// in returns the local time in another zone.
func (m moment) in(zone *time.Location) time.Time {
	if m.zone == nil || zone == nil || m.zone == zone || m.allDay {
		return m.local
	}
	return localOf(instantOf(m.local, m.zone), zone)
}

// exception reads EXDATE, RDATE and RECURRENCE-ID.
func (p *calendarParser) exception(e *event, l contentLine) error {
	if l.name == "RECURRENCE-ID" && l.params["RANGE"] != "" {
		return errors.New("RANGE is not understood: write an event of its own")
	}
	for text := range strings.SplitSeq(l.value, ",") {
		m, err := p.moment(l, text)
		if err != nil {
			return err
		}
		at := m.in(e.zone)
		if m.allDay && !e.allDay { // the day of an event with a time of day
			at = at.Add(e.start.Sub(e.start.Truncate(keyturn.Day)))
		}
		switch l.name {
		case "EXDATE":
			e.except = append(e.except, at)
		case "RDATE":
			e.dates = append(e.dates, at)
		default:
			e.instead = &at
		}
		if len(e.except)+len(e.dates) > maxDates {
			return fmt.Errorf("more than %d dates", maxDates)
		}
	}
	return nil
}

// moment reads a DATE or DATE-TIME. Its TZID must be an IANA name.
func (p *calendarParser) moment(l contentLine, text string) (*moment, error) {
	text = strings.TrimSpace(text)
	if t, err := time.Parse("20060102", text); err == nil {
		return checkYear(&moment{local: t, allDay: true})
	}
	if kind := strings.ToUpper(l.params["VALUE"]); kind != "" && kind != "DATE-TIME" {
		return nil, fmt.Errorf("%.40q is no day and no time", text)
	}
	if t, err := time.Parse("20060102T150405Z", text); err == nil {
		return checkYear(&moment{local: t, zone: time.UTC})
	}
	t, err := time.Parse("20060102T150405", text)
	if err != nil {
		return nil, fmt.Errorf("%.40q is no day and no time: expected 20261224, 20261224T180000 or 20261224T180000Z", text)
	}
	m := &moment{local: t}
	if name := strings.TrimPrefix(l.params["TZID"], "/"); name != "" {
		if m.zone, err = p.zones(name); err != nil {
			return nil, fmt.Errorf("TZID: %w", err)
		}
	}
	return checkYear(m)
}

func checkYear(m *moment) (*moment, error) {
	if m.local.Year() < 1900 {
		return nil, errors.New("dates before 1900 are not understood")
	}
	return m, nil
}

// parseICalDuration reads "P1D", "PT2H30M", "P2W".
func parseICalDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%.40q is no duration: expected one such as P1D or PT2H30M", text)
	rest, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(text), "+"), "P")
	if !ok || rest == "" {
		return 0, bad
	}
	var total time.Duration
	units := map[byte]time.Duration{'W': 7 * keyturn.Day, 'D': keyturn.Day}
	for rest != "" {
		if tail, ok := strings.CutPrefix(rest, "T"); ok {
			rest, units = tail, map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}
			if rest == "" {
				return 0, bad
			}
		}
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits <= 0 || digits > 9 {
			return 0, bad
		}
		n, err := strconv.Atoi(rest[:digits])
		unit, known := units[rest[digits]]
		if err != nil || !known || time.Duration(n) > maxEventLength/unit {
			return 0, bad
		}
		total += time.Duration(n) * unit
		rest = rest[digits+1:]
	}
	return total, nil
}

func unescape(s string) string {
	return strings.NewReplacer(`\n`, " ", `\N`, " ", `\,`, ",", `\;`, ";", `\\`, `\`).Replace(s)
}
