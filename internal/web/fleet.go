package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/fleet"
	"github.com/keyturn/keyturn/internal/resource"
)

const (
	// fleetLife is how long a map of everything is shown to others, too.
	fleetLife    = 3 * time.Second
	fleetTimeout = 20 * time.Second
	// fleetRows is how many units a page of the table has, fleetProjects how many groups are summed up at most.
	fleetRows     = 100
	fleetProjects = 1000
)

// FleetStore reads all units at once.
type FleetStore interface {
	// FleetUnits returns all units, or those of one target, in no order.
	FleetUnits(ctx context.Context, target string) ([]keyturn.FleetUnit, error)
	// TasksOfUnit returns the tasks that a unit had in its target's newest rotations, the newest first.
	TasksOfUnit(ctx context.Context, unit string, limit int) ([]keyturn.Task, error)
	ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error)
	// Now is the database's clock.
	Now(ctx context.Context) (time.Time, error)
}

// readFleet makes a map of all units.
func (s *Site) readFleet(ctx context.Context) (*fleet.Map, error) {
	units, err := s.Store.FleetUnits(ctx, "")
	if err != nil {
		return nil, err
	}
	stored, err := s.Store.ResourcesOf(ctx, keyturn.KindPolicy)
	if err != nil {
		return nil, fmt.Errorf("listing policies: %w", err)
	}
	policies := make([]keyturn.Policy, 0, len(stored))
	for _, r := range stored {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return nil, err
		}
		policies = append(policies, policy)
	}
	at, err := s.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	return fleet.Make(units, policies, at), nil
}

// legendItem is one level in the legend, which is also a filter.
type legendItem struct {
	Level fleet.Level
	Text  string
	Count int
	On    bool   // the page shows only these
	Link  string // to turn it on or off
}

// fleetPage is what the fleet shows.
type fleetPage struct {
	At       time.Time
	Filter   fleet.Filter
	Older    string   // of the address
	Olders   []string // what is offered
	Group    string   // target, project or cluster
	View     string   // map, projects or table
	Views    []tab
	Targets  []string
	Counts   fleet.Counts // of what is shown
	All      int
	Legend   []legendItem
	Cells    string // the address of the cells
	Rows     []fleet.Cell
	Page     int
	From, To int
	Previous string
	Next     string
	Sums     []projectRow
	More     int // projects that are not listed
	Filtered bool
}

type tab struct {
	Title, Link string
	On          bool
}

// projectRow sums up a project.
type projectRow struct {
	fleet.Summary
	Link string
	Bar  []segment
}

// filterOf reads the filter of an address.
func filterOf(q url.Values) fleet.Filter {
	older, _ := keyturn.ParseDuration(q.Get("older")) // nonsense narrows nothing
	return fleet.Filter{
		Older: older.Std(), Text: q.Get("q"), Target: q.Get("target"), Project: q.Get("project"), Level: q.Get("level"),
		Rotatable: q.Get("rotatable"), Task: q.Get("task"),
	}
}

// with is the query with one value set, or left out if it is empty, and from the first page on.
func with(q url.Values, name, value string) string {
	out := url.Values{}
	for k, v := range q {
		if k != "page" && len(v) > 0 && v[0] != "" {
			out.Set(k, v[0])
		}
	}
	out.Del(name)
	if value != "" {
		out.Set(name, value)
	}
	if len(out) == 0 {
		return ""
	}
	return "?" + out.Encode()
}

func (s *Site) fleetPage(ctx context.Context, v *visit) (*view, error) {
	all, err := s.fleets.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the fleet: %w", err)
	}
	q := v.URL.Query()
	page := fleetPage{
		At: all.At, Filter: filterOf(q), Group: oneOf(q.Get("group"), "project", "target", "cluster"),
		View: oneOf(q.Get("view"), "map", "projects", "table"), Targets: all.Targets(), All: len(all.Cells), Cells: "/fleet/cells.json" + with(q, "view", ""),
	}
	if page.Olders = []string{"90d", "365d"}; page.Filter.Older > 0 {
		if page.Older = q.Get("older"); !slices.Contains(page.Olders, page.Older) {
			page.Olders = append(page.Olders, page.Older)
		}
	}
	page.Filtered = page.Filter != fleet.Filter{}
	cells := page.Filter.Apply(all)
	page.Counts = fleet.Count(cells)
	unleveled := page.Filter
	unleveled.Level = ""
	page.Legend = legend(q, all.Ages, page.Filter.Level, fleet.Count(unleveled.Apply(all)))
	for _, name := range []string{"map", "projects", "table"} {
		page.Views = append(page.Views, tab{
			Title: map[string]string{"map": "Map", "projects": "Projects", "table": "Table"}[name],
			Link:  "/fleet" + with(q, "view", name), On: page.View == name,
		})
	}
	if page.View == "table" {
		page.table(q, cells)
	} else {
		page.projects(cells)
	}
	return &view{Title: "Fleet", Nav: "fleet", Template: "fleet", Fragment: "fleet-part", Data: page, Wide: true}, nil
}

// oneOf returns value if it is one of the options, the first of them if not.
func oneOf(value string, options ...string) string {
	for _, o := range options {
		if value == o {
			return value
		}
	}
	return options[0]
}

// legend says what the levels mean, in days if that is the same for all units.
func legend(q url.Values, ages *fleet.Ages, on string, counts fleet.Counts) []legendItem {
	var items []legendItem
	for _, level := range fleet.Levels() {
		item := legendItem{Level: level, Text: levelText(level, ages), Count: counts.Of(level), On: level.String() == on}
		if item.On {
			item.Link = "/fleet" + with(q, "level", "")
		} else {
			item.Link = "/fleet" + with(q, "level", level.String())
		}
		items = append(items, item)
	}
	return items
}

func levelText(level fleet.Level, ages *fleet.Ages) string {
	if level == fleet.Unknown {
		return "never seen"
	}
	if ages == nil {
		return map[fleet.Level]string{
			fleet.Fresh: "fresh", fleet.Aging: "aging", fleet.Warn: "past warning age", fleet.Old: "old", fleet.Critical: "past critical age",
		}[level]
	}
	days := func(d time.Duration) string { return number(int(d / keyturn.Day)) }
	middle := ages.Warn + (ages.Critical-ages.Warn)/2
	switch level {
	case fleet.Fresh:
		return "under " + days(ages.Warn/2) + " d"
	case fleet.Aging:
		return "under " + days(ages.Warn) + " d"
	case fleet.Warn:
		return days(ages.Warn) + " d and more"
	case fleet.Old:
		return days(middle) + " d and more"
	default:
		return days(ages.Critical) + " d and more"
	}
}

// table fills in one page of the table.
func (p *fleetPage) table(q url.Values, cells []fleet.Cell) {
	p.Page, _ = strconv.Atoi(q.Get("page"))
	last := max(1, (len(cells)+fleetRows-1)/fleetRows)
	p.Page = min(max(p.Page, 1), last)
	begin := (p.Page - 1) * fleetRows
	end := min(begin+fleetRows, len(cells))
	p.Rows, p.From, p.To = cells[begin:end], begin+1, end
	if p.Page > 1 {
		p.Previous = "/fleet" + with(q, "page", strconv.Itoa(p.Page-1))
	}
	if p.Page < last {
		p.Next = "/fleet" + with(q, "page", strconv.Itoa(p.Page+1))
	}
}

// projects sums the cells up by project; of one project, by cluster.
func (p *fleetPage) projects(cells []fleet.Cell) {
	sums := fleet.Summaries(cells, p.Filter.Project != "")
	if len(sums) > fleetProjects {
		p.More = len(sums) - fleetProjects
		sums = sums[:fleetProjects]
	}
	for _, sum := range sums {
		row := projectRow{Summary: sum, Link: "/fleet?" + url.Values{"target": {sum.Target}, "project": {sum.ProjectID}}.Encode()}
		if sum.Cluster != "" {
			row.Link = "/fleet?" + url.Values{"target": {sum.Target}, "project": {sum.ProjectID}, "q": {sum.Cluster}, "view": {"table"}}.Encode()
		}
		x := 0.0
		for _, level := range fleet.Levels() {
			if n := sum.Counts.Of(level); n > 0 {
				width := 100 * float64(n) / float64(sum.Counts.Total)
				row.Bar = append(row.Bar, segment{Tone: level.String(), X: x, W: width})
				x += width
			}
		}
		p.Sums = append(p.Sums, row)
	}
}

// fleetCells answers with the cells that the map draws.
func (s *Site) fleetCells(w http.ResponseWriter, r *http.Request) {
	v, ok := s.enter(w, r)
	if !ok {
		return
	}
	all, err := s.fleets.get(r.Context())
	if err != nil {
		s.fail(w, r, &v.session, fmt.Errorf("reading the fleet: %w", err))
		return
	}
	body, err := fleet.Encode(filterOf(r.URL.Query()).Apply(all), all.At)
	if err != nil {
		s.Logger.Error("encoding the fleet", zap.Error(err))
		http.Error(w, "something went wrong; the server's log says more", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept-Encoding, Cookie")
	writeCompressed(w, r, http.StatusOK, body)
}

// fleetPlace leads from a place on the map to the unit that is there. The map does not know the ids.
func (s *Site) fleetPlace(w http.ResponseWriter, r *http.Request) {
	v, ok := s.enter(w, r)
	if !ok {
		return
	}
	all, err := s.fleets.get(r.Context())
	if err != nil {
		s.fail(w, r, &v.session, fmt.Errorf("reading the fleet: %w", err))
		return
	}
	q := r.URL.Query()
	found := all.Find(q.Get("target"), q.Get("project"), q.Get("cluster"), q.Get("name"))
	switch len(found) {
	case 0:
		s.fail(w, r, &v.session, &apiError{Status: http.StatusNotFound, Detail: "there is no such unit any more; reload the map"})
	case 1:
		http.Redirect(w, r, "/units/"+url.PathEscape(found[0].ID), http.StatusSeeOther)
	default:
		list := url.Values{"view": {"table"}, "target": {q.Get("target")}, "project": {q.Get("project")}, "q": {q.Get("cluster") + " " + q.Get("name")}}
		http.Redirect(w, r, "/fleet?"+list.Encode(), http.StatusSeeOther)
	}
}
