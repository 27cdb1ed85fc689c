package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func newDoctorCommand(e *env) *cobra.Command {
	var fix bool
	cmd := &cobra.Command{
		Use:   "doctor [TARGET]",
		Short: "Find out whether rotations would work, and what is missing",
		Long: `Looks at the server and at its targets, or at one: what answers, whether credentials
and clocks are right, which way of turning its key applies to each unit, which
policies select it, what is missing and how to get it. It changes nothing.

The exit code is 1 if a check failed: a policy that selects nothing, or a unit whose key
can't be turned as it is, is such a check.

--fix-thresholds sets the age from which on the target itself tells people of old keys
(Atlas: alerts *_ENCRYPTION_KEY_NEEDS_ROTATION) to that at which the policies warn.`,
		Args:              arguments(0, 1),
		ValidArgsFunction: completeNames(e, "targets"),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	cmd.Flags().BoolVar(&fix, "fix-thresholds", false, "set the target's own alerts about old keys to the ages of the policies, then look")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		target := ""
		if len(args) > 0 {
			target = args[0]
		}
		if fix && target == "" {
			return usageErrorf("--fix-thresholds changes something at a target: name it, keyturn doctor TARGET --fix-thresholds")
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if fix {
			if err := e.fixThresholds(cmd, c, target); err != nil {
				return err
			}
		}
		found, err := c.Diagnose(cmd.Context(), target)
		if err != nil {
			return err
		}
		if err := e.printDiagnosis(found, *output); err != nil {
			return err
		}
		if !found.Healthy {
			return &exitError{code: exitFailed, err: fmt.Errorf("%s failed: see what to do about them", plural(failures(found), "check"))}
		}
		return nil
	}
	return cmd
}

func failures(d keyturn.Diagnosis) int {
	n := 0
	for _, c := range d.Checks {
		if c.State == keyturn.CheckFailed {
			n++
		}
	}
	return n
}

func (e *env) fixThresholds(cmd *cobra.Command, c *client.Client, target string) error {
	set, err := c.FixThresholds(cmd.Context(), target)
	if err != nil {
		return err
	}
	for _, t := range set {
		e.notef("project %s: from now on %s fires at %dd", printable(firstOf(t.ProjectName, t.ProjectID)), printable(t.Event), t.Days)
	}
	if len(set) == 0 {
		e.notef("no threshold had to be set")
	}
	return nil
}

func (e *env) printDiagnosis(d keyturn.Diagnosis, output string) error {
	switch output {
	case formatJSON:
		return e.printJSON(d)
	case formatYAML:
		return e.printYAML(d)
	}
	units := &table{head: []string{"UNIT", "KIND", "PROJECT", "CLUSTER", "FCV", "WAY", "POLICIES", "MISSING"}, shrink: []int{7, 3, 2, 6, 0}, state: noStateTint}
	for _, f := range d.Units {
		way := firstOf(f.Way, "-")
		if !f.Rotatable {
			way = "none"
			if f.Way != "" {
				way = f.Way + " (not yet)"
			}
		}
		units.add(orDash(firstOf(f.Name, f.ID)), string(f.Component), firstOf(f.ProjectName, f.ProjectID), orDash(f.ClusterName), orDash(f.FCV),
			way, orDash(strings.Join(f.Policies, " ")), f.Reason)
	}
	e.printTable(units, "no units were found")
	e.printf("\n")
	e.printRemedies(d.Units)
	checks := &table{head: []string{"STATE", "CHECK", "OF", "FOUND", "WHAT TO DO"}, shrink: []int{4, 3, 2}, state: 0}
	for _, c := range worstLast(d.Checks) {
		checks.add(string(c.State), c.Name, firstOf(c.Subject, "server"), c.Message, c.Fix)
	}
	e.printTable(checks, "nothing was checked")
	return nil
}

// printRemedies says once what to do about each thing that is missing.
func (e *env) printRemedies(units []keyturn.Finding) {
	var fixes []string
	of := map[string][]keyturn.Finding{}
	for _, f := range units {
		if f.Rotatable || f.Fix == "" {
			continue
		}
		if len(of[f.Fix]) == 0 {
			fixes = append(fixes, f.Fix)
		}
		of[f.Fix] = append(of[f.Fix], f)
	}
	if len(fixes) == 0 {
		return
	}
	slices.SortStableFunc(fixes, func(a, b string) int { return len(of[b]) - len(of[a]) })
	t := &table{head: []string{"UNITS", "SUCH AS", "WHAT TO DO"}, shrink: []int{2, 1}, state: noStateTint}
	for _, fix := range fixes {
		first := of[fix][0]
		t.add(number(len(of[fix])), joinNonEmpty("/", firstOf(first.ProjectName, first.ProjectID), firstOf(first.Name, first.ID)), fix)
	}
	e.printTable(t, "")
	e.printf("\n")
}

// worstLast puts what failed at the end, where it is seen.
func worstLast(checks []keyturn.Check) []keyturn.Check {
	order := []keyturn.CheckState{keyturn.CheckOK, keyturn.CheckUnknown, keyturn.CheckWarning, keyturn.CheckFailed}
	sorted := slices.Clone(checks)
	slices.SortStableFunc(sorted, func(a, b keyturn.Check) int { return slices.Index(order, a.State) - slices.Index(order, b.State) })
	return sorted
}
