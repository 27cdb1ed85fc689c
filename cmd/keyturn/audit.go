package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
)

func newAuditCommand(e *env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who changed what, newest first; or audit the keys at the KMIP server",
		Args:  arguments(0, 0),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().IntVar(&limit, "limit", 0, "list at most so many (0: all; default: "+strconv.Itoa(screenful)+" in a table, all in JSON)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 0 {
			return usageErrorf("--limit is %d: give 0 for all, or how many", limit)
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		shorten := *output == formatTable && !cmd.Flags().Changed("limit")
		if shorten {
			limit = screenful + 1
		}
		entries, err := c.Audit(cmd.Context(), limit)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(entries)
		}
		if shorten && len(entries) > screenful {
			entries = entries[:screenful]
			defer e.notef("these are the newest %d; --limit 0 lists all", screenful)
		}
		e.printAudit(entries)
		return nil
	}
	cmd.AddCommand(newAuditKeysCommand(e))
	return cmd
}

func (e *env) printAudit(entries []keyturn.AuditEntry) {
	t := &table{head: []string{"WHEN (UTC)", "WHO", "FROM", "WHAT", "SUBJECT", "REASON"}, shrink: []int{5, 1, 4}, state: noStateTint}
	for _, a := range entries {
		t.add(stamp(&a.At), a.Actor, orDash(a.Remote), a.Action, a.Subject, a.Reason)
	}
	e.printTable(t, "nothing was changed yet")
}
