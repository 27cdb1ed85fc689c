package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/client"
)

const (
	formatICal = "ical"
	mostMonths = 120
)

func newForecastCommand(e *env) *cobra.Command {
	var months int
	cmd := &cobra.Command{
		Use:   "forecast [POLICY]",
		Short: "Show the rotations to come, and the days on which keys would get too old",
		Long: `Lists the rotations of one policy, or of all, and the days on which keys would get
older than the policies' warnAfter (90 days) and criticalAfter (365 days), given how
old the keys are now and if each rotation turns all that it can. -o ical writes a
calendar to subscribe to.`,
		Args:              arguments(0, 1),
		ValidArgsFunction: completePolicies(e),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML, formatICal)
	cmd.Flags().IntVar(&months, "months", 12, "how many months ahead, up to 120")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if months < 1 || months > mostMonths {
			return usageErrorf("--months: give 1 to %d", mostMonths)
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		f, err := c.Forecast(cmd.Context(), firstOf(args...), months)
		if err != nil {
			return err
		}
		switch *output {
		case formatJSON:
			return e.printJSON(f)
		case formatYAML:
			return e.printYAML(f)
		case formatICal:
			e.printf("%s", icalOf(f).ICal(e.now()))
			return nil
		}
		e.printForecast(f)
		return nil
	}
	return cmd
}

func (e *env) printForecast(f client.Forecast) {
	type line struct {
		when  string
		cells []string
	}
	var lines []line
	for _, r := range f.Rotations {
		at := r.At.UTC().Format("2006-01-02 15:04")
		lines = append(lines, line{at, []string{at, "rotation", r.Policy, number(r.Units), joinNonEmpty("; ", r.Local+" "+r.Timezone, r.Note)}})
	}
	for _, a := range f.Ages {
		at := a.At.UTC().Format("2006-01-02 15:04")
		lines = append(lines, line{at, []string{at, a.Severity, a.Policy, number(a.Units), "keys pass " + a.Age + ", such as that of " + a.Example}})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.when, b.when) })
	t := &table{head: []string{"UTC", "WHAT", "POLICY", "UNITS", "NOTE"}, shrink: []int{4, 2}, state: 1}
	for _, l := range lines {
		t.add(l.cells...)
	}
	e.printTable(t, "nothing comes: no policy has a slot, and no key gets too old")
	for _, note := range f.Notes {
		e.notef("%s", printable(note))
	}
	if len(f.Ages) == 0 && len(f.Rotations) > 0 {
		e.notef("no key gets too old until %s", strings.TrimSpace(f.To.UTC().Format("2006-01-02")))
	}
}

func icalOf(f client.Forecast) calendar.Forecast {
	var c calendar.Forecast
	for _, r := range f.Rotations {
		c.Rotations = append(c.Rotations, calendar.PlannedRotation{
			Slot:   calendar.Slot{Local: r.Local, Timezone: r.Timezone, At: r.At, Offset: r.Offset, Note: r.Note, Name: r.Slot},
			Policy: r.Policy, Units: r.Units,
		})
	}
	for _, a := range f.Ages {
		c.Ages = append(c.Ages, calendar.AgePassed(a))
	}
	return c
}
