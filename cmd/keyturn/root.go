package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

// version is set at release: -ldflags "-X main.version=v1.2.3".
var version = "dev"

const (
	defaultServer  = "http://127.0.0.1:7390"
	defaultDataDir = "./keyturn-data"
	tokenFile      = "admin-token"
)

// env is the process around a command, so that tests can stand in for it.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	poll           time.Duration // between two looks at a rotation; 0: 250 ms
	backoff        time.Duration // before a call is repeated; 0: the client's default

	server, token string // global flags
}

// The groups of the commands in the help.
const (
	groupWork   = "work"
	groupTime   = "time"
	groupSetup  = "setup"
	groupServer = "server"
)

func newRootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "keyturn",
		Short: "Turns the encryption keys of a whole MongoDB estate on schedule, never twice, and can prove it",
		Long: `Keyturn turns the encryption keys of a whole MongoDB estate on schedule, never
twice, and can prove it.

Try it:          keyturn demo
Run it:          keyturn serve
Set it up:       keyturn apply -f keyturn.yaml
Turn keys now:   keyturn rotate POLICY --wait

Exit codes: 0 done, 1 error, 2 usage, 3 rotation ended other than succeeded,
4 not found, 5 unauthorized.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	flags := root.PersistentFlags()
	flags.StringVar(&e.server, "server", "", "address of the server (KEYTURN_SERVER; default "+defaultServer+")")
	flags.StringVar(&e.token, "token", "", "API token (KEYTURN_TOKEN; default: the file "+tokenFile+" in the data directory)")
	root.AddGroup(
		&cobra.Group{ID: groupWork, Title: "Keys and rotations:"},
		&cobra.Group{ID: groupTime, Title: "Schedules:"},
		&cobra.Group{ID: groupSetup, Title: "Setting up:"},
		&cobra.Group{ID: groupServer, Title: "Running:"},
	)
	addGroup(root, groupWork,
		newRotateCommand(e), newPlanCommand(e), newRotationsCommand(e), newCancelCommand(e), newTaskCommand(e), newUnitsCommand(e),
		newHistoryCommand(e), newKeysCommand(e), newObserveCommand(e), newAlertsCommand(e), newPauseCommand(e), newResumeCommand(e), newAuditCommand(e))
	addGroup(root, groupTime, newScheduleCommand(e), newForecastCommand(e), newBackfillCommand(e), newSimulateTimeCommand(e))
	addGroup(root, groupSetup, newApplyCommand(e), newGetCommand(e), newDoctorCommand(e), newWebhooksCommand(e), newHooksCommand(e), newTokenCommand(e))
	addGroup(root, groupServer, newServeCommand(e), newDemoCommand(e), newSimulateCommand(e), newMigrateCommand(e))
	root.AddCommand(newVersionCommand(e))
	adoptCobras(root)
	return root
}

func addGroup(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// noSuchCommand is the Args of commands that only hold others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	names := make([]string, 0, len(cmd.Commands()))
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usageErrorf("unknown command %q%s; `%s --help` lists the commands", args[0], didYouMean(args[0], names), cmd.CommandPath())
}

// flagError makes cobra's errors about flags usage errors, with a suggestion for a typo.
func flagError(cmd *cobra.Command, err error) error {
	suggestion := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		suggestion = didYouMean("--"+unknown.GetSpecifiedName(), names)
	}
	return usageErrorf("%w%s; `%s --help` lists the flags", err, suggestion, cmd.CommandPath())
}

// arguments is the Args of a command that takes least to most arguments, named as in its Use.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageErrorf("%s is missing: %s", argumentName(cmd, len(args)), cmd.UseLine())
		case len(args) > most:
			return usageErrorf("unexpected argument %q: %s", args[most], cmd.UseLine())
		}
		for i, arg := range args {
			if strings.TrimSpace(arg) == "" { // such as that of a script whose variable is not set
				return usageErrorf("%s is empty: %s", argumentName(cmd, i), cmd.UseLine())
			}
		}
		return nil
	}
}

// argumentName names the n-th argument of a command from its Use.
func argumentName(cmd *cobra.Command, n int) string {
	words := strings.Fields(cmd.Use)[1:]
	if n < len(words) {
		return strings.Trim(words[n], "[].")
	}
	return "an argument"
}

// wantID refuses what can't be an id, and says where ids are found.
func wantID(text, where string) error {
	if _, err := keyturn.ParseID(text); err != nil {
		return usageErrorf("%w; %s", err, where)
	}
	return nil
}

const whereRotations = "`keyturn rotations` shows the ids"

// didYouMean returns `: did you mean "x"?`-like text for the name that is closest, if one is close.
func didYouMean(got string, names []string) string {
	best, bestDistance := "", 1+max(1, len(got)/3)
	for _, name := range names {
		if strings.HasPrefix(name, got) && len(got) > 3 {
			return fmt.Sprintf(" (did you mean %q?)", name)
		}
		if d := distance(got, name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is how many letters must be added, removed, replaced or swapped with
// their neighbour to make b from a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// client returns a client of the server that the flags and the environment name.
func (e *env) client() (*client.Client, error) {
	server := firstOf(e.server, e.getenv("KEYTURN_SERVER"), defaultServer)
	token, err := e.findToken()
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{Server: server, Token: token, UserAgent: "keyturn/" + version, Backoff: e.backoff})
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return c, nil
}

// findToken returns the token of the flag, the environment, or the file that
// the server's first start wrote. None is no error: the server says so.
func (e *env) findToken() (string, error) {
	if e.token != "" {
		return wholeToken(e.token, "--token")
	}
	if token := e.getenv("KEYTURN_TOKEN"); token != "" {
		return wholeToken(token, "KEYTURN_TOKEN")
	}
	path := filepath.Join(firstOf(e.getenv("KEYTURN_DATA_DIR"), defaultDataDir), tokenFile)
	raw, err := os.ReadFile(path) //nolint:gosec // the path is the user's configuration
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", &exitError{code: exitUnauthorized, err: fmt.Errorf("reading the token: %w; give one with --token or KEYTURN_TOKEN", err)}
	}
	return wholeToken(string(raw), path)
}

// wholeToken refuses what no request can carry, without showing it: it may be a secret with a line too much.
func wholeToken(text, source string) (string, error) {
	token := strings.TrimSpace(text)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &exitError{code: exitUnauthorized, err: fmt.Errorf(
			"the token in %s is malformed: it has blanks, line breaks or letters that no token has; give the one line that `keyturn token create` prints", source)}
	}
	return token, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// completePolicies completes the name of a policy.
func completePolicies(e *env) cobra.CompletionFunc { return completeNames(e, "policies") }

// completeNames completes the first argument with the names of resources.
func completeNames(e *env, plural string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		c, err := e.client()
		if err != nil || len(args) > 0 {
			return nil, none
		}
		defer c.Close()
		resources, err := c.Resources(cmd.Context(), plural)
		if err != nil {
			return nil, none
		}
		names := make([]string, len(resources))
		for i, r := range resources {
			names[i] = r.Name
		}
		return names, none
	}
}
