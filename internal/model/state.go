// Package model is the protocol of docs/protocol.md as a state machine small enough to visit every
// state that it can ever be in.
//
// Two workers carry out the tasks of two rotations on one unit. Whatever can happen between two of their
// steps may happen: a crash, a pause of any length, a message that comes again or is lost, a request
// that is carried out late or never, an answer that does not come. What the code promises is
// checked in each state; Explore returns the shortest way to one that breaks it.
//
// Time is counted in ticks, and only differences matter, so that the states are finite.
package model

// Limits in ticks. They keep the order of the real ones: a change is sent within slack of its intent and
// waits request for its answer; the lease is longer than both; the system shows every change
// within settle after the worker gave up waiting for it.
const (
	slack   = 1
	request = 1
	lease   = slack + request + 1
	settle  = 2

	attempts = 2 // the change may be sent as often as this for one task; then a person must look
	nWorkers = 2
	maxTasks = 2
	maxPuts  = 2
)

// phase is how far a task's row in the database is.
type phase uint8

const (
	absent  phase = iota // the model has fewer tasks
	unasked              // its rotation is not requested yet
	pending
	intended
	succeeded
	skipped // the unit's key is newer than the request
	parked
)

func (p phase) final() bool { return p != pending && p != intended }

// row is a task in the database.
type row struct {
	phase     phase
	asked     uint8 // the newest key that was recorded when its rotation was requested
	before    uint8 // the key that its intent saw
	lease     uint8 // ticks that nobody else may take it; 0: free
	unsettled uint8 // ticks until the system must show the change if it was ever sent
	attempts  uint8
	answered  bool // the system's acceptance is recorded
	made      bool // its key was made, and the intent says so (Rules.Makes)
	queued    bool // a message that names it is in the queue
}

// step is where a worker stands.
type step uint8

const (
	idle     step = iota
	prepared      // has seen the key; will record an intent
	leave         // the intent is durable; may send
	sent          // waits for the answer
	answered      // has seen the answer; looks for the new key
	unclear       // has seen no answer; looks once
	taken         // took over an open intent; looks
	turned        // has seen the new key; will record it
	again         // the system has settled and shows the key before; will renew the intent
	ordering      // the intent is durable, its key is not made; may order it
	ordered       // waits for its key
	made          // has its key; will amend the intent
)

// worker is what a worker keeps in memory: a crash loses it.
type worker struct {
	step   step
	task   uint8
	before uint8
	mine   bool  // its epoch is the row's: nobody took the intent over
	since  uint8 // ticks since just before its intent was written, for the guard
}

// put is a change on its way to the system.
type put struct {
	there   bool
	done    bool // carried out, but reads don't show it yet
	waited  bool // its worker still waits for the answer
	worker  uint8
	task    uint8
	changed uint8 // the key that it made
	left    uint8 // ticks until it is carried out and shows, or never will
}

// state is everything there is. It is comparable: that is how states are told apart.
type state struct {
	key      uint8 // the key in use, as a running number
	shown    uint8 // the key that reads show
	recorded uint8 // the newest key in the history
	made     [maxTasks]uint8
	rows     [maxTasks]row
	workers  [nWorkers]worker
	puts     [maxPuts]put

	// With Rules.Makes: how many keys were made for each task, and the orders under way.
	keys   [maxTasks]uint8
	orders [maxPuts]order
}

func start(tasks int) state {
	var s state
	for i := range tasks {
		s.rows[i].phase = unasked
	}
	return s
}

// Rules are the parts of the protocol that can be left out, to see that the model would notice.
type Rules struct {
	Guard   bool // nothing is sent later than slack after its intent
	Fence   bool // results of an older epoch are refused
	Look    bool // who finds an open intent looks before anything else
	Settle  bool // and sends again only when the system has settled
	OneOpen bool // a unit has at most one open intent
	Turned  bool // a unit whose key is newer than the request is left out
	Lease   bool // an intent is taken over only when its lease has ended
	Sweeper bool // tasks that the queue lost are handed out again

	// Makes lets the change put a key into use that has to be made first, elsewhere (docs/protocol.md).
	Makes bool
	Amend bool // a key that was made is durable before the change is sent
	Renew bool // the intent is renewed before its key is ordered again
}

// Protocol are the rules as the code keeps them.
func Protocol() Rules {
	return Rules{Guard: true, Fence: true, Look: true, Settle: true, OneOpen: true, Turned: true, Lease: true, Sweeper: true, Amend: true, Renew: true}
}
