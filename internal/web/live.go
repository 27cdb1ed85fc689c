package web

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	// pollEvery is how often the database is asked about a rotation that somebody watches, however many do.
	pollEvery = time.Second
	// pollTimeout bounds what is asked at once: whoever waits is told, and asks again.
	pollTimeout = 10 * time.Second
	// overlap is how far back is looked for changes: a transaction may commit that much after its time.
	overlap = 10 * time.Second
	// rereadEvery is how often everything is read again, so that nothing that was missed stays so.
	rereadEvery = 15 * time.Second
	// lingers is how long a rotation is looked at after the last one who watched it.
	lingers = 10 * time.Second
	// backlog is how many events are kept for those whose connection was lost.
	backlog = 120
	// maxWatched bounds the rotations that are watched at once.
	maxWatched = 100
)

var errTooMany = errors.New("too many rotations are watched")

// LiveStore reads what a rotation's page follows.
type LiveStore interface {
	Rotation(ctx context.Context, id keyturn.ID) (keyturn.Rotation, error)
	// RotationCells returns all tasks of a rotation with the places of their units, by project and cluster.
	RotationCells(ctx context.Context, rotation keyturn.ID) ([]keyturn.Cell, error)
	// RotationChanges returns those that were begun or ended since the time, perhaps more, without the places.
	RotationChanges(ctx context.Context, rotation keyturn.ID, since time.Time) ([]keyturn.Cell, error)
	// Now is the database's clock.
	Now(ctx context.Context) (time.Time, error)
}

// watches are the rotations that somebody looks at.
type watches struct {
	mu   sync.Mutex
	open map[keyturn.ID]*watch
}

// keep remembers a watch; the watches must be locked.
func (ws *watches) keep(w *watch) {
	if ws.open == nil {
		ws.open = map[keyturn.ID]*watch{}
	}
	ws.open[w.id] = w
}

// dropIdle forgets a rotation that nobody watches any more: its watch ends with its next poll. The watches
// must be locked.
func (ws *watches) dropIdle() {
	for id, w := range ws.open {
		w.mu.Lock()
		idle := w.watched == 0
		w.mu.Unlock()
		if idle {
			delete(ws.open, id)
			return
		}
	}
}

// watch follows one rotation for all who look at it.
type watch struct {
	site  *Site
	id    keyturn.ID
	epoch string // tells this watch's events from another's

	ready chan struct{} // closed when the board was read for the first time, or could not be
	err   error         // why it could not

	mu      sync.Mutex
	board   *board
	at      time.Time // of the board, by the database's clock
	seq     int
	events  []happening
	watched int
	idle    time.Time     // since when nobody watches
	news    chan struct{} // closed at the next event
}

// happening is what changed, drawn once for all.
type happening struct {
	seq   int
	parts map[string]string
	pages map[string]int // of the parts that are on one page only
	say   string         // for who can't see it
}

// watch returns the watch of a rotation, begun if nobody watches it yet. Whoever gets one must leave it.
func (s *Site) watch(ctx context.Context, id keyturn.ID) (*watch, error) {
	s.watches.mu.Lock()
	w, ok := s.watches.open[id]
	if !ok {
		if len(s.watches.open) >= maxWatched {
			s.watches.dropIdle()
		}
		if len(s.watches.open) >= maxWatched || s.live.Err() != nil {
			s.watches.mu.Unlock()
			return nil, errTooMany
		}
		w = &watch{site: s, id: id, epoch: newSecret()[:10], ready: make(chan struct{}), news: make(chan struct{})}
		s.watches.keep(w)
		s.work.Go(w.run)
	}
	w.enter()
	s.watches.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
		w.leave()
		return nil, ctx.Err()
	}
	if w.err != nil {
		w.leave()
		return nil, w.err
	}
	return w, nil
}

func (w *watch) enter() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched++
}

func (w *watch) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched--; w.watched == 0 {
		w.idle = w.site.Now()
	}
}

// run polls until nobody has watched for a while.
func (w *watch) run() {
	ctx := w.site.live
	w.err = w.read(ctx)
	close(w.ready)
	if w.err != nil {
		w.forget(true)
		return
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	reread := w.site.Now()
	for !w.forget(false) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.forget(true)
			return
		}
		all := w.site.Now().Sub(reread) >= rereadEvery
		if all {
			reread = w.site.Now()
		}
		if err := w.poll(ctx, all); err != nil && ctx.Err() == nil {
			w.site.Logger.Warn("following a rotation", zap.Stringer("rotation", w.id), zap.Error(err))
		}
	}
}

// forget ends the watch if nobody has watched for a while, or at once.
func (w *watch) forget(now bool) bool {
	s := w.site
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if kept := s.watches.open[w.id] == w; !now && kept && (w.watched > 0 || s.Now().Sub(w.idle) < lingers) {
		return false
	}
	if s.watches.open[w.id] == w {
		delete(s.watches.open, w.id)
	}
	return true
}

// readBoard reads a rotation with all its cells.
func (s *Site) readBoard(ctx context.Context, id keyturn.ID) (*board, time.Time, error) {
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, now, fmt.Errorf("asking the database for the time: %w", err)
	}
	r, err := s.Store.Rotation(ctx, id)
	if err != nil {
		return nil, now, err
	}
	cells, err := s.Store.RotationCells(ctx, id)
	if err != nil {
		return nil, now, err
	}
	b := newBoard(r, cells)
	b.count()
	return b, now, nil
}

func (w *watch) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	b, now, err := w.site.readBoard(ctx, w.id)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.board, w.at = b, now
	return nil
}

// poll asks the database what became of the rotation, and makes an event of it.
func (w *watch) poll(ctx context.Context, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	s := w.site
	now, err := s.Store.Now(ctx)
	if err != nil {
		return err
	}
	r, err := s.Store.Rotation(ctx, w.id)
	if err != nil {
		return err
	}
	w.mu.Lock()
	since, known, was := w.at.Add(-overlap), len(w.board.cells), w.board.rotation
	w.mu.Unlock()
	// Its tasks appear all at once, when it is planned, or in a few parts; what ended it may have ended many of them.
	all = all || known == 0 || known < r.Counts.Total || was.State != r.State
	var cells []keyturn.Cell
	if all {
		cells, err = s.Store.RotationCells(ctx, w.id)
	} else {
		cells, err = s.Store.RotationChanges(ctx, w.id, since)
	}
	if err != nil {
		return err
	}
	return w.take(r, cells, all, now)
}

// take makes an event of what is new.
func (w *watch) take(r keyturn.Rotation, cells []keyturn.Cell, all bool, now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, was := w.board, w.board.rotation
	w.at = now
	e := happening{pages: map[string]int{}}
	if all && !b.same(cells) {
		w.board = newBoard(r, cells)
		w.board.count()
		e.say = "The rotation was planned."
		e.parts = map[string]string{} // whoever watches asks for the page again
		w.publish(e)
		return nil
	}
	changed := b.apply(cells)
	b.rotation = r
	b.count()
	// The time that is left moves while it runs, also when nothing else does.
	if len(changed) == 0 && was.State == r.State && r.State.Final() && was.Trouble == r.Trouble {
		return nil
	}
	parts, err := w.site.parts(b, now, changed)
	if err != nil {
		return err
	}
	e.parts = parts
	for _, id := range changed {
		e.pages["t-"+id.String()] = b.pageOf[id]
	}
	if was.State != r.State {
		e.say = "The rotation is " + string(r.State) + "."
	}
	w.publish(e)
	return nil
}

// publish hands an event out; the watch must be locked.
func (w *watch) publish(e happening) {
	w.seq++
	e.seq = w.seq
	w.events = append(w.events, e)
	if len(w.events) > backlog {
		w.events = append([]happening(nil), w.events[len(w.events)-backlog:]...)
	}
	close(w.news)
	w.news = make(chan struct{})
}

// mark names the newest event, so that whoever knows what was then can ask for what came after.
func (w *watch) mark() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.markOf(w.seq)
}

func (w *watch) markOf(seq int) string { return w.epoch + "." + strconv.Itoa(seq) }

// after returns what came after a mark, as one page sees it, and a channel that is closed when there is
// more. When that is not known any more, it is the whole page.
func (w *watch) after(mark string, page int) (message, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := message{Mark: w.markOf(w.seq), Ended: w.board.rotation.State.Final()}
	epoch, text, _ := strings.Cut(mark, ".")
	seq, err := strconv.Atoi(text)
	if err != nil || epoch != w.epoch || seq > w.seq || w.seq-seq > len(w.events) {
		parts, err := w.whole(page)
		m.Parts = parts
		return m, w.news, err
	}
	if seq == w.seq {
		return m, w.news, nil
	}
	m.Parts = map[string]string{}
	for _, e := range w.events[len(w.events)-(w.seq-seq):] {
		if len(e.parts) == 0 {
			m.Reload = true
		}
		for id, html := range e.parts {
			if on := e.pages[id]; on == 0 || on == page {
				m.Parts[id] = html
			}
		}
		if e.say != "" {
			m.Say = e.say
		}
	}
	return m, w.news, nil
}

// whole draws everything that a page shows of the rotation; the watch must be locked.
func (w *watch) whole(page int) (map[string]string, error) {
	var tasks []keyturn.ID
	for _, row := range w.board.page(page) {
		for _, column := range row.Columns {
			for _, c := range column {
				tasks = append(tasks, c.Task)
			}
		}
	}
	return w.site.parts(w.board, w.at, tasks)
}
