package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/scheduler"
)

// scheduleOptions are the flags of `keyturn schedule`.
type scheduleOptions struct {
	next      int
	from      string
	line      string
	zone      string
	gap, fold string
}

func newScheduleCommand(e *env) *cobra.Command {
	var o scheduleOptions
	cmd := &cobra.Command{
		Use:   "schedule [POLICY]",
		Short: "Show when a policy's slots are, in local time and UTC, and why there",
		Long: `Lists the slots of a policy: local time, offset, UTC, and why each is where it
is: a local time that the clocks jump over (gap) or that comes twice (fold), a
window or a blackout that it waits for, a jitter.

With --cron it lists those of a cron line that no policy has yet, without a server:

  keyturn schedule --cron "0 2 1 */3 *" --timezone Europe/Berlin`,
		Args:              arguments(0, 1),
		ValidArgsFunction: completePolicies(e),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	flags := cmd.Flags()
	flags.IntVar(&o.next, "next", 10, "how many slots, up to 10000")
	flags.StringVar(&o.from, "from", "", "from this instant (RFC 3339), or this day or local time of the policy's time zone, on; default now")
	flags.StringVar(&o.line, "cron", "", "instead of a policy: a cron line")
	flags.StringVar(&o.zone, "timezone", "UTC", "with --cron: its time zone")
	flags.StringVar(&o.gap, "gap", "", "with --cron: after or skip")
	flags.StringVar(&o.fold, "fold", "", "with --cron: first, last or both")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case o.next < 1 || o.next > calendar.MaxSlots:
			return usageErrorf("--next: give 1 to %d", calendar.MaxSlots)
		case (len(args) == 0) == (o.line == ""):
			return usageErrorf("give a policy, or --cron LINE: %s", cmd.UseLine())
		}
		if _, err := calendar.ParseTime(o.from, "UTC"); o.from != "" && err != nil {
			return usageErrorf("--from: %w", err)
		}
		schedule, err := e.slotsOf(cmd.Context(), args, o)
		if err != nil {
			return err
		}
		switch *output {
		case formatJSON:
			return e.printJSON(schedule.Items)
		case formatYAML:
			return e.printYAML(schedule.Items)
		}
		e.printSlots(schedule)
		return nil
	}
	return cmd
}

func (e *env) slotsOf(ctx context.Context, args []string, o scheduleOptions) (client.Schedule, error) {
	if o.line != "" {
		return e.slotsOfLine(ctx, o)
	}
	c, err := e.client()
	if err != nil {
		return client.Schedule{}, err
	}
	defer c.Close()
	return c.Schedule(ctx, args[0], o.next, o.from)
}

// slotsOfLine lists the slots of a cron line without asking a server.
func (e *env) slotsOfLine(ctx context.Context, o scheduleOptions) (client.Schedule, error) {
	table, err := scheduler.Parse(keyturn.Schedule{Cron: o.line, Timezone: o.zone, Gap: keyturn.Gap(o.gap), Fold: keyturn.Fold(o.fold)})
	if err != nil {
		return client.Schedule{}, usageErrorf("%w", err)
	}
	from := e.now().Add(time.Nanosecond)
	if o.from != "" {
		if from, err = calendar.ParseTime(o.from, o.zone); err != nil {
			return client.Schedule{}, usageErrorf("--from: %w", err)
		}
	}
	slots, err := calendar.Slots(ctx, table, from, o.next)
	schedule := client.Schedule{Items: make([]client.PlannedSlot, len(slots))}
	for i, s := range slots {
		schedule.Items[i] = client.PlannedSlot{Local: s.Local, Timezone: s.Timezone, At: s.At, Offset: s.Offset, Note: s.Note, Slot: s.Name}
	}
	return schedule, err
}

func (e *env) printSlots(s client.Schedule) {
	t := &table{head: []string{"LOCAL", "TIME ZONE", "UTC", "OFFSET", "NOTE"}, shrink: []int{4, 1}, state: noStateTint}
	for _, slot := range s.Items {
		t.add(slot.Local, slot.Timezone, stamp(&slot.At), slot.Offset, slot.Note)
	}
	e.printTable(t, "no slots: the policy runs only when it is triggered, or its schedule has ended")
	if s.Paused {
		e.notef("the policy is paused: its slots do not fire")
	}
}

// printYAML prints what printJSON does, as YAML.
func (e *env) printYAML(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	var node yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(raw)).Decode(&node); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(e.stdout)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return enc.Close() //nolint:wrapcheck // writes what is left, to the same place
}

// blockStyle takes the braces of JSON off.
func blockStyle(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	for _, c := range n.Content {
		blockStyle(c)
	}
}
