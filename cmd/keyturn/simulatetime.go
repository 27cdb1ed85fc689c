package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/resource"
	"github.com/keyturn/keyturn/scheduler"
)

// replayFlags are the flags of `keyturn simulate-time`.
type replayFlags struct {
	files  []string
	years  int
	from   string
	maxAge string
	o      calendar.ReplayOptions
}

func newSimulateTimeCommand(e *env) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "simulate-time -f FILE",
		Short: "Let years pass for the policies of a file, and say how old keys get",
		Long: `Replays the policies of resource files in seconds, without a server: their slots,
windows, blackouts, jitter, maxAge and minInterval, with units that fail at random.
All keys are new at the start. It ends with exit code 3 if any key gets older than
its policy's alerts.warnAfter, or than --max-age, so that a pipeline can check
"no key older than 90 days, blackouts included" before a policy is applied.`,
		Args: arguments(0, 0),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "file with policies, - for stdin; may be given several times (required)")
	flags.IntVar(&f.years, "years", 2, "how many years, up to 100")
	flags.StringVar(&f.from, "from", "", "when to start: an instant or a day; default now")
	flags.Float64Var(&f.o.FailureRate, "failure-rate", 0, "how many of the units fail in each rotation, such as 0.01")
	flags.Uint64Var(&f.o.Seed, "seed", 1, "the same seed gives the same failures")
	flags.IntVar(&f.o.Units, "units", 100, "units of each policy, up to 100000")
	flags.StringVar(&f.maxAge, "max-age", "", "the age that no key may pass, such as 90d; default each policy's alerts.warnAfter")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(e); err != nil {
			return err
		}
		results, err := e.replay(cmd.Context(), f)
		if err != nil {
			return err
		}
		return e.printReplay(results, *output)
	}
	return cmd
}

func (f *replayFlags) check(e *env) error {
	switch {
	case len(f.files) == 0:
		return usageErrorf("-f is missing: name a file, or - for stdin")
	case f.years < 1 || f.years > 100:
		return usageErrorf("--years: give 1 to 100")
	case f.o.Units < 1 || f.o.Units > 100_000:
		return usageErrorf("--units: give 1 to 100000")
	case !(f.o.FailureRate >= 0 && f.o.FailureRate <= 1):
		return usageErrorf("--failure-rate: give 0 to 1, such as 0.01")
	}
	if f.maxAge != "" {
		age, err := keyturn.ParseDuration(f.maxAge)
		if err != nil || age <= 0 {
			return usageErrorf("--max-age: %q is no age: write one such as 90d", f.maxAge)
		}
		f.o.MaxAge = age.Std()
	}
	f.o.From = e.now().UTC()
	if f.from != "" {
		from, err := calendar.ParseTime(f.from, "UTC")
		if err != nil {
			return usageErrorf("--from: %w", err)
		}
		f.o.From = from
	}
	f.o.To = f.o.From.AddDate(f.years, 0, 0)
	return nil
}

func (e *env) replay(ctx context.Context, f replayFlags) ([]calendar.Replayed, error) {
	documents, err := e.readDocuments(f.files)
	if err != nil {
		return nil, err
	}
	var reader scheduler.Reader
	results := []calendar.Replayed{}
	for _, d := range documents {
		parsed, err := resource.Parse(d.Name, []byte(d.Content), resource.Options{CheckSchedule: func(s keyturn.Schedule) error {
			_, err := reader.Timetable(s)
			return err
		}})
		if err != nil {
			return nil, err
		}
		for _, doc := range parsed {
			if doc.Kind != keyturn.KindPolicy {
				continue
			}
			policy, err := resource.Policy(doc)
			if err != nil {
				return nil, err
			}
			table, err := reader.Timetable(policy.Schedule)
			if err != nil {
				return nil, fmt.Errorf("policy %s: %w", policy.Name, err)
			}
			result, err := calendar.Replay(ctx, policy, table, f.o)
			if err != nil {
				return nil, err
			}
			results = append(results, result)
		}
	}
	if len(results) == 0 {
		return nil, usageErrorf("the files hold no policy")
	}
	return results, nil
}

func (e *env) printReplay(results []calendar.Replayed, output string) error {
	var err error
	switch output {
	case formatJSON:
		err = e.printJSON(results)
	case formatYAML:
		err = e.printYAML(results)
	default:
		t := &table{head: []string{"POLICY", "ROTATIONS", "TURNED", "FAILED", "OLDEST KEY", "ON", "LIMIT", "OK", "NOTE"}, shrink: []int{8, 0}, state: 7}
		for _, r := range results {
			day, ok := "-", "yes"
			if r.ReachedAt != nil {
				day = r.ReachedAt.Format(time.DateOnly)
			}
			if !r.OK {
				ok = "no"
			}
			t.add(r.Policy, number(r.Rotations), number(r.Turned), number(r.Failed), r.HighestAge, day, r.Limit, ok, r.Note)
		}
		e.printTable(t, "")
	}
	if err != nil {
		return err
	}
	for _, r := range results {
		if !r.OK {
			return &exitError{code: exitNotSucceeded, err: fmt.Errorf(
				"a key of policy %s gets %s old, more than %s: turn more often, or make room in its windows and blackouts", r.Policy, r.HighestAge, r.Limit)}
		}
	}
	return nil
}
