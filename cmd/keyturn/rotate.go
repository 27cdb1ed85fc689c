package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func newRotateCommand(e *env) *cobra.Command {
	var req client.RotationRequest
	var wait bool
	var resume string
	cmd := &cobra.Command{
		Use:   "rotate POLICY | --resume ROTATION",
		Short: "Turn the keys of a policy's units now",
		Long: `Asks for a rotation of the units that the policy selects. It is done by the
server: this command may end, or lose its connection, and the rotation goes on.

--project, --cluster and --unit narrow the policy's selection, never widen it;
they take ids, names or globs and may be given several times.

--key UNIT=KEY names a key that someone else has made for a unit whose keys are made
elsewhere (Atlas), by the unit's id; it narrows nothing.

With --id, asking again with the same id is the same rotation, not a second one.

With --resume ROTATION instead of a policy it goes on with what a rotation that
has ended left undone: units that failed, or that were stopped before they
began, and that nothing has turned since.`,
		Example: `  keyturn rotate quarterly --wait
  keyturn rotate quarterly --project payments --reason "key was seen in a log" --id INC-1234
  keyturn rotate --resume 019d2f4e-7c1a-7b3c-9f00-0123456789ab --wait`,
		Args: func(cmd *cobra.Command, args []string) error {
			if resume != "" {
				return resumeArguments(cmd, args)
			}
			return arguments(1, 1)(cmd, args)
		},
		ValidArgsFunction: completePolicies(e),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	flags := cmd.Flags()
	flags.BoolVar(&wait, "wait", false, "wait until it has ended; exit with 3 when it ends other than succeeded")
	flags.StringVar(&req.Reason, "reason", "", "why; kept with the rotation")
	flags.StringVar(&resume, "resume", "", "go on with what this rotation left undone")
	flags.StringVar(&req.ID, "id", "", "any unique key: the same key again is the same rotation")
	flags.StringArrayVar(&req.Only.Projects, "project", nil, "only this project: id, name or glob")
	flags.StringArrayVar(&req.Only.Clusters, "cluster", nil, "only this cluster: name, id or glob")
	flags.StringArrayVar(&req.Only.Units, "unit", nil, "only this unit: id, name, PROJECT/NAME or glob")
	var keys []string
	flags.StringArrayVar(&keys, "key", nil, "UNIT=KEY: put this key, which someone else has made, into use in this unit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if resume != "" {
			return e.resumeRotation(cmd.Context(), resume, req.Reason, wait, *output)
		}
		req.Policy = args[0]
		var err error
		if req.Only, err = withKeys(req.Only, keys); err != nil {
			return err
		}
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

// withKeys reads --key UNIT=KEY.
func withKeys(only keyturn.Selection, words []string) (keyturn.Selection, error) {
	for _, word := range words {
		unit, key, ok := strings.Cut(word, "=")
		if !ok {
			return only, usageErrorf("--key %q is not UNIT=KEY, such as atlas.PROJECT.aws=arn:aws:kms:…; `keyturn units -o json` has the ids of units", word)
		}
		var err error
		if only, err = only.WithKeys(map[string]string{unit: key}); err != nil {
			return only, usageErrorf("--key: %w", err)
		}
	}
	return only, nil
}

// resumeArguments refuses what does not go with --resume: what is missing is known.
func resumeArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf("unexpected argument %q: --resume takes the policy from the rotation", args[0])
	}
	for _, name := range []string{"id", "project", "cluster", "unit", "key"} {
		if cmd.Flags().Changed(name) {
			return usageErrorf("--%s does not go with --resume: it goes on with what is missing", name)
		}
	}
	return nil
}

// resumeRotation asks for a retry of what a rotation left undone.
func (e *env) resumeRotation(ctx context.Context, id, reason string, wait bool, output string) error {
	if err := wantID(id, whereRotations); err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.ResumeRotation(ctx, id, reason)
	if err != nil {
		return rotateError(ctx, err)
	}
	if r.LeftOut > 0 {
		e.notef("%s left out, because nobody knows what became of it: `keyturn rotations %s` lists what must be resolved first",
			plural(r.LeftOut, "parked unit"), printable(id))
	}
	if !wait {
		return e.printRequested(r.Rotation, output)
	}
	return e.waitAndTell(ctx, c, r.Rotation, output)
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
	if r, err = c.RotationWithClusters(ctx, r.ID.String()); err != nil {
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
