package keyturn

// FleetUnit is what a map of the whole estate shows of a unit: of the Unit, neither the system, nor the key's
// id, nor the FCV.
type FleetUnit struct {
	Unit
	// Task is the state of a task of it that is under way, or TaskParked; empty: there is none.
	Task TaskState
}

// MoreOpen returns which of the states of two tasks of a unit says more to a person.
func MoreOpen(a, b TaskState) TaskState {
	rank := func(s TaskState) int {
		switch s {
		case TaskParked:
			return 3
		case TaskIntended:
			return 2
		case TaskPending:
			return 1
		default:
			return 0
		}
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}
