package web

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	// boardPage is how many clusters a page of a rotation shows.
	boardPage = 60
	// worstShown is how many tasks that need somebody are listed above them.
	worstShown = 50
	// rateWindow is what the rate of a rotation is measured over.
	rateWindow = time.Minute
)

// board is a rotation as a matrix: a row for each cluster, a column for each component.
type board struct {
	rotation keyturn.Rotation
	cells    map[keyturn.ID]*keyturn.Cell
	rows     []boardRow
	pageOf   map[keyturn.ID]int
	columns  []keyturn.Component
}

// boardRow is a cluster.
type boardRow struct {
	Project, Cluster string
	Columns          [][]*keyturn.Cell // as board.columns
}

// newBoard takes the cells in the order of their places.
func newBoard(r keyturn.Rotation, cells []keyturn.Cell) *board {
	b := &board{rotation: r, cells: make(map[keyturn.ID]*keyturn.Cell, len(cells)), pageOf: make(map[keyturn.ID]int, len(cells))}
	present := map[keyturn.Component]bool{}
	for _, c := range cells {
		present[c.Component] = true
	}
	for _, c := range []keyturn.Component{keyturn.ComponentShard, keyturn.ComponentConfig, keyturn.ComponentReplicaSet, keyturn.ComponentProject} {
		if present[c] {
			b.columns = append(b.columns, c)
		}
	}
	last := ""
	for i := range cells {
		c := &cells[i]
		if place := c.ProjectID + "\x00" + c.ClusterName; place != last || len(b.rows) == 0 {
			last = place
			b.rows = append(b.rows, boardRow{Project: c.ProjectName, Cluster: c.ClusterName, Columns: make([][]*keyturn.Cell, len(b.columns))})
		}
		row := &b.rows[len(b.rows)-1]
		column := slices.Index(b.columns, c.Component)
		row.Columns[column] = append(row.Columns[column], c)
		b.cells[c.Task], b.pageOf[c.Task] = c, (len(b.rows)-1)/boardPage+1
	}
	return b
}

// apply takes news of cells over, and returns the tasks that became something else.
func (b *board) apply(news []keyturn.Cell) []keyturn.ID {
	var changed []keyturn.ID
	for _, n := range news {
		c, ok := b.cells[n.Task]
		if !ok || c.State == n.State && c.Reason == n.Reason && c.Attempts == n.Attempts && c.Resolution == n.Resolution {
			continue
		}
		c.State, c.Reason, c.Attempts, c.Resolution = n.State, n.Reason, n.Attempts, n.Resolution
		c.StartedAt, c.FinishedAt = n.StartedAt, n.FinishedAt
		changed = append(changed, n.Task)
	}
	return changed
}

// same reports whether a board shows the same tasks: they are those of the plan, as far as it is saved.
func (b *board) same(cells []keyturn.Cell) bool {
	if len(cells) != len(b.cells) {
		return false
	}
	for i := range cells {
		if _, ok := b.cells[cells[i].Task]; !ok {
			return false
		}
	}
	return true
}

func (b *board) pages() int { return max(1, (len(b.rows)+boardPage-1)/boardPage) }

// page returns the rows of a page, from 1.
func (b *board) page(n int) []boardRow {
	from := min(len(b.rows), (n-1)*boardPage)
	return b.rows[from:min(len(b.rows), from+boardPage)]
}

// worst returns what needs somebody: parked before failed, and how many more there are.
func (b *board) worst() (shown []*keyturn.Cell, more int) {
	for _, c := range b.cells {
		if c.State == keyturn.TaskParked || c.State == keyturn.TaskFailed {
			shown = append(shown, c)
		}
	}
	slices.SortFunc(shown, func(a, b *keyturn.Cell) int {
		if a.State != b.State {
			if a.State == keyturn.TaskParked {
				return -1
			}
			return 1
		}
		return bytes.Compare(a.Task[:], b.Task[:])
	})
	if more = len(shown) - worstShown; more > 0 {
		return shown[:worstShown], more
	}
	return shown, 0
}

// summary is what the head of a rotation's page says.
type summary struct {
	keyturn.Rotation
	Bar      bar
	Percent  int
	Took     time.Duration
	Busy     int     // tasks under way
	Rate     float64 // tasks a minute, over the last one
	Left     time.Duration
	Ends     bool // it has ended
	Resume   bool // something is missing of it
	Now      time.Time
	Inferred int
}

func (b *board) summary(now time.Time) summary {
	r := b.rotation
	row := rowOf(r, now)
	s := summary{Rotation: r, Bar: row.Bar, Took: row.Took, Percent: percent(r.Counts.Total-r.Counts.Pending, r.Counts.Total), Ends: r.State.Final(), Now: now}
	recent := 0
	for c := range maps.Values(b.cells) {
		switch {
		case c.State == keyturn.TaskIntended:
			s.Busy++
		case c.State.Final() && c.State != keyturn.TaskSkipped && c.FinishedAt != nil && now.Sub(*c.FinishedAt) < rateWindow:
			recent++
		}
		if c.Resolution == keyturn.ResolutionInferred {
			s.Inferred++
		}
	}
	over := min(rateWindow, max(row.Took, time.Second))
	s.Rate = float64(recent) / over.Minutes()
	if s.Rate > 0 && !s.Ends {
		s.Left = time.Duration(float64(r.Counts.Pending) / s.Rate * float64(time.Minute))
	}
	s.Resume = s.Ends && r.State != keyturn.RotationSucceeded && r.Counts.Total > 0
	return s
}

// count makes the rotation's counts those of its cells. Units of its plan that are not saved yet have none.
func (b *board) count() {
	n := len(b.cells)
	c := keyturn.Counts{Total: n}.WithUnsaved(max(0, b.rotation.Counts.Total-n), b.rotation.Halted)
	for _, cell := range b.cells {
		switch cell.State {
		case keyturn.TaskSucceeded:
			c.Succeeded++
		case keyturn.TaskFailed:
			c.Failed++
		case keyturn.TaskSkipped:
			c.Skipped++
		case keyturn.TaskParked:
			c.Parked++
		default:
			c.Pending++
		}
	}
	if c.Total > 0 {
		b.rotation.Counts = c
	}
}

// worstData is what the list of tasks that need somebody shows.
type worstData struct {
	Cells []*keyturn.Cell
	More  int
}

// parts are the fragments of a rotation's page that follow what happens, by the id of their element.
func (s *Site) parts(b *board, now time.Time, tasks []keyturn.ID) (map[string]string, error) {
	out := make(map[string]string, len(tasks)+3)
	sum := b.summary(now)
	shown, more := b.worst()
	for id, part := range map[string]struct {
		template string
		data     any
	}{
		"summary": {"rotation-summary", sum}, "actions": {"rotation-actions", sum}, "worst": {"rotation-worst", worstData{shown, more}},
	} {
		text, err := s.fragment(part.template, part.data)
		if err != nil {
			return nil, err
		}
		out[id] = text
	}
	for _, id := range tasks {
		text, err := s.fragment("cell", b.cells[id])
		if err != nil {
			return nil, err
		}
		out["t-"+id.String()] = text
	}
	return out, nil
}

func (s *Site) fragment(name string, data any) (string, error) {
	var text bytes.Buffer
	if err := s.templates.fragment(&text, "rotation", name, data); err != nil {
		return "", fmt.Errorf("drawing %s: %w", name, err)
	}
	return text.String(), nil
}
