package main

import (
	"strings"

	"github.com/keyturn/keyturn"
)

// clustersShown is how many clusters a table shows that are not mixed; those that are mixed are all shown.
const clustersShown = 20

// printClusters prints a rotation's clusters, mixed ones first.
func (e *env) printClusters(clusters []keyturn.ClusterCounts) {
	t := &table{head: []string{"CLUSTER", "STATE", "DONE", "TURNED", "BAD", "SKIPPED", "MIXED FOR"}, shrink: []int{0}, state: 1}
	if len(clusters) == 0 {
		return
	}
	left := 0
	for i, c := range clusters {
		if !c.Mixed && i >= clustersShown {
			left = len(clusters) - i
			break
		}
		t.add(clusterName(c), clusterState(c), done(c.Counts), number(c.Counts.Succeeded), number(c.Counts.Failed+c.Counts.Parked),
			number(c.Counts.Skipped), age(c.MixedSince, e.now()))
	}
	e.printf("\n")
	e.printTable(t, "")
	if left > 0 {
		e.notef("and %s, none of them mixed; -o json has all", plural(left, "more cluster"))
	}
}

func clusterName(c keyturn.ClusterCounts) string {
	return joinNonEmpty("/", firstOf(c.ProjectName, c.ProjectID), c.Cluster)
}

// clusterState is one word for what became of a cluster.
func clusterState(c keyturn.ClusterCounts) string {
	switch n := c.Counts; {
	case c.Mixed:
		return "mixed"
	case n.Pending > 0:
		return string(keyturn.RotationRunning)
	case n.Failed+n.Parked > 0:
		return string(keyturn.TaskFailed)
	case n.Succeeded > 0:
		return string(keyturn.TaskSucceeded)
	default:
		return string(keyturn.TaskSkipped)
	}
}

// printMixed names the clusters of which only a part was turned.
func (e *env) printMixed(r keyturn.Rotation) {
	var mixed []string
	for _, c := range r.Clusters {
		if c.Mixed {
			mixed = append(mixed, clusterName(c))
		}
	}
	const most = 10
	if len(mixed) == 0 {
		return
	}
	named := strings.Join(mixed[:min(len(mixed), most)], ", ")
	if more := len(mixed) - most; more > 0 {
		named += " and " + number(more) + " more"
	}
	e.printf("%s half-rotated: %s\n", plural(len(mixed), "cluster"), printable(named))
	e.notef("`keyturn rotate --resume %s` turns what is missing", r.ID)
}

// printParked lists the ids of parked tasks, and what to do with them.
func (e *env) printParked(tasks []keyturn.Task, names nameMap) {
	const most = 20
	t := &table{head: []string{"PARKED TASK", "UNIT", "KEY BEFORE"}, shrink: []int{1, 2}, state: noStateTint}
	parked := 0
	for _, task := range tasks {
		if task.State != keyturn.TaskParked {
			continue
		}
		if parked++; parked <= most {
			t.add(task.ID.String(), names.of(task.Unit), task.KeyBefore)
		}
	}
	if parked == 0 {
		return
	}
	e.printf("\n")
	e.printTable(t, "")
	if parked > most {
		e.notef("and %s; -o json has all", plural(parked-most, "more parked task"))
	}
	e.notef("nobody knows whether these were turned: look at the target, then `keyturn task resolve ID --as succeeded|retry|failed --reason TEXT`")
}
