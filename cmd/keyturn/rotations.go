package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func newRotationsCommand(e *env) *cobra.Command {
	var policy string
	var limit int
	state := &choice{of: rotationStates()}
	cmd := &cobra.Command{
		Use:   "rotations [ID]",
		Short: "List rotations, newest first, or show one with its tasks",
		Args:  arguments(0, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().StringVar(&policy, "policy", "", "only this policy's")
	cmd.Flags().Var(state, "state", "only those in this state: "+strings.Join(state.of, ", "))
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(state.of, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().IntVar(&limit, "limit", 0, "list at most so many (0: all; default: "+strconv.Itoa(screenful)+" in a table, all in JSON)")
	_ = cmd.RegisterFlagCompletionFunc("policy", completePolicies(e))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 {
			return usageErrorf("--limit is %d: give 0 for all, or how many", limit)
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if len(args) > 0 {
			return e.showRotation(cmd.Context(), c, args[0], *output)
		}
		shorten := *output == formatTable && !cmd.Flags().Changed("limit")
		if shorten {
			limit = screenful + 1
		}
		rotations, err := c.Rotations(cmd.Context(), policy, state.value, limit)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(rotations)
		}
		if shorten && len(rotations) > screenful {
			rotations = rotations[:screenful]
			defer e.notef("these are the newest %d; --limit 0 lists all", screenful)
		}
		e.printRotations(rotations, emptyText("rotations", "no rotations yet: `keyturn rotate POLICY` asks for one", policy, state.value))
		return nil
	}
	return cmd
}

// screenful is how many rotations a table shows unless it is told.
const screenful = 50

func rotationStates() []string {
	return []string{
		string(keyturn.RotationRequested), string(keyturn.RotationPlanning), string(keyturn.RotationRunning),
		string(keyturn.RotationSucceeded), string(keyturn.RotationPartial), string(keyturn.RotationFailed), string(keyturn.RotationCancelled),
	}
}

func (e *env) printRotations(rotations []keyturn.Rotation, empty string) {
	t := &table{head: []string{"ID", "POLICY", "STATE", "DONE", "BAD", "TRIGGER", "AGE", "TOOK"}, shrink: []int{1}, state: 2}
	for _, r := range rotations {
		t.add(r.ID.String(), r.Policy, string(r.State), done(r.Counts), number(r.Counts.Failed+r.Counts.Parked),
			string(r.Trigger), age(&r.RequestedAt, e.now()), e.took(r))
	}
	e.printTable(t, empty)
}

func done(c keyturn.Counts) string { return number(c.Total-c.Pending) + "/" + number(c.Total) }

// took is how long a rotation ran, or runs.
func (e *env) took(r keyturn.Rotation) string {
	if r.StartedAt == nil {
		return "-"
	}
	end := e.now()
	if r.FinishedAt != nil {
		end = *r.FinishedAt
	}
	if d := end.Sub(*r.StartedAt); d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return age(r.StartedAt, end)
}

func (e *env) showRotation(ctx context.Context, c *client.Client, id, output string) error {
	if err := wantID(id, whereRotations); err != nil {
		return err
	}
	r, err := c.RotationWithClusters(ctx, id)
	if err != nil {
		return err
	}
	if r.Tasks, err = c.Tasks(ctx, id); err != nil {
		return err
	}
	if output == formatJSON {
		return e.printJSON(r)
	}
	e.printRotation(r)
	names, err := unitNames(ctx, c, len(r.Tasks) > 0)
	if err != nil {
		return err
	}
	if len(r.Tasks) > 0 {
		e.printClusters(r.Clusters)
		e.printf("\n")
		e.printTasks(r.Tasks, names)
		e.printParked(r.Tasks, names)
	}
	return nil
}

// printRotation prints what is known of a rotation, one thing a line.
func (e *env) printRotation(r keyturn.Rotation) {
	s := e.screenOf(e.stdout)
	line := func(label, value string) {
		if value != "" {
			e.printf("%-10s %s\n", label, value)
		}
	}
	line("rotation", r.ID.String())
	line("policy", printable(r.Policy+" on "+r.Target))
	state := s.paint(stateColour(string(r.State)), string(r.State))
	if r.Halted && !r.State.Final() {
		state += ", being stopped"
	}
	line("state", state)
	line("units", countsText(r.Counts))
	line("rollout", waveText(r, e.now()))
	line("trigger", printable(joinNonEmpty(", ", string(r.Trigger), r.Slot, r.RequestedBy)))
	line("reason", printable(r.Reason))
	if r.RetryOf != nil {
		line("retry of", r.RetryOf.String())
	}
	line("requested", stamp(&r.RequestedAt)+" UTC")
	if r.StartedAt != nil {
		line("started", stamp(r.StartedAt)+" UTC")
	}
	if r.FinishedAt != nil {
		line("finished", stamp(r.FinishedAt)+" UTC, after "+e.took(r))
	}
}

// countsText is "120: 118 succeeded, 2 failed".
func countsText(c keyturn.Counts) string {
	parts := []string{}
	for _, p := range []struct {
		n    int
		word string
	}{{c.Succeeded, "succeeded"}, {c.Failed, "failed"}, {c.Parked, "parked"}, {c.Skipped, "skipped"}, {c.Pending, "to do"}} {
		if p.n > 0 {
			parts = append(parts, number(p.n)+" "+p.word)
		}
	}
	if len(parts) == 0 {
		return number(c.Total)
	}
	return number(c.Total) + ": " + joinNonEmpty(", ", parts...)
}

func (e *env) printTasks(tasks []keyturn.Task, names nameMap) {
	t := &table{head: []string{"UNIT", "STATE", "KEY BEFORE", "KEY AFTER", "NOTE"}, shrink: []int{2, 3, 4, 0}, state: 1}
	for _, task := range tasks {
		note := task.Reason
		if note == "" && task.Resolution != keyturn.ResolutionConfirmed {
			note = string(task.Resolution)
		}
		t.add(names.of(task.Unit), string(task.State), orDash(task.KeyBefore), orDash(task.KeyAfter), note)
	}
	e.printTable(t, "no tasks")
}

// reasonGroup are tasks that ended in the same way for the same reason.
type reasonGroup struct {
	state  keyturn.TaskState
	reason string
	count  int
	unit   string // one of them
}

// groupReasons groups what did not succeed, the bad and the many first.
func groupReasons(tasks []keyturn.Task) []reasonGroup {
	type key struct {
		state  keyturn.TaskState
		reason string
	}
	index := map[key]int{}
	groups := []reasonGroup{}
	for _, t := range tasks {
		if t.State == keyturn.TaskSucceeded {
			continue
		}
		k := key{t.State, firstOf(t.Reason, "no reason was recorded")}
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, reasonGroup{state: k.state, reason: k.reason, unit: t.Unit})
		}
		groups[i].count++
	}
	order := []keyturn.TaskState{keyturn.TaskFailed, keyturn.TaskParked, keyturn.TaskIntended, keyturn.TaskPending, keyturn.TaskSkipped}
	slices.SortStableFunc(groups, func(a, b reasonGroup) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.state), slices.Index(order, b.state)),
			cmp.Compare(b.count, a.count))
	})
	return groups
}

// printSummary says how a rotation ended and why units did not turn.
func (e *env) printSummary(ctx context.Context, c *client.Client, r keyturn.Rotation) error {
	s := e.screenOf(e.stdout)
	e.printf("rotation %s of %s %s after %s\n", r.ID, printable(r.Policy), s.paint(stateColour(string(r.State)), string(r.State)), e.took(r))
	e.printf("units %s\n", countsText(r.Counts))
	if r.Counts.Succeeded == r.Counts.Total {
		if r.State != keyturn.RotationSucceeded && r.Reason != "" {
			e.printf("reason: %s\n", printable(r.Reason))
		}
		return nil
	}
	tasks, err := c.Tasks(ctx, r.ID.String())
	if err != nil {
		return err
	}
	names, err := unitNames(ctx, c, len(tasks) > 0)
	if err != nil {
		return err
	}
	e.printMixed(r)
	const most = 10
	groups := groupReasons(tasks)
	for i, g := range groups {
		if i == most {
			e.printf("  and %s; `keyturn rotations %s` shows all\n", plural(len(groups)-most, "more reason"), r.ID)
			break
		}
		example := "such as "
		if g.count == 1 {
			example = ""
		}
		e.printf("  %s %s: %s (%s%s)\n", number(g.count), s.paint(stateColour(string(g.state)), string(g.state)),
			printable(g.reason), example, printable(names.of(g.unit)))
	}
	return nil
}

// outcome is nil for a rotation that succeeded.
func outcome(r keyturn.Rotation) error {
	if r.State == keyturn.RotationSucceeded {
		return nil
	}
	if r.Counts.Total == 0 && r.Reason != "" {
		return &exitError{code: exitNotSucceeded, err: fmt.Errorf("the rotation %s: %s", r.State, r.Reason)}
	}
	return &exitError{code: exitNotSucceeded, err: fmt.Errorf("the rotation ended as %s; `keyturn rotations %s` shows every unit", r.State, r.ID)}
}
