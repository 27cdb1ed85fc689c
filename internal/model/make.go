package model

// order asks for a task's key, elsewhere. It looks whether there is one and then makes one if it saw none: two
// orders for a task that are under way at the same time may make two.
type order struct {
	there  bool
	looked bool
	none   bool // it saw no key
	waited bool // its worker still waits for the answer
	worker uint8
	task   uint8
	left   uint8 // ticks until it is carried out, or never will be
}

// orderMoves: an order looks, is carried out or lost, and is answered or not.
func orderMoves(s state, add adder) {
	for i, o := range s.orders {
		switch {
		case !o.there:
		case !o.looked:
			looks := s
			looks.orders[i].looked, looks.orders[i].none = true, s.keys[o.task] == 0
			add(looks, "the order for task %d looks for its key", o.task)
			never := s
			never.orders[i] = order{}
			add(never, "the order for task %d is lost on its way", o.task)
		default:
			done := s
			if o.none {
				done.keys[o.task]++
			}
			done.orders[i] = order{}
			if o.waited {
				done.workers[o.worker].step = made
			}
			add(done, "the order for task %d is carried out", o.task)
		}
	}
}

func (r Rules) makingMoves(s state, w int, add adder) {
	me := s.workers[w]
	switch me.step {
	case ordering:
		r.order(s, w, add)
	case ordered:
		add(r.record(s, w, func(row *row) { row.lease, row.unsettled = 0, min(row.unsettled, settle+1) }), "worker %d sees no key, and orders it later", w)
	case made:
		r.amend(s, w, add)
	}
}

func (r Rules) order(s state, w int, add adder) {
	me := s.workers[w]
	if r.Guard && me.since > slack {
		add(r.record(s, w, func(row *row) { row.phase, row.lease, row.unsettled = pending, 0, 0 }), "worker %d is too late and orders nothing", w)
		return
	}
	add(r.record(s, w, func(row *row) { row.lease, row.unsettled = 0, 0 }), "worker %d is refused a key for now", w)
	for i, o := range s.orders {
		if o.there {
			continue
		}
		s.orders[i] = order{there: true, waited: true, worker: uint8(w), task: me.task, left: request + settle} //nolint:gosec // 0 or 1
		s.workers[w].step = ordered
		add(s, "worker %d orders a key for task %d", w, me.task)
		return
	}
}

// amend makes the key durable that was made. What comes next is sent by a guard that counts anew.
func (r Rules) amend(s state, w int, add adder) {
	me := s.workers[w]
	task := &s.rows[me.task]
	if task.phase != intended || !me.mine && r.Fence {
		s.workers[w] = worker{}
		add(s, "worker %d leaves task %d to who has it now", w, me.task)
		return
	}
	if r.Amend {
		task.made, task.lease, task.unsettled = true, lease, slack+request+settle+1
	}
	s.workers[w].step, s.workers[w].since = leave, 0
	add(s, "worker %d amends the intent of task %d", w, me.task)
}

// makeAgain goes on with an intent whose key is not made, as far as anybody knows. Nothing was sent for it.
func (r Rules) makeAgain(s state, w int, add adder) {
	me := s.workers[w]
	task := &s.rows[me.task]
	if r.Settle && task.unsettled > 0 {
		add(r.record(s, w, func(row *row) { row.lease = 0 }), "worker %d waits until no order for task %d can be under way", w, me.task)
		return
	}
	if !me.mine && r.Fence || task.phase != intended {
		s.workers[w] = worker{}
		add(s, "worker %d leaves task %d to who has it now", w, me.task)
		return
	}
	if r.Renew {
		task.lease, task.unsettled = lease, slack+request+settle+1
	}
	s.workers[w].step, s.workers[w].since = ordering, 0
	add(s, "worker %d renews the intent of task %d, to make its key", w, me.task)
}
