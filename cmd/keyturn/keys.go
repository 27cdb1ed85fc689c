package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
)

func newKeysCommand(e *env) *cobra.Command {
	var filter keyturn.KeyFilter
	cmd := &cobra.Command{
		Use:   "keys [UNIT]",
		Short: "List current and old keys, which snapshots need them and until when",
		Long: `Lists every key that the history or a snapshot names: who used it, its state at
the KMIP server or KMS as last seen, how many snapshots need it, until when, and
how sure that is:

exact    every snapshot that needs it names it as its key
by-time  some snapshots do not name a key: they need the one in use when they were made
unknown  snapshots may exist that nobody has seen, or some have no expiry

MAY GO is the day from which no known snapshot needs the key. "-o json" says why.`,
		Example: `  keyturn keys --old
  keyturn keys shard-0
  keyturn keys retire 7f0c…`,
		Args: arguments(0, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	cmd.Flags().StringVar(&filter.Target, "target", "", "only this target's")
	cmd.Flags().StringVar(&filter.Key, "key", "", "only the key with this id")
	cmd.Flags().BoolVar(&filter.Old, "old", false, "only those that no unit uses any more")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			filter.Unit = args[0]
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		keys, err := c.Keys(cmd.Context(), filter)
		if err != nil {
			return err
		}
		if len(keys) == 0 && filter.Unit != "" {
			if err := mustKnowUnit(cmd.Context(), c, filter.Unit); err != nil {
				return err
			}
		}
		slices.SortFunc(keys, keyturn.CompareRetained)
		switch *output {
		case formatJSON:
			return e.printJSON(keys)
		case formatYAML:
			return e.printYAML(keys)
		}
		old := ""
		if filter.Old {
			old = "old"
		}
		e.printKeys(keys, emptyText("keys", "no key was seen yet", filter.Unit, filter.Target, filter.Key, old))
		return nil
	}
	cmd.AddCommand(newKeysRetireCommand(e))
	return cmd
}

func (e *env) printKeys(keys []keyturn.RetainedKey, empty string) {
	t := &table{
		head:   []string{"KEY", "TARGET", "USED BY", "FROM (UTC)", "UNTIL", "STATE", "SNAPSHOTS", "NEEDED UNTIL", "SURE", "MAY GO"},
		shrink: []int{2, 0, 1}, state: noStateTint,
	}
	for _, k := range keys {
		until, needed := "now", "-"
		if !k.InUse {
			until = orDash(dayOf(k.Until))
		}
		switch {
		case k.NeededUntil != nil:
			needed = dayOf(k.NeededUntil)
		case k.Snapshots > 0:
			needed = "no end"
		}
		t.add(k.KeyID, k.Target, usedBy(k), orDash(dayOf(k.From)), until, lifeWords(k), number(k.Snapshots), needed, string(k.Sure), orDash(dayOf(k.SafeToRetireAt)))
	}
	e.printTable(t, empty)
}

// usedBy names a key's units by what people call them.
func usedBy(k keyturn.RetainedKey) string {
	if len(k.Units) == 0 {
		return "-"
	}
	u := k.Units[len(k.Units)-1]
	name := joinNonEmpty("/", u.ProjectName, firstOf(u.Name, u.ClusterName, u.Unit))
	others := map[string]bool{}
	for _, o := range k.Units {
		if o.Unit != u.Unit {
			others[o.Unit] = true
		}
	}
	if len(others) > 0 {
		name += " +" + number(len(others))
	}
	return name
}

func lifeWords(k keyturn.RetainedKey) string {
	switch {
	case k.State == nil:
		return "-"
	case k.State.Orphan:
		return "orphan"
	default:
		return string(k.State.State)
	}
}

func newKeysRetireCommand(e *env) *cobra.Command {
	var q keyturn.RetireQuery
	var confirm bool
	cmd := &cobra.Command{
		Use:   "retire KEY|UNIT",
		Short: "Say when an old key may go, and with --confirm disable it",
		Long: `Says whether a key, or each old key of a unit, may be disabled: it is not in use,
the rotation that replaced it is complete, and no snapshot needs it. The target
is asked now. Without --confirm nothing is changed.

With --confirm (role admin) the key is disabled in its KMS; it is never deleted,
and can be enabled again. What is unknown, such as snapshots that could not be
listed, keeps a key unless --accept-unknown is given; what is known to need a
key always does. Keys of KMIP servers are never touched: do it there.`,
		Example: `  keyturn keys retire 7f0c…
  keyturn keys retire 7f0c… --confirm --reason "all snapshots have expired"`,
		Args: arguments(1, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	cmd.Flags().StringVar(&q.Target, "target", "", "the key's target, where several have a key of this id")
	cmd.Flags().BoolVar(&confirm, "confirm", false, "disable the key")
	cmd.Flags().BoolVar(&q.AcceptUnknown, "accept-unknown", false, "disable it although not everything is known (with --confirm)")
	cmd.Flags().StringVar(&q.Reason, "reason", "", "why; kept in the audit (with --confirm)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.Name = args[0]
		if !confirm && (q.AcceptUnknown || q.Reason != "") {
			return usageErrorf("--accept-unknown and --reason go with --confirm only")
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		retired, err := c.Retire(cmd.Context(), q, confirm)
		if err != nil {
			return err
		}
		switch *output {
		case formatJSON:
			return e.printJSON(retired)
		case formatYAML:
			return e.printYAML(retired)
		}
		for _, r := range retired {
			e.printRetirement(r)
		}
		return nil
	}
	return cmd
}

func (e *env) printRetirement(r keyturn.Retirement) {
	s := e.screenOf(e.stdout)
	verdict := s.paint(red, "stays")
	switch {
	case r.DisabledAt != nil:
		verdict = s.paint(green, "is disabled")
	case r.Allowed(false):
		verdict = s.paint(green, "may go")
	case r.Allowed(true):
		verdict = s.paint(yellow, "may go, if what is unknown is accepted")
	case len(r.Needs) == 0 && len(r.Unknowns) == 0:
		verdict = s.paint(green, "is not needed")
	}
	e.printf("key %s of %s %s: %s\n", printable(r.Key.KeyID), printable(r.Key.Target), verdict, printable(r.Message))
	for _, part := range []struct {
		title string
		lines []string
	}{{"needed", r.Needs}, {"unknown", r.Unknowns}, {"known how", r.Key.Reasons}} {
		for _, line := range part.lines {
			if line != r.Message {
				e.printf("  %-10s %s\n", part.title, printable(line))
			}
		}
	}
	if r.Advice != "" {
		e.printf("  %-10s %s\n", "do", printable(r.Advice))
	}
	if r.DisabledAt == nil && r.Able && len(r.Needs) == 0 {
		e.notef("%s", strings.TrimSpace("`keyturn keys retire "+printable(r.Key.KeyID)+" --confirm` disables it"))
	}
}

// dayOf is the day of a time, in UTC; empty: there is none.
func dayOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}
