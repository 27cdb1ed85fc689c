package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func newUnitsCommand(e *env) *cobra.Command {
	var filter keyturn.UnitFilter
	cmd := &cobra.Command{
		Use:   "units",
		Short: "List the units that were seen, with the keys they use and how old those are",
		Args:  arguments(0, 0),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().StringVar(&filter.Target, "target", "", "only this target's")
	cmd.Flags().StringVar(&filter.Project, "project", "", "only this project's: its id or name")
	cmd.Flags().StringVar(&filter.Cluster, "cluster", "", "only this cluster's: its id or name")
	cmd.Flags().StringVar(&filter.Name, "unit", "", "only this unit: its id, name, PROJECT/NAME or component id")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		units, err := c.Units(cmd.Context(), filter)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(units)
		}
		t := &table{head: []string{"UNIT", "KIND", "PROJECT", "CLUSTER", "KEY", "AGE", "NOTE"}, shrink: []int{4, 6, 2, 3, 0}, state: noStateTint}
		for _, u := range units {
			t.add(orDash(u.Name), string(u.Component), firstOf(u.ProjectName, u.ProjectID), orDash(u.ClusterName),
				orDash(u.KeyID), keyAge(e, u), u.Reason)
		}
		e.printTable(t, emptyText("units", "no units yet: `keyturn observe TARGET` or a rotation finds those that policies select",
			filter.Target, filter.Project, filter.Cluster, filter.Name))
		return nil
	}
	return cmd
}

// keyAge marks an age that is only a lower bound: the key was in use when it was first seen.
func keyAge(e *env, u keyturn.Unit) string {
	if u.KeySince != nil && !u.KeySinceExact {
		return ">" + age(u.KeySince, e.now())
	}
	return age(u.KeySince, e.now())
}

func newHistoryCommand(e *env) *cobra.Command {
	var rotation string
	cmd := &cobra.Command{
		Use:   "history [UNIT]",
		Short: "List which unit used which key from when to when, and how that is known",
		Args:  arguments(0, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().StringVar(&rotation, "rotation", "", "only what this rotation turned")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var filter keyturn.HistoryFilter
		if len(args) > 0 {
			filter.Unit = args[0]
		}
		if rotation != "" {
			id, err := keyturn.ParseID(rotation)
			if err != nil {
				return usageErrorf("--rotation: %w; %s", err, whereRotations)
			}
			filter.Rotation = id
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		records, err := c.History(cmd.Context(), filter)
		if err != nil {
			return err
		}
		if len(records) == 0 && filter.Unit != "" {
			if err := mustKnowUnit(cmd.Context(), c, filter.Unit); err != nil {
				return err
			}
		}
		if *output == formatJSON {
			return e.printJSON(records)
		}
		return e.printHistory(cmd.Context(), c, records, emptyText("records", "no key was seen yet", filter.Unit, rotation))
	}
	return cmd
}

// mustKnowUnit tells an unknown unit from one without a history.
func mustKnowUnit(ctx context.Context, c *client.Client, unit string) error {
	units, err := c.Units(ctx, keyturn.UnitFilter{Name: unit})
	if err != nil {
		return err
	}
	if len(units) == 0 {
		return &exitError{code: exitNotFound, err: fmt.Errorf("there is no unit %q; `keyturn units` lists them", unit)}
	}
	return nil
}

func (e *env) printHistory(ctx context.Context, c *client.Client, records []keyturn.KeyRecord, empty string) error {
	t := &table{head: []string{"UNIT", "KEY", "FROM (UTC)", "UNTIL", "FOR", "ORIGIN"}, shrink: []int{0, 1}, state: noStateTint}
	names, err := unitNames(ctx, c, len(records) > 0)
	if err != nil {
		return err
	}
	for _, r := range records {
		until, end := "now", e.now()
		if r.Until != nil {
			until, end = stamp(r.Until), *r.Until
		}
		t.add(names.of(r.Unit), r.KeyID, stamp(&r.From), until, age(&r.From, end), string(r.Origin))
	}
	e.printTable(t, empty)
	return nil
}

// nameMap says what people call units.
type nameMap map[string]string

func (m nameMap) of(id string) string { return firstOf(m[id], id) }

// unitNames asks for the names of all units, if any are wanted.
func unitNames(ctx context.Context, c *client.Client, wanted bool) (nameMap, error) {
	if !wanted {
		return nil, nil //nolint:nilnil // an empty map
	}
	units, err := c.Units(ctx, keyturn.UnitFilter{})
	if err != nil {
		return nil, err
	}
	names := make(nameMap, len(units))
	for _, u := range units {
		names[u.ID] = joinNonEmpty("/", firstOf(u.ProjectName, u.ProjectID), firstOf(u.Name, u.ClusterName))
	}
	return names, nil
}
