package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/resource"
)

const (
	// calendarAhead and calendarBack are how many months there are pages for.
	calendarAhead, calendarBack = 24, 120
	// calendarRotations is how many past rotations a month shows at most, dayEvents how many entries a day.
	calendarRotations, dayEvents = 1000, 5
	monthLayout                  = "2006-01"
)

// event is one entry of a day.
type event struct {
	At     time.Time // zero: the whole day
	Clock  string    // in the time zone of its policy
	Kind   string    // "past", "planned", "warning", "critical"
	Chip   chip
	Text   string
	Note   string
	Link   string
	Policy string
	weight int
}

// day is one cell of the calendar.
type day struct {
	Date    time.Time
	Outside bool // it belongs to another month
	Today   bool
	Events  []event
	More    int // entries that are not shown
	Link    string
	Closed  []string // policies that a blackout holds for some of the day
	Shut    []string // policies that are outside of their windows the whole day
}

// calendarPage is a month.
type calendarPage struct {
	Month          time.Time
	Previous, Next string
	Today          string
	Policy         string
	Policies       []string
	Weeks          [][]day
	Notes          []string
	Cut            bool
	Day            *day // only this one, with all its entries
	PreviousName   string
	NextName       string
	HasBlackouts   bool
	HasWindows     bool
	Weekdays       []string
	from, to       time.Time
	byDay          map[string]*day
}

func (s *Site) calendar(ctx context.Context, v *visit) (*view, error) {
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	page, err := newCalendarPage(v.URL.Query(), now)
	if err != nil {
		return nil, err
	}
	stored, err := list[keyturn.Resource](ctx, v, "/policies")
	if err != nil {
		return nil, err
	}
	for _, r := range stored.Items {
		page.Policies = append(page.Policies, r.Name)
	}
	zones := zonesOf(stored.Items)
	if err := page.readPast(ctx, v, zones); err != nil {
		return nil, err
	}
	if page.to.After(now) {
		if err := page.readForecast(ctx, v, now); err != nil {
			return nil, err
		}
	}
	if err := page.readClosed(ctx, v, zones); err != nil {
		return nil, err
	}
	page.finish(v.URL.Query())
	return &view{Title: "Calendar of " + page.Month.Format("January 2006"), Nav: "calendar", Template: "calendar", Data: page, Wide: true}, nil
}

// newCalendarPage lays the days of a month out, in weeks that begin on Monday.
func newCalendarPage(q url.Values, now time.Time) (*calendarPage, error) {
	now = now.UTC()
	first := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	month := first
	if text := q.Get("month"); text != "" {
		var err error
		if month, err = time.Parse(monthLayout, text); err != nil {
			return nil, &apiError{Status: http.StatusNotFound, Detail: fmt.Sprintf("%q is no month: write 2026-03", text)}
		}
	}
	if month.After(first.AddDate(0, calendarAhead, 0)) || month.Before(first.AddDate(0, -calendarBack, 0)) {
		return nil, &apiError{Status: http.StatusNotFound, Detail: fmt.Sprintf("the calendar goes from ten years ago to %d months ahead", calendarAhead)}
	}
	p := &calendarPage{
		Month: month, Policy: q.Get("policy"), byDay: map[string]*day{},
		Weekdays: []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"},
	}
	p.from = month.AddDate(0, 0, -(int(month.Weekday())+6)%7)
	for at := p.from; at.Before(month.AddDate(0, 1, 0)); {
		week := make([]day, 7)
		for i := range week {
			week[i] = day{Date: at, Outside: at.Month() != month.Month(), Today: at.Equal(now.Truncate(keyturn.Day))}
			p.byDay[at.Format(time.DateOnly)] = &week[i]
			at = at.AddDate(0, 0, 1)
		}
		p.Weeks = append(p.Weeks, week)
		p.to = at
	}
	link := func(m time.Time) string { return "/calendar" + with(withoutDay(q), "month", m.Format(monthLayout)) }
	before, after := month.AddDate(0, -1, 0), month.AddDate(0, 1, 0)
	p.PreviousName, p.NextName = before.Format("January"), after.Format("January")
	if !before.Before(first.AddDate(0, -calendarBack, 0)) {
		p.Previous = link(before)
	}
	if !after.After(first.AddDate(0, calendarAhead, 0)) {
		p.Next = link(after)
	}
	if !month.Equal(first) {
		p.Today = "/calendar" + with(withoutDay(q), "month", "")
	}
	return p, nil
}

func withoutDay(q url.Values) url.Values {
	out := url.Values{}
	for name, values := range q {
		if name != "day" {
			out[name] = values
		}
	}
	return out
}

// add puts an entry on a day; entries of days that are not shown are left out.
func (p *calendarPage) add(date string, e event) {
	if d := p.byDay[date]; d != nil && (p.Policy == "" || p.Policy == e.Policy) {
		d.Events = append(d.Events, e)
	}
}

// readPast reads the rotations that were asked for, on the days that their policies' time zones have.
func (p *calendarPage) readPast(ctx context.Context, v *visit, zones map[string]*time.Location) error {
	q := url.Values{
		"from": {p.from.Add(-keyturn.Day).Format(time.RFC3339)}, "to": {p.to.Add(keyturn.Day).Format(time.RFC3339)},
		"limit": {strconv.Itoa(calendarRotations)}, "policy": {p.Policy},
	}
	if p.Policy == "" {
		q.Del("policy")
	}
	found, err := list[keyturn.Rotation](ctx, v, "/rotations?"+q.Encode())
	if err != nil {
		return err
	}
	p.Cut = found.Next != ""
	for _, r := range found.Items {
		zone := cmp.Or(zones[r.Policy], time.UTC)
		local := r.RequestedAt.In(zone)
		e := event{
			At: r.RequestedAt, Clock: local.Format("15:04"), Kind: "past", Chip: stateChip(r.State), Text: r.Policy, Policy: r.Policy,
			Link: "/rotations/" + r.ID.String(), Note: fmt.Sprintf("%s, %s", r.Trigger, plural(r.Counts.Total, "unit", "units")), weight: 2,
		}
		p.add(local.Format(time.DateOnly), e)
	}
	return nil
}

// readForecast reads what is planned, and which keys get too old.
func (p *calendarPage) readForecast(ctx context.Context, v *visit, now time.Time) error {
	months := 1
	for now.AddDate(0, months, 0).Before(p.to) {
		months++
	}
	q := url.Values{"months": {strconv.Itoa(months)}}
	if p.Policy != "" {
		q.Set("policy", p.Policy)
	}
	var f calendar.Forecast
	if err := v.get(ctx, "/forecast?"+q.Encode(), &f); err != nil {
		return err
	}
	p.Notes = append(p.Notes, f.Notes...)
	for _, r := range f.Rotations {
		date, clock := r.At.UTC().Format(time.DateOnly), r.At.UTC().Format("15:04")
		if zone, err := time.LoadLocation(r.Timezone); err == nil {
			date, clock = r.At.In(zone).Format(time.DateOnly), r.At.In(zone).Format("15:04")
		}
		p.add(date, event{
			At: r.At, Clock: clock, Kind: "planned", Chip: chip{Tone: toneWait, Icon: "clock", Text: "planned"}, Text: r.Policy, Policy: r.Policy,
			Link: "/policies/" + url.PathEscape(r.Policy), Note: plural(r.Units, "unit", "units") + noteText(r.Note), weight: 3,
		})
	}
	for _, a := range f.Ages {
		text := plural(a.Units, "key passes ", "keys pass ") + a.Age
		if a.At.Equal(f.From) { // and did so long ago
			text = plural(a.Units, "key is past ", "keys are past ") + a.Age
		}
		p.add(a.Day, event{
			Kind: a.Severity, Chip: stateChip(a.Severity), Text: text, Policy: a.Policy, weight: map[string]int{"critical": 0}[a.Severity],
			Link: "/policies/" + url.PathEscape(a.Policy), Note: a.Policy + ", such as " + a.Example,
		})
	}
	return nil
}

func noteText(note string) string {
	if note == "" {
		return ""
	}
	return "; " + note
}

// readClosed marks the days, as the policies' time zones have them, on which blackouts and windows hold policies.
func (p *calendarPage) readClosed(ctx context.Context, v *visit, zones map[string]*time.Location) error {
	q := url.Values{"from": {p.from.Add(-keyturn.Day).Format(time.RFC3339)}, "to": {p.to.Add(keyturn.Day).Format(time.RFC3339)}}
	var closed struct {
		Items []calendar.Closed `json:"items"`
		Notes []string          `json:"notes"`
	}
	if err := v.get(ctx, "/closed-times?"+q.Encode(), &closed); err != nil {
		return err
	}
	p.Notes = append(p.Notes, closed.Notes...)
	for _, c := range closed.Items {
		if p.Policy != "" && c.Policy != p.Policy {
			continue
		}
		p.shade(c, cmp.Or(zones[c.Policy], time.UTC))
	}
	return nil
}

// shade marks the days of one time at which a policy is held.
func (p *calendarPage) shade(c calendar.Closed, zone *time.Location) {
	from := c.From.In(zone)
	// time.Date knows where a day begins whose midnight a clock that is put forward leaves out.
	for n := from.Day(); ; n++ {
		begin, end := time.Date(from.Year(), from.Month(), n, 0, 0, 0, 0, zone), time.Date(from.Year(), from.Month(), n+1, 0, 0, 0, 0, zone)
		if !begin.Before(c.To) {
			return
		}
		d := p.byDay[time.Date(from.Year(), from.Month(), n, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)]
		switch {
		case d == nil:
		case c.Blackout:
			p.HasBlackouts = true
			d.Closed = addOnce(d.Closed, c.Policy)
		case !c.From.After(begin) && !c.To.Before(end):
			p.HasWindows = true
			d.Shut = addOnce(d.Shut, c.Policy)
		}
	}
}

func addOnce(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// finish sorts the entries of the days, and cuts long days.
func (p *calendarPage) finish(q url.Values) {
	only := q.Get("day")
	for date, d := range p.byDay {
		slices.SortFunc(d.Events, func(a, b event) int {
			return cmp.Or(cmp.Compare(min(a.weight, 2), min(b.weight, 2)), a.At.Compare(b.At), cmp.Compare(a.Text, b.Text))
		})
		if date == only {
			whole := *d
			p.Day = &whole
		}
		if len(d.Events) > dayEvents {
			d.More = len(d.Events) - dayEvents + 1
			d.Events = d.Events[:dayEvents-1]
			d.Link = "/calendar" + with(q, "day", date) + "#day"
		}
	}
}

// zonesOf reads the time zones of policies by their names.
func zonesOf(policies []keyturn.Resource) map[string]*time.Location {
	zones := map[string]*time.Location{}
	for _, r := range policies {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			continue
		}
		if zone, err := time.LoadLocation(policy.Schedule.Timezone); err == nil {
			zones[r.Name] = zone
		}
	}
	return zones
}
