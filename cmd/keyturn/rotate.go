package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func newRotateCommand(e *env) *cobra.Command {
	var req client.RotationRequest
	var wait bool
	cmd := &cobra.Command{
		Use:   "rotate POLICY",
		Short: "Turn the keys of a policy's units now",
		Long: `Asks for a rotation of the units that the policy selects. It is done by the
server: this command may end, or lose its connection, and the rotation goes on.

--project, --cluster and --unit narrow the policy's selection, never widen it;
they take ids, names or globs and may be given several times.

With --id, asking again with the same id is the same rotation, not a second one.`,
		Example: `  keyturn rotate quarterly --wait
  keyturn rotate quarterly --project payments --reason "key was seen in a log" --id INC-1234`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicies(e),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	flags := cmd.Flags()
	flags.BoolVar(&wait, "wait", false, "wait until it has ended; exit with 3 when it ends other than succeeded")
	flags.StringVar(&req.Reason, "reason", "", "why; kept with the rotation")
	flags.StringVar(&req.ID, "id", "", "any unique key: the same key again is the same rotation")
	flags.StringArrayVar(&req.Only.Projects, "project", nil, "only this project: id, name or glob")
	flags.StringArrayVar(&req.Only.Clusters, "cluster", nil, "only this cluster: name, id or glob")
	flags.StringArrayVar(&req.Only.Units, "unit", nil, "only this unit: id, name or glob")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req.Policy = args[0]
		if req.ID == "" {
			// So that a call that is repeated, because its answer got lost, is not a second rotation.
			req.ID = "cli-" + keyturn.NewID(e.now()).String()
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := c.Rotate(cmd.Context(), req)
		if err != nil {
			return rotateError(cmd.Context(), err)
		}
		if !wait {
			return e.printRequested(r, *output)
		}
		return e.waitAndTell(cmd.Context(), c, r, *output)
	}
	return cmd
}

// rotateError says what is unsure when the answer to a request did not come.
func rotateError(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*client.UnreachableError](err); ok && ctx.Err() != nil {
		return &exitError{code: exitFailed, err: errors.New(
			"interrupted before the server answered: the rotation may have been asked for; `keyturn rotations` shows it")}
	}
	return err
}

func (e *env) printRequested(r keyturn.Rotation, output string) error {
	if output == formatJSON {
		return e.printJSON(r)
	}
	if r.State.Final() {
		e.printf("rotation %s was asked for before and has %s\n", r.ID, r.State)
		return nil
	}
	e.printf("rotation %s of %s is %s; follow it with `keyturn rotations %s`\n", r.ID, printable(r.Policy), r.State, r.ID)
	return nil
}

// waitAndTell waits for the end and tells how it was.
func (e *env) waitAndTell(ctx context.Context, c *client.Client, r keyturn.Rotation, output string) error {
	r, err := e.wait(ctx, c, r)
	if err != nil {
		return err
	}
	if output == formatJSON {
		if r.Tasks, err = c.Tasks(ctx, r.ID.String()); err != nil {
			return err
		}
		if err := e.printJSON(r); err != nil {
			return err
		}
	} else if err := e.printSummary(ctx, c, r); err != nil {
		return err
	}
	return outcome(r)
}
