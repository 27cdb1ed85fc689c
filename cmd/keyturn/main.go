// Command keyturn turns the encryption keys of a MongoDB estate on schedule.
// `keyturn --help` lists its commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // zones also where the system has none

	"github.com/keyturn/keyturn/internal/client"
)

// Exit codes, as scripts see them.
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotSucceeded = 3 // a rotation ended other than succeeded
	exitNotFound     = 4
	exitUnauthorized = 5
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to end; the second one ends.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return runEnv(ctx, args, &env{stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv, now: time.Now})
}

func runEnv(ctx context.Context, args []string, e *env) int {
	root := newRootCommand(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code, lines := explain(err)
	for _, line := range lines {
		_, _ = fmt.Fprintln(e.stderr, "keyturn: "+line)
	}
	return code
}

// exitError is an error with an exit code of its own. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// explain returns the exit code of an error and what to print about it: one
// line, or one for each thing that is wrong with a file.
func explain(err error) (code int, lines []string) {
	if e, ok := errors.AsType[*exitError](err); ok {
		if e.err == nil {
			return e.code, nil
		}
		return e.code, []string{oneLine(e.Error())}
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return explainProblem(p, err)
	}
	if e, ok := errors.AsType[*client.UnreachableError](err); ok {
		if errors.Is(err, context.Canceled) {
			return failed("interrupted")
		}
		return failed(e.Error() + "; start one with `keyturn serve`, or name another with --server")
	}
	if errors.Is(err, context.Canceled) {
		return failed("interrupted")
	}
	return failed(err.Error())
}

func failed(text string) (int, []string) { return exitFailed, []string{oneLine(text)} }

func explainProblem(p *client.Problem, err error) (code int, lines []string) {
	switch p.Status {
	case 401:
		return exitUnauthorized, []string{oneLine(err.Error()) + "; give one with --token or KEYTURN_TOKEN"}
	case 403:
		return exitUnauthorized, []string{oneLine(err.Error())}
	case 404:
		return exitNotFound, []string{oneLine(err.Error())}
	}
	if len(p.Errors) > 1 {
		for _, e := range p.Errors {
			lines = append(lines, oneLine(joinNonEmpty(": ", e.Location, e.Message)))
		}
		return exitFailed, lines
	}
	return exitFailed, []string{oneLine(err.Error())}
}

func joinNonEmpty(sep string, parts ...string) string {
	kept := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, sep)
}

func oneLine(s string) string { return printable(strings.Join(strings.Fields(s), " ")) }
