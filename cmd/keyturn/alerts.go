package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func newAlertsCommand(e *env) *cobra.Command {
	var f keyturn.AlertFilter
	var limit int
	state, kind := alertChoices()
	cmd := &cobra.Command{
		Use:   "alerts [ID]",
		Short: "List what a person must know, the open ones first, or show one alert with its history",
		Long: `Lists alerts: the open ones first, of those and of the resolved ones the newest
first. An alert begins and ends with its fact; docs/alerts.md has the kinds.`,
		Args: arguments(0, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().Var(state, "state", "only those in this state: "+strings.Join(state.of, ", "))
	cmd.Flags().Var(kind, "kind", "only this kind, such as key.age")
	cmd.Flags().StringVar(&f.Policy, "policy", "", "only those about this policy")
	cmd.Flags().StringVar(&f.Target, "target", "", "only those about this target")
	cmd.Flags().IntVar(&limit, "limit", 0, "list at most so many (0: all; default: "+strconv.Itoa(screenful)+" in a table, all in JSON)")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(state.of, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kind.of, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("policy", completePolicies(e))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 {
			return usageErrorf("--limit is %d: give 0 for all, or how many", limit)
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if len(args) > 0 {
			return e.showAlert(cmd.Context(), c, args[0], *output)
		}
		shorten := *output == formatTable && !cmd.Flags().Changed("limit")
		if shorten {
			limit = screenful + 1
		}
		f.State, f.Kind = keyturn.AlertState(state.value), keyturn.AlertKind(kind.value)
		alerts, err := c.Alerts(cmd.Context(), f, limit)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(alerts)
		}
		if shorten && len(alerts) > screenful {
			alerts = alerts[:screenful]
			defer e.notef("these are the first %d; --limit 0 lists all", screenful)
		}
		e.printAlerts(alerts, emptyText("alerts", "no alerts: nothing needs a person", state.value, kind.value, f.Policy, f.Target))
		return nil
	}
	cmd.AddCommand(newAckCommand(e))
	return cmd
}

func alertChoices() (state, kind *choice) {
	state, kind = &choice{of: []string{string(keyturn.AlertFiring), string(keyturn.AlertAcknowledged), string(keyturn.AlertResolved)}}, &choice{}
	for _, k := range keyturn.AlertKinds() {
		kind.of = append(kind.of, string(k))
	}
	return state, kind
}

func (e *env) printAlerts(alerts []keyturn.Alert, empty string) {
	t := &table{head: []string{"ID", "KIND", "SEVERITY", "STATE", "AGE", "TOLD", "MESSAGE"}, shrink: []int{6}, state: 3}
	for _, a := range alerts {
		t.add(a.ID.String(), string(a.Kind), string(a.Severity), string(a.State), age(&a.Since, e.now()), age(a.LastNotifiedAt, e.now()), a.Message)
	}
	e.printTable(t, empty)
}

const whereAlerts = "`keyturn alerts` shows the ids"

func (e *env) showAlert(ctx context.Context, c *client.Client, id, output string) error {
	if err := wantID(id, whereAlerts); err != nil {
		return err
	}
	a, err := c.Alert(ctx, id)
	if err != nil {
		return err
	}
	if output == formatJSON {
		return e.printJSON(a)
	}
	s := e.screenOf(e.stdout)
	line := func(label, value string) {
		if value != "" {
			e.printf("%-13s %s\n", label, value)
		}
	}
	line("alert", a.ID.String())
	line("kind", string(a.Kind)+", "+string(a.Severity))
	line("state", s.paint(stateColour(string(a.State)), string(a.State)))
	line("message", printable(a.Message))
	line("about", printable(a.Subject))
	line("policy", printable(a.Policy))
	line("target", printable(a.Target))
	line("since", stamp(&a.Since)+" UTC")
	if a.LastNotifiedAt != nil {
		line("last told", stamp(a.LastNotifiedAt)+" UTC")
	} else {
		line("last told", "nobody yet")
	}
	if a.AckedBy != "" {
		until := ""
		if a.AckedUntil != nil {
			until = "until " + stamp(a.AckedUntil) + " UTC"
		}
		line("acknowledged", printable(joinNonEmpty(", ", "by "+a.AckedBy, until, a.AckNote)))
	}
	e.printf("\n")
	t := &table{head: []string{"AT (UTC)", "STATE", "SEVERITY", "BY", "NOTE"}, shrink: []int{4, 3}, state: 1}
	for _, h := range a.History {
		t.add(stamp(&h.At), string(h.State), string(h.Severity), orDash(h.By), h.Note)
	}
	e.printTable(t, "no history")
	return nil
}

func newAckCommand(e *env) *cobra.Command {
	var until string
	var ack client.Ack
	cmd := &cobra.Command{
		Use:   "ack ID [ID...]",
		Short: "Say that you care for an alert",
		Long: `Acknowledges alerts: nobody is reminded of them until they get worse, or until
the time given is over. They end by themselves with what they are about.`,
		Args: arguments(1, maxAcks),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().StringVar(&until, "until", "", "when it fires again if it still holds: a duration (4h, 2d) or a time (2026-12-31T18:00:00Z); default: as long as it lasts")
	cmd.Flags().StringVar(&ack.Note, "note", "", "why, or what is being done")
	cmd.Flags().BoolVar(&ack.Group, "group", false, "also all other open alerts of the same kind, policy and target")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := readUntil(until, &ack); err != nil {
			return err
		}
		for _, id := range args { // before the first is acknowledged
			if err := wantID(id, whereAlerts); err != nil {
				return err
			}
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		var done []keyturn.Alert
		for _, id := range args {
			a, err := c.AckAlert(cmd.Context(), id, ack)
			if err != nil {
				return err
			}
			done = append(done, a)
		}
		if *output == formatJSON {
			return e.printJSON(done)
		}
		e.printAlerts(done, "no alerts")
		return nil
	}
	return cmd
}

// maxAcks is how many alerts one command acknowledges: --group is for more.
const maxAcks = 100

func readUntil(text string, ack *client.Ack) error {
	if text == "" {
		return nil
	}
	if d, err := keyturn.ParseDuration(text); err == nil && d > 0 {
		ack.For = d
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return usageErrorf("--until is %q: write a duration such as 4h or 2d, or a time such as 2026-12-31T18:00:00Z", text)
	}
	ack.Until = &at
	return nil
}
