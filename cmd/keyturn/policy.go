package main

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
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
	cmd.Flags().StringArrayVar(&only.Units, "unit", nil, "only this unit: id, name, PROJECT/NAME or glob")
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
		e.printPlan(plan.Units, emptyText("units that the policy selects",
			"the policy selects nothing: a rotation would fail; look at its select with `keyturn get policies "+printable(args[0])+" -o yaml`",
			slices.Concat(only.Projects, only.Clusters, only.Units)...))
		return nil
	}
	return cmd
}

func (e *env) printPlan(units []keyturn.Unit, empty string) {
	t := &table{head: []string{"UNIT", "KIND", "PROJECT", "CLUSTER", "AGE", "TURNS", "WHY NOT"}, shrink: []int{2, 3, 6, 0}, state: 5}
	rotatable, waves := 0, 0
	for _, u := range units {
		waves = max(waves, u.Wave)
	}
	if waves > 0 {
		t.head, t.shrink = slices.Insert(t.head, 6, "WAVE"), []int{2, 3, 7, 0}
	}
	for _, u := range units {
		turns := "no"
		if u.Rotatable {
			turns = "yes"
			rotatable++
		}
		row := []string{
			firstOf(u.Name, u.ClusterID), string(u.Component), firstOf(u.ProjectName, u.ProjectID), orDash(u.ClusterName),
			keyAge(e, u), turns, u.Reason,
		}
		if waves > 0 {
			row = slices.Insert(row, 6, waveNumber(u.Wave))
		}
		t.add(row...)
	}
	e.printTable(t, empty)
	if len(units) > 0 {
		e.notef("%s: %s would turn, %s would be skipped", plural(len(units), "unit"), number(rotatable), number(len(units)-rotatable))
	}
	if waves > 1 {
		e.notef("in %s, one after the other", plural(waves, "wave"))
	}
}

func waveNumber(wave int) string {
	if wave == 0 {
		return "-"
	}
	return number(wave)
}

// waveText is "wave 2 of 5, next in 4m"; empty for what is turned all at once.
func waveText(r keyturn.Rotation, now time.Time) string {
	if r.Wave == nil || r.Wave.Total < 2 {
		return ""
	}
	text := "wave " + number(r.Wave.Current) + " of " + number(r.Wave.Total)
	if r.Wave.NextAt != nil && !r.State.Final() {
		text += ", next in " + span(max(time.Second, r.Wave.NextAt.Sub(now)))
	}
	return text
}

func newPauseCommand(e *env) *cobra.Command {
	var pause client.Pause
	var until string
	cmd := &cobra.Command{
		Use:   "pause POLICY",
		Short: "Start no rotation of a policy, and hold what has not begun",
		Long: `Pauses a policy: its slots do not fire, and what its running rotations have
not begun waits. What has begun is finished. Slots that are missed do not fire later.
With --until it goes on by itself.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicies(e),
	}
	cmd.Flags().StringVar(&pause.Note, "note", "", "why; shown with the policy")
	cmd.Flags().StringVar(&until, "until", "", "when it goes on: a time such as 2026-12-27T08:00:00+01:00, or how long: 12h, 3d")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := parseUntil(until, &pause); err != nil {
			return err
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		policy, err := c.Pause(cmd.Context(), args[0], pause)
		if err != nil {
			return err
		}
		if end := policy.Status.PausedUntil; end != nil {
			e.printf("policy %s is paused until %s; `keyturn resume %s` lets it go on before\n", args[0], end.UTC().Format(time.RFC3339), args[0])
			return nil
		}
		e.printf("policy %s is paused; `keyturn resume %s` lets it go on\n", args[0], args[0])
		return nil
	}
	return cmd
}

// parseUntil reads the end of a pause: a time, or how long it lasts.
func parseUntil(text string, pause *client.Pause) error {
	if text == "" {
		return nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		pause.Until = &at
		return nil
	}
	lasts, err := keyturn.ParseDuration(text)
	if err != nil || lasts <= 0 {
		return usageErrorf("--until %q is neither a time such as 2026-12-27T08:00:00+01:00 nor how long, such as 12h or 3d", text)
	}
	pause.For = lasts
	return nil
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
