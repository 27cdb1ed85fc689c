package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keyturn/keyturn"
)

// The values of -o.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// outputFlag adds -o and returns where its value will be.
func outputFlag(cmd *cobra.Command, formats ...string) *string {
	value := &choice{value: formats[0], of: formats}
	cmd.Flags().VarP(value, "output", "o", "output: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return &value.value
}

// choice is a flag that takes one of a few words.
type choice struct {
	value string
	of    []string
}

func (c *choice) String() string { return c.value }

func (c *choice) Type() string { return "string" }

func (c *choice) Set(s string) error {
	for _, word := range c.of {
		if s == word {
			c.value = s
			return nil
		}
	}
	return fmt.Errorf("give %s", strings.Join(c.of, ", "))
}

// printJSON prints indented JSON: camelCase, times in UTC as the API has them.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

func (e *env) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(e.stdout, format, args...)
}

// notef tells a person something that is not the output.
func (e *env) notef(format string, args ...any) {
	_, _ = fmt.Fprintf(e.stderr, format+"\n", args...)
}

// screen is what is known of where output goes.
type screen struct {
	terminal bool
	colour   bool
	width    int // columns; 0: no bound
}

// screenOf looks at a stream.
func (e *env) screenOf(w io.Writer) screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return screen{}
	}
	s := screen{terminal: true, width: 80}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
		s.width = width
	}
	s.colour = e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
	return s
}

// The colours, as SGR parameters.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s screen) paint(colour, text string) string {
	if !s.colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// stateColour is the colour of a rotation's or a task's state.
func stateColour(state string) string {
	switch state {
	case string(keyturn.RotationSucceeded), string(keyturn.AlertResolved), "yes", "create", "ok":
		return green
	case string(keyturn.RotationFailed), string(keyturn.AlertFiring), "delete":
		return red
	case string(keyturn.RotationPartial), string(keyturn.TaskParked), string(keyturn.RotationCancelled), string(keyturn.AlertAcknowledged),
		"update", "paused", "mixed", "failing", "gone", "warning":
		return yellow
	case string(keyturn.RotationRunning), string(keyturn.RotationPlanning), string(keyturn.TaskIntended):
		return cyan
	default:
		return ""
	}
}

// printable replaces what could steer a terminal: names come from other systems.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// age is how long ago t was, in one unit: "45s", "12m", "7h", "3d", "2y".
func age(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return span(now.Sub(*t))
}

func span(d time.Duration) string {
	const year = 365 * keyturn.Day
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 2*keyturn.Day:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	case d < 2*year:
		return strconv.Itoa(int(d/keyturn.Day)) + "d"
	default:
		return strconv.Itoa(int(d/year)) + "y"
	}
}

// stamp is a time as a person reads it, in UTC.
func stamp(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// number groups digits: 12,345.
func number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// plural is "1 unit" or "3 units".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	if strings.HasSuffix(word, "y") {
		return number(n) + " " + strings.TrimSuffix(word, "y") + "ies"
	}
	return number(n) + " " + word + "s"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
