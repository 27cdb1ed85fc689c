package main

import (
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
)

func newPlanCommand(e *env) *cobra.Command {
	var only keyturn.Selection
	cmd := &cobra.Command{
		Use:   "plan POLICY",
		Short: "Show what a rotation would do now, unit by unit; changes nothing",
		Long: `Asks the target which units the policy selects now, and says for each whether
its key can be turned. It changes nothing.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicies(e),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().StringArrayVar(&only.Projects, "project", nil, "only this project: id, name or glob")
	cmd.Flags().StringArrayVar(&only.Clusters, "cluster", nil, "only this cluster: name, id or glob")
	cmd.Flags().StringArrayVar(&only.Units, "unit", nil, "only this unit: id, name or glob")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		plan, err := c.Plan(cmd.Context(), args[0], only)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(plan.Units)
		}
		e.printPlan(args[0], plan.Units)
		return nil
	}
	return cmd
}

func (e *env) printPlan(policy string, units []keyturn.Unit) {
	t := &table{head: []string{"UNIT", "KIND", "PROJECT", "CLUSTER", "AGE", "TURNS", "WHY NOT"}, shrink: []int{2, 3, 6, 0}, state: 5}
	rotatable := 0
	for _, u := range units {
		turns := "no"
		if u.Rotatable {
			turns = "yes"
			rotatable++
		}
		t.add(firstOf(u.Name, u.ClusterID), string(u.Component), firstOf(u.ProjectName, u.ProjectID), orDash(u.ClusterName),
			keyAge(e, u), turns, u.Reason)
	}
	e.printTable(t, "the policy selects nothing: a rotation would fail; look at its select with `keyturn get policies "+printable(policy)+" -o yaml`")
	if len(units) > 0 {
		e.notef("%s: %s would turn, %s would be skipped", plural(len(units), "unit"), number(rotatable), number(len(units)-rotatable))
	}
}

func newPauseCommand(e *env) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "pause POLICY",
		Short: "Start no rotation of a policy, and hold what has not begun",
		Long: `Pauses a policy: its slots do not fire, and what its running rotations have
not begun waits. What has begun is finished. Slots that are missed do not fire later.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicies(e),
	}
	cmd.Flags().StringVar(&note, "note", "", "why; shown with the policy")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Pause(cmd.Context(), args[0], note); err != nil {
			return err
		}
		e.printf("policy %s is paused; `keyturn resume %s` lets it go on\n", args[0], args[0])
		return nil
	}
	return cmd
}

func newResumeCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "resume POLICY",
		Short:             "Let a paused policy go on",
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicies(e),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		policy, err := c.Resume(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if policy.Status.NextSlot == "" {
			e.printf("policy %s goes on; it has no schedule, and runs when asked to\n", args[0])
			return nil
		}
		e.printf("policy %s goes on; next at %s\n", args[0], policy.Status.NextSlot)
		return nil
	}
	return cmd
}
