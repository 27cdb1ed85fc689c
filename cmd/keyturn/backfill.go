package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/client"
)

func newBackfillCommand(e *env) *cobra.Command {
	var req client.BackfillRequest
	cmd := &cobra.Command{
		Use:   "backfill POLICY --from TIME",
		Short: "Ask for the rotations of slots in the past that have none",
		Long: `Lists the slots of a policy between --from and --to that have no rotation,
because no scheduler ran, the policy was paused or did not exist yet, and asks for
one rotation for each. --dry-run only lists them. It may be repeated: a slot has one
rotation. A rotation skips units whose key is newer than the request for it, so that
many slots at once turn each key once.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicies(e),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	flags := cmd.Flags()
	flags.StringVar(&req.From, "from", "", "from this instant (RFC 3339), or this day or local time of the policy's time zone, on")
	flags.StringVar(&req.To, "to", "", "before this instant or day; default now")
	flags.BoolVar(&req.DryRun, "dry-run", false, "only list the slots")
	flags.StringVar(&req.Reason, "reason", "", "why; kept with the rotations")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if req.From == "" {
			return usageErrorf("--from is missing: give a day such as 2026-03-01")
		}
		if err := checkRange(req.From, req.To); err != nil {
			return err
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		done, err := c.Backfill(cmd.Context(), args[0], req)
		if err != nil {
			return err
		}
		switch *output {
		case formatJSON:
			return e.printJSON(done.Items)
		case formatYAML:
			return e.printYAML(done.Items)
		}
		t := &table{head: []string{"LOCAL", "TIME ZONE", "UTC", "ROTATION", "NOTE"}, shrink: []int{4, 1}, state: noStateTint}
		for _, slot := range done.Items {
			t.add(slot.Local, slot.Timezone, stamp(&slot.At), orDash(slot.Rotation), slot.Note)
		}
		empty := "no slot lies in the range"
		if done.Checked > 0 {
			empty = "each of " + plural(done.Checked, "slot") + " has its rotation"
		}
		e.printTable(t, empty)
		if len(done.Items) > 0 && req.DryRun {
			e.notef("%s of %s without a rotation; nothing was asked for", number(len(done.Items)), plural(done.Checked, "slot"))
		}
		return nil
	}
	return cmd
}

// checkRange finds what is wrong with a range in any time zone. How a day and an instant are to one
// another only the server knows, which knows the policy's zone.
func checkRange(from, to string) error {
	begin, err := calendar.ParseTime(from, "UTC")
	if err != nil {
		return usageErrorf("--from: %w", err)
	}
	if to == "" {
		return nil
	}
	end, err := calendar.ParseTime(to, "UTC")
	if err != nil {
		return usageErrorf("--to: %w", err)
	}
	if isInstant(from) == isInstant(to) && !begin.Before(end) {
		return usageErrorf("--to %s is not after --from %s: the range is empty", to, from)
	}
	return nil
}

func isInstant(text string) bool {
	_, err := time.Parse(time.RFC3339, text)
	return err == nil
}
