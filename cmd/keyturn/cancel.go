package main

import (
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
)

func newCancelCommand(e *env) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cancel ROTATION",
		Short: "Stop what has not begun of a rotation",
		Long: `Stops a rotation: units whose turn has not begun are skipped. What is under way
is finished, because its outcome must be known; then the rotation ends as
cancelled. Keys that were turned stay turned.

"keyturn rotate --resume ROTATION" goes on with what is missing.`,
		Example: `  keyturn cancel 019d2f4e-7c1a-7b3c-9f00-0123456789ab --reason "wrong window"`,
		Args:    arguments(1, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the rotation")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := wantID(args[0], whereRotations); err != nil {
			return err
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := c.Cancel(cmd.Context(), args[0], reason)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(r)
		}
		e.printCancelled(r)
		return nil
	}
	return cmd
}

func (e *env) printCancelled(r keyturn.Rotation) {
	switch {
	case r.State.Final():
		e.printf("rotation %s of %s is %s: %s\n", r.ID, printable(r.Policy), r.State, printable(r.Reason))
	case r.Counts.Pending > 0:
		e.printf("rotation %s of %s is stopped: %s, %s under way and will be finished\n", r.ID, printable(r.Policy),
			countsText(r.Counts), plural(r.Counts.Pending, "unit"))
	default:
		e.printf("rotation %s of %s is stopped: %s\n", r.ID, printable(r.Policy), countsText(r.Counts))
	}
	if r.Counts.Skipped > 0 || r.Counts.Total == 0 {
		e.notef("`keyturn rotate --resume %s` goes on with what is missing", r.ID)
	}
}
