package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

func newWebhooksCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "Show webhooks, what they were told, and send it again",
		Long:  "Lists webhooks with what happens to them.",
		Args:  noSuchCommand,
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		hooks, err := c.Resources(cmd.Context(), "webhooks")
		if err != nil {
			return err
		}
		if *output != formatTable {
			if *output == formatJSON {
				return e.printJSON(hooks)
			}
			return resource.Encode(e.stdout, hooks)
		}
		return e.printWebhookStates(hooks)
	}
	cmd.AddCommand(newDeliveriesCommand(e), newReplayCommand(e), newWebhookTestCommand(e))
	return cmd
}

func (e *env) printWebhookStates(hooks []keyturn.Resource) error {
	t := &table{head: []string{"NAME", "FORMAT", "EVENTS", "STATE", "PENDING", "PARKED", "LAST DELIVERED", "NOTE"}, shrink: []int{7, 2, 0}, state: 3}
	for _, r := range hooks {
		var w keyturn.Webhook
		if err := json.Unmarshal(r.Spec, &w); err != nil {
			return fmt.Errorf("reading webhook %s: %w", r.Name, err)
		}
		w = w.WithDefaults()
		s := keyturn.WebhookState{}
		if r.Status.Webhook != nil {
			s = *r.Status.Webhook
		}
		state := "active"
		switch {
		case w.Paused:
			state = "paused"
		case s.Gone:
			state = "gone"
		case s.FailingSince != nil:
			state = "failing"
		}
		note := s.LastError
		if s.FailingSince != nil && note != "" {
			note = "for " + span(e.now().Sub(*s.FailingSince)) + ": " + note
		}
		last := age(s.LastDeliveredAt, e.now())
		if s.LastDeliveredAt != nil {
			last += " ago"
		}
		t.add(r.Name, string(w.Format), firstOf(strings.Join(w.Events, " "), "all"), state, strconv.Itoa(s.Pending), strconv.Itoa(s.Parked), last, note)
	}
	e.printTable(t, "no webhooks yet: `keyturn apply -f FILE` makes them")
	return nil
}

func newDeliveriesCommand(e *env) *cobra.Command {
	var limit int
	state := &choice{of: []string{
		string(keyturn.DeliveryPending), string(keyturn.DeliveryDelivered), string(keyturn.DeliveryParked), string(keyturn.DeliveryEnded),
	}}
	cmd := &cobra.Command{
		Use:               "deliveries [NAME]",
		Short:             "List what webhooks were or are to be told, newest first",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeNames(e, "webhooks"),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().Var(state, "state", "only pending, delivered, parked or ended ones")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many to list at most; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(state.of, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 {
			return usageErrorf("--limit: give 0 for all, or a number")
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		webhook := strings.Join(args, "")
		if webhook != "" {
			if _, err := c.Resource(cmd.Context(), "webhooks", webhook); err != nil {
				return err
			}
		}
		deliveries, err := c.Deliveries(cmd.Context(), webhook, state.value, limit)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(deliveries)
		}
		t := &table{head: []string{"ID", "WEBHOOK", "EVENT", "STATE", "TRIES", "AGE", "NEXT", "NOTE"}, shrink: []int{7, 2, 1}, state: 3}
		for _, d := range deliveries {
			next := "-"
			if d.NextAt != nil {
				next = "in " + span(d.NextAt.Sub(e.now()))
			}
			t.add(d.ID.String(), d.Webhook, d.EventID, string(d.State), strconv.Itoa(d.Attempts), age(&d.CreatedAt, e.now()), next, d.LastError)
		}
		e.printTable(t, emptyText("deliveries", "no deliveries yet", webhook, state.value))
		return nil
	}
	return cmd
}

func newReplayCommand(e *env) *cobra.Command {
	var failed string
	cmd := &cobra.Command{
		Use:   "replay DELIVERY | --failed NAME",
		Short: "Send a delivery anew, or all that are parked for a webhook",
		Long: `Sends a delivery anew under the same id, whatever became of it, or with --failed
all that were given up for a webhook. Those that a later delivery about the same
thing has overtaken are left out: they would say again what is over.`,
		Args: arguments(0, 1),
	}
	cmd.Flags().StringVar(&failed, "failed", "", "the webhook of which all that is parked is sent anew")
	_ = cmd.RegisterFlagCompletionFunc("failed", completeNames(e, "webhooks"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == (failed != "") {
			return usageErrorf("give the id of a delivery, or --failed NAME; `keyturn webhooks deliveries` shows the ids")
		}
		if len(args) == 1 {
			if err := wantID(args[0], "`keyturn webhooks deliveries` shows the ids"); err != nil {
				return err
			}
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if failed != "" {
			n, err := c.ReplayParked(cmd.Context(), failed)
			if err != nil {
				return err
			}
			e.printf("%s of %s sent anew\n", plural(n, "delivery"), failed)
			return nil
		}
		d, err := c.Replay(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		e.printf("%s is sent to %s anew\n", d.EventID, d.Webhook)
		return nil
	}
	return cmd
}

func newWebhookTestCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "test NAME",
		Short:             "Send a test event to a webhook now, and show the answer",
		Args:              arguments(1, 1),
		ValidArgsFunction: completeNames(e, "webhooks"),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err := c.TestWebhook(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if *output == formatJSON {
			if err := e.printJSON(answer); err != nil {
				return err
			}
		} else if answer.Delivered {
			e.printf("%s\n", strings.TrimSpace(fmt.Sprintf("%s took it: %d after %d ms %s", args[0], answer.Status, answer.TookMillis, printable(answer.Answer))))
		}
		if !answer.Delivered {
			return errors.New("webhook " + args[0] + " did not take it: " + printable(answer.Error))
		}
		return nil
	}
	return cmd
}
