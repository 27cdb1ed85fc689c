package main

import (
	"github.com/spf13/cobra"
)

func newHooksCommand(e *env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "hooks NAME",
		Short: "List the events that came in by a hook, newest first",
		Long: `Lists the verified events that came in by a hook, and what became of each.
Requests that could not be verified are only counted: see docs/hooks.md.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completeNames(e, "hooks"),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many to list at most; 0: all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 {
			return usageErrorf("--limit: give 0 for all, or a number")
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Resource(cmd.Context(), "hooks", args[0]); err != nil {
			return err
		}
		requests, err := c.HookRequests(cmd.Context(), args[0], limit)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(requests)
		}
		t := &table{head: []string{"RECEIVED (UTC)", "EVENT", "TYPE", "STATUS", "VERDICT", "ROTATION", "NOTE"}, shrink: []int{6, 1, 2}, state: noStateTint}
		for _, r := range requests {
			rotation := "-"
			if !r.Rotation.IsZero() {
				rotation = r.Rotation.String()
			}
			t.add(stamp(&r.ReceivedAt), r.EventID, r.Event, orDash(r.Status), string(r.Verdict), rotation, r.Reason)
		}
		e.printTable(t, "nothing came in by this hook yet")
		return nil
	}
	return cmd
}
