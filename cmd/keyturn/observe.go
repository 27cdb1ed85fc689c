package main

import (
	"github.com/spf13/cobra"
)

func newObserveCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "observe TARGET",
		Short: "Look soon at the keys that a target's units use",
		Long: `Makes a look at the keys in use due now: at each unit that a policy of the target
selects. Keys that nobody turned here, or that are seen for the first time, go into
the history. It changes nothing at the target, and waits while rotations work there.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completeNames(e, "targets"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Observe(cmd.Context(), args[0]); err != nil {
				return err
			}
			e.printf("the keys of target %s are looked at soon; `keyturn units --target %s` shows them\n", args[0], args[0])
			return nil
		},
	}
}
