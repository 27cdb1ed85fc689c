package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

// keyAuditReport is what `keyturn audit keys -o json` prints.
type keyAuditReport struct {
	Audits []keyturn.KeyAudit    `json:"audits"`
	Keys   []keyturn.RetainedKey `json:"keys"` // those that are gone, not active any more, or orphans
}

func newAuditKeysCommand(e *env) *cobra.Command {
	var last bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "keys [TARGET]",
		Short: "Ask the KMIP server whether every key of the history is still there",
		Long: `Asks the KMIP server of a target, or of every target that has one, about every
key that the history or a snapshot names: whether it exists, in which state it
is, and since when. Lists those that are gone or not active any more, with the
snapshots that need them, and keys with names of the estate that are in no
history. It changes nothing at the server.

The exit code is 1 if an audit did not come to its end, or a key is gone.`,
		Example: `  keyturn audit keys
  keyturn audit keys om-prod -o json
  keyturn audit keys --last`,
		Args:              arguments(0, 1),
		ValidArgsFunction: completeNames(e, "targets"),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	cmd.Flags().BoolVar(&last, "last", false, "only show what the last audit found")
	cmd.Flags().DurationVar(&timeout, "timeout", 15*time.Minute, "how long to wait for the audit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		target := ""
		if len(args) > 0 {
			target = args[0]
		}
		report := keyAuditReport{}
		if report.Audits, err = e.auditKeys(cmd.Context(), c, target, last, timeout); err != nil {
			return err
		}
		if report.Keys, err = c.Keys(cmd.Context(), keyturn.KeyFilter{Target: target, Bad: true}); err != nil {
			return err
		}
		switch *output {
		case formatJSON:
			err = e.printJSON(report)
		case formatYAML:
			err = e.printYAML(report)
		default:
			e.printKeyAudit(report)
		}
		if err != nil {
			return err
		}
		return report.failure()
	}
	return cmd
}

// auditKeys asks for audits, and waits until they have ended.
func (e *env) auditKeys(ctx context.Context, c *client.Client, target string, last bool, timeout time.Duration) ([]keyturn.KeyAudit, error) {
	audits, err := c.KeyAudits(ctx, target)
	if err != nil {
		return nil, err
	}
	if len(audits) == 0 {
		if target == "" {
			return nil, errors.New("no target has a KMIP server: write its address to spec.kmip of a target, and apply it")
		}
		return nil, fmt.Errorf("target %s has no KMIP server: write its address to spec.kmip, and apply it", target)
	}
	if last {
		return audits, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for i := range audits {
		if _, err := c.AuditKeys(ctx, audits[i].Target); err != nil {
			return nil, err
		}
	}
	ticker := time.NewTicker(firstDuration(e.poll, defaultPoll))
	defer ticker.Stop()
	for {
		waiting := target
		now, err := c.KeyAudits(ctx, target)
		if err == nil {
			audits, waiting = now, unended(now)
		} else if ctx.Err() == nil && !client.Temporary(err) {
			return nil, err
		}
		if err == nil && waiting == "" {
			return audits, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the audit of %s did not end in %s; `keyturn audit keys --last` shows what came of it", firstOf(waiting, "some target"), timeout)
		case <-ticker.C:
		}
	}
}

// unended names a target whose audit goes on; empty: there is none.
func unended(audits []keyturn.KeyAudit) string {
	for _, a := range audits {
		if a.Running || a.AskedAt != nil && a.Trouble == "" {
			return a.Target
		}
	}
	return ""
}

func (r keyAuditReport) failure() error {
	gone := 0
	for _, k := range r.Keys {
		if k.State != nil && k.State.State.Gone() {
			gone++
		}
	}
	for _, a := range r.Audits {
		if a.Trouble != "" {
			return fmt.Errorf("the audit of target %s did not come to its end: %s", a.Target, a.Trouble)
		}
	}
	if gone > 0 {
		return fmt.Errorf("%s gone: restore from the KMIP server's backup what snapshots still need", pluralVerb(gone))
	}
	return nil
}

func pluralVerb(n int) string {
	if n == 1 {
		return "1 key is"
	}
	return number(n) + " keys are"
}

func (e *env) printKeyAudit(r keyAuditReport) {
	t := &table{head: []string{"TARGET", "AUDITED (UTC)", "KEYS", "ACTIVE", "PRE-ACTIVE", "DEACTIVATED", "COMPROMISED", "GONE", "UNCLEAR", "ORPHANS", "SERVER"}, shrink: []int{10, 0}, state: noStateTint}
	for _, a := range r.Audits {
		of := func(states ...keyturn.KeyLife) string {
			n := 0
			for _, s := range states {
				n += a.States[s]
			}
			return number(n)
		}
		t.add(a.Target, stamp(a.DoneAt), number(a.Keys), of(keyturn.KeyActive), of(keyturn.KeyPreActive), of(keyturn.KeyDeactivated), of(keyturn.KeyCompromised),
			of(keyturn.KeyMissing, keyturn.KeyDestroyed), of(keyturn.KeyUnclear), number(a.Orphans), orDash(a.Server))
	}
	e.printTable(t, "no target has a KMIP server")
	if len(r.Keys) > 0 {
		e.printf("\n")
		e.printKeys(r.Keys, "")
	}
}
