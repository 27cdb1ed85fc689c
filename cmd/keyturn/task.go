package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func newTaskCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "task ID",
		Short: "Show a task, or settle one that is parked",
		Long: `Shows one unit's part of a rotation. "keyturn rotations ID" lists the tasks of a
rotation, with the ids of those that are parked.`,
		Args: arguments(1, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := wantID(args[0], "`keyturn rotations ROTATION` shows the ids of parked tasks"); err != nil {
			return err
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		t, err := c.Task(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(t)
		}
		e.printTask(t)
		return nil
	}
	cmd.AddCommand(newTaskResolveCommand(e))
	return cmd
}

func newTaskResolveCommand(e *env) *cobra.Command {
	var d client.Decision
	as := &choice{of: []string{"succeeded", "retry", "failed"}}
	cmd := &cobra.Command{
		Use:   "resolve ID --as succeeded|retry|failed --reason TEXT",
		Short: "Say what became of a parked task",
		Long: `Settles a task whose outcome could not be found out. Look at the target first.

--as succeeded  the key was turned. The server asks the target for the key now in
                use, unless --key names it, and adds it to the history.
--as retry      it was not turned, and shall be: the task begins again, in a
                rotation of its own if this one has ended.
--as failed     it was not turned, and shall not be.

Who decided, when and why is kept with the task and in the audit.`,
		Example: `  keyturn task resolve 019d2f4e-7c1a-7b3c-9f00-0123456789ab --as succeeded --reason "new key seen in the console"`,
		Args:    arguments(1, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().Var(as, "as", "what became of it: "+strings.Join(as.of, ", "))
	_ = cmd.RegisterFlagCompletionFunc("as", cobra.FixedCompletions(as.of, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&d.Reason, "reason", "", "how you know")
	cmd.Flags().StringVar(&d.Key, "key", "", "the key now in use (with --as succeeded; default: the server asks the target)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d.As = as.value
		switch {
		case d.As == "":
			return usageErrorf("--as is missing: give succeeded, retry or failed")
		case strings.TrimSpace(d.Reason) == "":
			return usageErrorf("--reason is missing: say how you know; it is kept with the task")
		case d.Key != "" && d.As != "succeeded":
			return usageErrorf("--key goes with --as succeeded only")
		}
		if err := wantID(args[0], "`keyturn rotations ROTATION` shows the ids of parked tasks"); err != nil {
			return err
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		resolved, err := c.ResolveTask(cmd.Context(), args[0], d)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(resolved)
		}
		e.printResolved(resolved)
		return nil
	}
	return cmd
}

func (e *env) printResolved(r client.Resolved) {
	e.printf("task %s is %s", r.Task.ID, r.Task.State)
	if r.Task.KeyAfter != "" {
		e.printf(" with key %s", printable(r.Task.KeyAfter))
	}
	e.printf("; rotation %s is %s, units %s\n", r.Rotation.ID, r.Rotation.State, countsText(r.Rotation.Counts))
	if r.Retry != "" {
		e.printf("rotation %s tries it again; follow it with `keyturn rotations %s`\n", r.Retry, r.Retry)
	}
}

// printTask prints what is known of a task, one thing a line.
func (e *env) printTask(t keyturn.TaskDetail) {
	s := e.screenOf(e.stdout)
	line := func(label, value string) {
		if value != "" && value != "-" {
			e.printf("%-10s %s\n", label, value)
		}
	}
	line("task", t.ID.String())
	line("rotation", t.Rotation.String())
	line("unit", printable(t.Unit))
	line("state", s.paint(stateColour(string(t.State)), string(t.State)))
	line("known by", string(t.Resolution))
	line("reason", printable(t.Reason))
	line("attempts", strconv.Itoa(t.Attempts))
	line("key before", printable(t.KeyBefore))
	line("key after", printable(t.KeyAfter))
	line("started", stamp(t.StartedAt))
	line("finished", stamp(t.FinishedAt))
	for _, l := range t.Log {
		attempt := "no attempt" // of which it is not proven that it changed nothing
		if l.Attempt > 0 {
			attempt = "attempt " + strconv.Itoa(l.Attempt)
		}
		e.printf("%s  %-10s  %-10s  %s\n", stamp(&l.At), attempt, l.What, printable(l.Text))
	}
	if t.State == keyturn.TaskParked {
		e.notef("look at the target, then: keyturn task resolve %s --as succeeded|retry|failed --reason TEXT", t.ID)
	}
}
