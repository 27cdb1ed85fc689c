package model

import "fmt"

// move is one thing that may happen.
type move struct {
	next   state
	format string
	args   []any // of the format: only the moves of a trace are ever written out
}

func (m move) String() string { return fmt.Sprintf(m.format, m.args...) }

// moves are all that may happen in a state.
func (r Rules) moves(s state) []move {
	var all []move
	add := func(next state, format string, args ...any) {
		all = append(all, move{next: next, format: format, args: args})
	}
	r.queueMoves(s, add)
	systemMoves(s, add)
	orderMoves(s, add)
	for w := range nWorkers {
		if s.workers[w].step != idle {
			add(crashed(s, w), "worker %d dies", w)
		}
		r.workerMoves(s, w, add)
	}
	if next, ok := ticked(s); ok {
		add(next, "time passes")
	}
	return all
}

type adder func(next state, format string, args ...any)

// queueMoves: messages come, come again, and are lost; the sweeper makes new ones.
func (r Rules) queueMoves(s state, add adder) {
	for t, row := range s.rows {
		if row.phase == unasked {
			asked := s
			asked.rows[t] = taskRow(pending, s.recorded)
			add(asked, "the rotation of task %d is requested", t)
		}
		if row.phase.final() {
			continue
		}
		if row.queued {
			lost := s
			lost.rows[t].queued = false
			add(lost, "the queue loses task %d", t)
		} else if r.Sweeper && row.lease == 0 {
			swept := s
			swept.rows[t].queued = true
			add(swept, "the sweeper hands out task %d", t)
		}
	}
}

// systemMoves: a change is carried out or not, shows, and is answered or not.
func systemMoves(s state, add adder) {
	for i, p := range s.puts {
		switch {
		case !p.there:
		case !p.done:
			done := s
			done.key++
			done.made[p.task]++
			done.puts[i].done, done.puts[i].changed = true, done.key
			add(done, "the system carries out the change of task %d", p.task)
			never := s
			never.puts[i] = put{}
			add(never, "the change of task %d is lost on its way", p.task)
		default:
			shows := s
			shows.shown = max(shows.shown, p.changed)
			if p.waited {
				shows.workers[p.worker].step = answered
			}
			shows.puts[i] = put{}
			add(shows, "the change of task %d shows and is answered", p.task)
			if p.waited {
				early := s
				early.workers[p.worker].step = answered
				early.puts[i].waited = false
				add(early, "the change of task %d is answered before it shows", p.task)
			}
		}
	}
}

func crashed(s state, w int) state {
	s.workers[w] = worker{}
	return s.gaveUp(w)
}

// gaveUp: nobody waits any more for what the worker has sent. From now on the system has settle.
func (s state) gaveUp(w int) state {
	for i := range s.puts {
		if p := &s.puts[i]; p.there && p.waited && int(p.worker) == w {
			p.waited, p.left = false, min(p.left, settle)
		}
	}
	for i := range s.orders {
		if o := &s.orders[i]; o.there && o.waited && int(o.worker) == w {
			o.waited, o.left = false, min(o.left, settle)
		}
	}
	return s
}

// ticked lets time pass, unless a change must show first: the system keeps its word.
func ticked(s state) (state, bool) {
	for i := range s.puts {
		if p := &s.puts[i]; p.there {
			if p.left == 0 {
				return s, false
			}
			p.left--
		}
	}
	for i := range s.orders {
		if o := &s.orders[i]; o.there {
			if o.left == 0 {
				return s, false
			}
			o.left--
		}
	}
	for i := range s.rows {
		s.rows[i].lease -= min(s.rows[i].lease, 1)
		s.rows[i].unsettled -= min(s.rows[i].unsettled, 1)
	}
	for i := range s.workers {
		if s.workers[i].step == leave || s.workers[i].step == ordering {
			s.workers[i].since = min(s.workers[i].since+1, slack+1)
		}
	}
	return s, true
}

func (r Rules) workerMoves(s state, w int, add adder) {
	me := s.workers[w]
	switch me.step {
	case idle:
		r.deliveries(s, w, add)
	case prepared:
		r.intend(s, w, add)
	case leave:
		r.send(s, w, add)
	case sent:
		next := s.gaveUp(w)
		next.workers[w].step = unclear
		add(next, "worker %d sees no answer", w)
	case answered, unclear, taken:
		r.look(s, w, add)
	case turned:
		next := r.record(s, w, func(row *row) { *row = ended(*row, succeeded) })
		if next.rows[me.task].phase == succeeded && s.rows[me.task].phase != succeeded {
			next.recorded = s.shown
		}
		add(next, "worker %d records the new key of task %d", w, me.task)
	case again:
		r.renew(s, w, add)
	case ordering, ordered, made:
		r.makingMoves(s, w, add)
	}
}

// deliveries: the message says whether the task had an intent when it was handed out; the row may have
// moved on since, so both ways are tried.
func (r Rules) deliveries(s state, w int, add adder) {
	for t, row := range s.rows {
		if !row.queued {
			continue
		}
		fresh := s
		fresh.workers[w] = worker{step: prepared, task: uint8(t), before: s.shown}
		add(fresh, "worker %d gets task %d and sees key %d", w, t, s.shown)
		if row.phase == intended {
			r.take(s, w, t, add)
		}
		if row.phase.final() {
			done := s
			done.rows[t].queued = false
			add(done, "worker %d acknowledges task %d, which has ended", w, t)
		}
	}
}

func (r Rules) take(s state, w, t int, add adder) {
	if r.Lease && s.rows[t].lease > 0 {
		return
	}
	s = s.newEpoch(w, t)
	s.rows[t].lease = lease
	me := &s.workers[w]
	me.step, me.task, me.before, me.since = taken, uint8(t), s.rows[t].before, 0 //nolint:gosec // 0 or 1
	if !r.Look {
		me.step = again
	}
	add(s, "worker %d takes over the intent of task %d", w, t)
}

// newEpoch: from now on only w's results of the task are taken.
func (s state) newEpoch(w, t int) state {
	for i := range s.workers {
		if int(s.workers[i].task) == t {
			s.workers[i].mine = false
		}
	}
	s.workers[w].mine = true
	return s
}

func (r Rules) intend(s state, w int, add adder) {
	t := int(s.workers[w].task)
	switch {
	case s.rows[t].phase == intended:
		r.take(s, w, t, add)
		gone := s
		gone.workers[w] = worker{}
		add(gone, "worker %d leaves task %d, which somebody has", w, t)
	case r.Turned && s.rows[t].phase == pending && s.recorded > s.rows[t].asked:
		s.rows[t] = ended(s.rows[t], skipped)
		s.workers[w] = worker{}
		add(s, "worker %d skips task %d: the key is newer", w, t)
	case s.rows[t].phase != pending, r.OneOpen && s.otherOpen(t):
		s.workers[w] = worker{}
		add(s, "worker %d leaves task %d", w, t)
	default:
		s = s.newEpoch(w, t)
		s.rows[t] = row{
			phase: intended, before: s.workers[w].before, lease: lease, unsettled: slack + request + settle + 1,
			attempts: 1, queued: s.rows[t].queued, asked: s.rows[t].asked,
		}
		s.workers[w].step = leave
		if r.Makes {
			s.workers[w].step = ordering
		}
		add(s, "worker %d records the intent of task %d", w, t)
	}
}

func (s state) otherOpen(t int) bool {
	for i, row := range s.rows {
		if i != t && row.phase == intended {
			return true
		}
	}
	return false
}

func (r Rules) send(s state, w int, add adder) {
	me := s.workers[w]
	refused := r.record(s, w, func(row *row) { row.phase, row.lease, row.unsettled = pending, 0, 0 })
	if r.Guard && me.since > slack {
		add(refused, "worker %d is too late and sends nothing", w)
		return
	}
	add(refused, "worker %d can't send: proven not sent", w)
	for i, p := range s.puts {
		if p.there {
			continue
		}
		s.puts[i] = put{there: true, waited: true, worker: uint8(w), task: me.task, left: request + settle} //nolint:gosec // 0 or 1
		s.workers[w].step = sent
		add(s, "worker %d sends the change of task %d", w, me.task)
		return
	}
}

func (r Rules) look(s state, w int, add adder) {
	me := s.workers[w]
	task := s.rows[me.task]
	if me.step == taken && r.Makes && !task.made {
		r.makeAgain(s, w, add)
		return
	}
	if s.shown != me.before {
		s.workers[w].step = turned
		add(s, "worker %d sees key %d", w, s.shown)
		return
	}
	switch me.step {
	case answered:
		add(r.record(s, w, func(row *row) { row.answered, row.lease = true, 0 }), "worker %d records the answer, and looks later", w)
	case unclear:
		add(r.record(s, w, func(row *row) { row.lease, row.unsettled = 0, min(row.unsettled, settle+1) }), "worker %d looks later", w)
	case taken:
		switch {
		case task.answered && task.unsettled > 0, r.Settle && task.unsettled > 0:
			add(r.record(s, w, func(row *row) { row.lease = 0 }), "worker %d waits until task %d is settled", w, me.task)
		case task.answered || task.attempts >= attempts:
			add(r.record(s, w, func(row *row) { *row = ended(*row, parked) }), "worker %d parks task %d", w, me.task)
		default:
			s.workers[w].step = again
			add(s, "worker %d sees that task %d is settled and shows the key before", w, me.task)
		}
	}
}

func (r Rules) renew(s state, w int, add adder) {
	t := int(s.workers[w].task)
	if !s.workers[w].mine && r.Fence || s.rows[t].phase != intended || s.rows[t].attempts >= attempts {
		s.workers[w] = worker{}
		add(s, "worker %d leaves task %d to who has it now", w, t)
		return
	}
	s = s.newEpoch(w, t)
	task := &s.rows[t]
	task.lease, task.unsettled, task.attempts, task.answered = lease, slack+request+settle+1, task.attempts+1, false
	s.workers[w].step, s.workers[w].since = leave, 0
	add(s, "worker %d renews the intent of task %d", w, t)
}

// record changes the worker's row if its epoch is still the row's, and ends the worker's part.
func (r Rules) record(s state, w int, change func(*row)) state {
	me := s.workers[w]
	s.workers[w] = worker{}
	s = s.gaveUp(w)
	if task := &s.rows[me.task]; task.phase == intended && (me.mine || !r.Fence) {
		change(task)
	}
	return s
}

func ended(row row, phase phase) row {
	queued := row.queued
	row = taskRow(phase, 0)
	row.queued = queued
	return row
}

func taskRow(phase phase, asked uint8) row {
	return row{phase: phase, asked: asked, queued: phase == pending}
}
