package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// TestWhatIsNoIDIsAUsageError: a server would have to be asked for what can't be there.
func TestWhatIsNoIDIsAUsageError(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.server.Close()
	for args, where := range map[string]string{
		"rotations latest":                           "keyturn rotations",
		"cancel latest":                              "keyturn rotations",
		"rotate --resume latest":                     "keyturn rotations",
		"history --rotation latest":                  "keyturn rotations",
		"alerts latest":                              "keyturn alerts",
		"alerts ack latest":                          "keyturn alerts",
		"task latest":                                "keyturn rotations ROTATION",
		"task resolve latest --as failed --reason x": "keyturn rotations ROTATION",
		"token revoke latest":                        "keyturn token list",
		"webhooks replay latest":                     "keyturn webhooks deliveries",
	} {
		c.run(t, strings.Fields(args)...).want(t, exitUsage).wantError(t, `"latest" is not an id`, "`"+where+"`")
	}
}

func TestEmptyArgumentsAreUsageErrors(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	for _, tc := range []struct {
		args []string
		word string
	}{
		{[]string{"rotate", ""}, "POLICY is empty: keyturn rotate POLICY"},
		{[]string{"rotate", " "}, "POLICY is empty"},
		{[]string{"token", "create", "", "--role", "viewer"}, "NAME is empty: keyturn token create NAME"},
		{[]string{"history", ""}, "UNIT is empty"},
		{[]string{"alerts", "ack", "a", ""}, "ID is empty"},
	} {
		c.run(t, tc.args...).want(t, exitUsage).wantError(t, tc.word)
	}
}

// TestCobrasCommandsRefuseWhatTheyDoNotKnow is about help and completion, which cobra brings along.
func TestCobrasCommandsRefuseWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	for args, word := range map[string]string{
		"completion foo":        `unknown command "foo"`,
		"completion bsh":        `did you mean "bash"?`,
		"completion bash extra": `unexpected argument "extra"`,
		"help nosuch":           `unknown command "nosuch"`,
		"help rotat":            `did you mean "rotate"?`,
		"help token nosuch":     "`keyturn token --help` lists the commands",
		"help rotate extra":     "`keyturn rotate` has no commands of its own",
	} {
		r := c.run(t, strings.Fields(args)...).want(t, exitUsage)
		r.wantError(t, word)
		if r.stdout != "" {
			t.Errorf("%s prints %q", args, r.stdout)
		}
	}
	for args, want := range map[string]string{
		"help":              "keyturn [command]",
		"help token create": "keyturn token create NAME",
		"completion":        "keyturn completion [command]",
		"completion bash":   "bash completion V2 for keyturn",
	} {
		if r := c.run(t, strings.Fields(args)...).want(t, exitDone); !strings.Contains(r.stdout, want) {
			t.Errorf("%s prints no %q: %.300s", args, want, r.stdout)
		}
	}
}

func TestMalformedTokensAreNotSentNorShown(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"kt_sec\nret", "kt_sec ret", "kt_sec\x00ret", "kt_s\u00e9cret"} {
		c := newCLI(t)
		c.server.Close()
		file := filepath.Join(c.dir, tokenFile)
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		for source, call := range map[string]func() result{
			"--token":       func() result { return c.run(t, "rotations", "--token", bad) },
			"KEYTURN_TOKEN": func() result { c.vars["KEYTURN_TOKEN"] = bad; return c.run(t, "rotations") },
			file:            func() result { c.vars["KEYTURN_TOKEN"] = ""; return c.run(t, "rotations") },
		} {
			r := call().want(t, exitUnauthorized)
			r.wantError(t, "the token in "+source+" is malformed")
			if strings.Contains(r.stderr, "kt_s") || strings.Contains(r.stderr, "ret;") {
				t.Errorf("%q is shown: %s", bad, r.stderr)
			}
		}
	}
	c := newCLI(t)
	c.vars["KEYTURN_TOKEN"] = " " + apitest.Secret(keyturn.RoleViewer) + "\n" // as a file gives it
	c.run(t, "rotations").want(t, exitDone)
}
