package checker

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what is wrong.
type Kind string

// The kinds of findings.
const (
	Doubled    Kind = "doubled"    // one task changed its unit more than once, or one rotation has a unit twice
	Missing    Kind = "missing"    // a key was in use and is not in the history
	Invented   Kind = "invented"   // the history has a turn that never happened
	Disordered Kind = "disordered" // the chain of a unit's keys is not the one that happened
	Forgotten  Kind = "forgotten"  // a rotation or task did not end, or is not there
	Unreasoned Kind = "unreasoned" // a task ended without a new key and says not why
	Untrue     Kind = "untrue"     // what a rotation or task says of itself contradicts the rest
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind  Kind
	Where string // a unit, rotation or task
	What  string
}

// String is one line.
func (f Finding) String() string { return string(f.Kind) + ": " + f.Where + ": " + f.What }

// Check returns everything that is wrong; nothing if all is well.
func Check(e Evidence) []Finding {
	c := &check{
		evidence: e,
		chains:   map[string][]Change{}, records: map[string][]Record{}, byTask: map[string]Record{},
	}
	for _, change := range e.Truth {
		c.chains[change.place()] = append(c.chains[change.place()], change)
	}
	for _, r := range e.History {
		c.records[placeOf(r.Unit)] = append(c.records[placeOf(r.Unit)], r)
		if r.Task != "" && r.Origin == "rotated" {
			if other, twice := c.byTask[r.Task]; twice {
				c.report(Doubled, "task "+r.Task, "it has two key records, %s and %s", other.KeyID, r.KeyID)
			}
			c.byTask[r.Task] = r
		}
	}
	c.units()
	c.rotations()
	return c.findings
}

type check struct {
	evidence Evidence
	chains   map[string][]Change // what happened, by place
	records  map[string][]Record // what is known, by place
	byTask   map[string]Record   // what tasks made
	findings []Finding
}

func (c *check) report(kind Kind, where, format string, args ...any) {
	c.findings = append(c.findings, Finding{kind, where, fmt.Sprintf(format, args...)})
}

// placeOf is a unit's id, TARGET.PROJECT.CLUSTER, without the target: PROJECT/CLUSTER.
func placeOf(unit string) string {
	_, rest, _ := strings.Cut(unit, ".")
	return strings.Replace(rest, ".", "/", 1)
}

// units compares each unit's chain of keys with what is known of it.
func (c *check) units() {
	for place, chain := range c.chains {
		c.turns(place, chain)
		c.known(place, chain)
	}
	for place, records := range c.records {
		c.chain(place, records)
		for _, r := range records {
			if r.Origin == "rotated" && !slices.ContainsFunc(c.chains[place], func(ch Change) bool { return ch.KeyAfter == r.KeyID }) {
				c.report(Invented, r.Unit, "key %s of task %s was never made", r.KeyID, r.Task)
			}
		}
	}
}

// turns finds tasks between whose key before and key after more than one change of ours lies.
func (c *check) turns(place string, chain []Change) {
	for _, r := range c.records[place] {
		if r.Origin != "rotated" {
			continue
		}
		last := slices.IndexFunc(chain, func(ch Change) bool { return ch.KeyAfter == r.KeyID })
		if last < 0 {
			continue // invented
		}
		first := slices.IndexFunc(chain, func(ch Change) bool { return ch.KeyBefore == r.PreviousKeyID })
		ours := 0
		for _, ch := range chain[max(first, 0) : last+1] {
			if ch.By == "request" {
				ours++
			}
		}
		switch {
		case first < 0 || first > last:
			c.report(Disordered, r.Unit, "key %s is said to follow %s, which was not in use before it", r.KeyID, r.PreviousKeyID)
		case ours > 1:
			c.report(Doubled, r.Unit, "task %s turned the unit %d times: from %s to %s", r.Task, ours, r.PreviousKeyID, r.KeyID)
		}
	}
}

// known finds keys that are not in the history.
func (c *check) known(place string, chain []Change) {
	records := c.records[place]
	for i, ch := range chain {
		if slices.ContainsFunc(records, func(r Record) bool { return r.KeyID == ch.KeyAfter }) {
			continue
		}
		if ch.By != "request" && i+1 < len(chain) {
			continue // somebody else's, replaced before anybody could have looked
		}
		c.report(Missing, place, "key %s, in use since %s (change %d), is not in the history", ch.KeyAfter, ch.Time.Format("15:04:05.000"), ch.Seq)
	}
}

// chain holds the records of one unit to the order in which things happened.
func (c *check) chain(place string, records []Record) {
	position := map[string]int{}
	for i, ch := range c.chains[place] {
		position[ch.KeyAfter] = i + 1
	}
	for i, r := range records {
		if i == len(records)-1 {
			if r.Until != nil {
				c.report(Disordered, r.Unit, "its newest record, of key %s, has an end", r.KeyID)
			}
			return
		}
		next := records[i+1]
		switch {
		case position[next.KeyID] <= position[r.KeyID]:
			c.report(Disordered, r.Unit, "key %s is listed after %s, but came before it", next.KeyID, r.KeyID)
		case next.PreviousKeyID != r.KeyID:
			c.report(Disordered, r.Unit, "key %s is said to follow %s, but the record before is of %s", next.KeyID, next.PreviousKeyID, r.KeyID)
		case r.Until == nil || !r.Until.Equal(next.From):
			c.report(Disordered, r.Unit, "the record of key %s does not end where that of %s begins", r.KeyID, next.KeyID)
		}
	}
}
