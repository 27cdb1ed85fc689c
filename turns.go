package keyturn

// unitsATurn is how many units of a project are handed out in a row. Rows of one project lie together in the database: a group commit
// of neighbours writes a few pages where one of strangers writes a page or more for each.
const unitsATurn = 16

// Turns numbers the units of a plan in the order in which their tasks are handed out: the first units of every project before the next
// ones of any, so that a large project does not keep a small one waiting. The zero value is ready.
type Turns struct {
	units map[turnsOf]int
}

// turnsOf tells queues apart: units that can't be rotated take no place from those that can.
type turnsOf struct {
	project   string
	rotatable bool
}

// Next returns the turn of the project's next unit, from 1.
func (t *Turns) Next(u *Unit) int {
	if t.units == nil {
		t.units = make(map[turnsOf]int)
	}
	of := turnsOf{u.ProjectID, u.Rotatable}
	turn := t.units[of] / unitsATurn
	t.units[of]++
	if u.Alone {
		t.units[of] = (turn + 1) * unitsATurn
	}
	return turn + 1
}
