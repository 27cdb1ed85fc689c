package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const newPolicy = `apiVersion: keyturn/v1
kind: Policy
name: monthly
spec:
  target: om-prod
  schedule: {cron: "0 3 1 * *", timezone: Europe/Berlin}
`

func (c *cli) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestApplyCreatesOnceAndThenChangesNothing(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	file := c.write(t, "policy.yaml", newPolicy)
	for _, want := range []string{"policy/monthly created\n", "policy/monthly unchanged\n"} {
		if got := c.run(t, "apply", "-f", file).want(t, exitDone).stdout; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := c.run(t, "get", "policies", "monthly").want(t, exitDone).stdout; !strings.Contains(got, "0 3 1 * *") {
		t.Errorf("the policy is not there: %s", got)
	}
}

func TestApplyDryRunShowsTheDifferenceAndChangesNothing(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.stdin = newPolicy
	c.run(t, "apply", "-f", "-").want(t, exitDone)
	c.stdin = strings.Replace(newPolicy, "0 3 1", "0 4 1", 1)
	r := c.run(t, "apply", "-f", "-", "--dry-run").want(t, exitDone)
	for _, want := range []string{"policy/monthly would be updated", "-   cron: 0 3 1 * *", "+   cron: 0 4 1 * *"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the dry run does not show %q:\n%s", want, r.stdout)
		}
	}
	if !strings.Contains(r.stderr, "nothing was changed") {
		t.Errorf("stderr is %q", r.stderr)
	}
	if got := c.run(t, "get", "policies", "monthly").stdout; !strings.Contains(got, "0 3 1 * *") {
		t.Errorf("the dry run changed the policy: %s", got)
	}
}

func TestApplyPrunesWhatIsNotThere(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	target := c.run(t, "get", "targets", "-o", "yaml").want(t, exitDone).stdout
	file := c.write(t, "all.yaml", target+"---\n"+newPolicy)
	got := c.run(t, "apply", "-f", file, "--prune").want(t, exitDone).stdout
	for _, want := range []string{"target/om-prod unchanged", "policy/monthly created", "policy/quarterly deleted"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestApplyIsAllOrNothingAndNamesEveryMistake(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	file := c.write(t, "bad.yaml", newPolicy+"---\napiVersion: keyturn/v1\nkind: Policy\nname: bad\nspec:\n  tarqet: om-prod\n  uncertain: maybe\n")
	r := c.run(t, "apply", "-f", file).want(t, exitFailed)
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	if len(lines) < 2 {
		t.Fatalf("one line for each mistake: %s", r.stderr)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "keyturn: "+file+":") {
			t.Errorf("the line %q does not begin with the place", line)
		}
	}
	if !strings.Contains(r.stderr, "tarqet") || !strings.Contains(r.stderr, `target`) {
		t.Errorf("no suggestion for the typo: %s", r.stderr)
	}
	c.run(t, "get", "policies", "monthly").want(t, exitNotFound)
}

func TestApplyRefusesAPolicyWithoutItsTarget(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.stdin = strings.Replace(newPolicy, "om-prod", "om-prodd", 1)
	c.run(t, "apply", "-f", "-").want(t, exitFailed).wantError(t, "stdin:1:1", "om-prodd", "om-prod")
}

func TestWhatGetPrintsAsYAMLCanBeApplied(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	for _, what := range []string{"targets", "policies"} {
		c.stdin = c.run(t, "get", what, "-o", "yaml").want(t, exitDone).stdout
		if got := c.run(t, "apply", "-f", "-").want(t, exitDone).stdout; !strings.HasSuffix(got, " unchanged\n") {
			t.Errorf("%s applied again: %s", what, got)
		}
	}
}
