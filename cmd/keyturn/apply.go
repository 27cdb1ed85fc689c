package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/client"
)

func newApplyCommand(e *env) *cobra.Command {
	var req client.ApplyRequest
	var files []string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make targets, policies, webhooks, hooks and silences what files say",
		Long: `Reads targets, policies, webhooks, hooks and silences from YAML or JSON files and
makes the server's the same: all of them or, if anything is wrong, none. Applying the
same files again changes nothing.

With --prune, every target, policy, webhook, hook and silence that is not in the files
is deleted, also silences that were made on the pages. Try it with --dry-run first.`,
		Example: `  keyturn apply -f keyturn.yaml --dry-run
  keyturn apply -f targets.yaml -f policies.yaml
  generate | keyturn apply -f -`,
		Args: arguments(0, 0),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file to apply, - for stdin; may be given several times (required)")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "show what would change, and change nothing")
	cmd.Flags().BoolVar(&req.Prune, "prune", false, "delete whatever is not in the files")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(files) == 0 {
			return usageErrorf("-f is missing: name a file, or - for stdin")
		}
		var err error
		if req.Documents, err = e.readDocuments(files); err != nil {
			return err
		}
		return e.apply(cmd.Context(), req, *output)
	}
	return cmd
}

func (e *env) apply(ctx context.Context, req client.ApplyRequest, output string) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.Apply(ctx, req)
	if err != nil {
		return err
	}
	if output == formatJSON {
		return e.printJSON(result.Changes)
	}
	e.printChanges(result)
	return nil
}

// readDocuments reads the files; - is stdin.
func (e *env) readDocuments(files []string) ([]client.Document, error) {
	documents := make([]client.Document, 0, len(files))
	stdin := false
	for _, file := range files {
		name, raw, err := file, []byte(nil), error(nil)
		if file == "-" {
			if stdin {
				return nil, usageErrorf("-f - was given twice: stdin can be read once")
			}
			stdin, name = true, "stdin"
			raw, err = io.ReadAll(e.stdin)
		} else {
			raw, err = os.ReadFile(file) //nolint:gosec // the user named it
		}
		if err != nil {
			return nil, fmt.Errorf("reading what to apply: %w", err)
		}
		documents = append(documents, client.Document{Name: name, Content: string(raw)})
	}
	return documents, nil
}

// printChanges prints one line for each resource; in a dry run also the differences.
func (e *env) printChanges(result client.ApplyResult) {
	s := e.screenOf(e.stdout)
	words := map[string]string{"create": "created", "update": "updated", "delete": "deleted", "unchanged": "unchanged"}
	if result.DryRun {
		words = map[string]string{"create": "would be created", "update": "would be updated", "delete": "would be deleted", "unchanged": "unchanged"}
	}
	changed := 0
	for _, c := range result.Changes {
		e.printf("%s/%s %s\n", strings.ToLower(string(c.Kind)), printable(c.Name), s.paint(stateColour(c.Action), firstOf(words[c.Action], c.Action)))
		if c.Action != "unchanged" {
			changed++
		}
		if result.DryRun {
			for _, line := range c.Lines {
				e.printf("  %s\n", s.paint(diffColour(line), printable(line)))
			}
		}
	}
	if result.DryRun && changed > 0 {
		e.notef("dry run: nothing was changed")
	}
}

func diffColour(line string) string {
	switch {
	case strings.HasPrefix(line, "+"):
		return green
	case strings.HasPrefix(line, "-"):
		return red
	default:
		return dim
	}
}
