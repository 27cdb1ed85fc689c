package resource_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

func stored(kind keyturn.ResourceKind, name, spec string, generation int64) keyturn.Resource {
	return keyturn.Resource{Kind: kind, Name: name, Spec: []byte(spec), Generation: generation}
}

const omSpec = `{"url": "https://om", "system": "ops-manager", "credentials": {"publicKey": "env:A", "privateKey": "env:B"}}`

func TestDiff(t *testing.T) {
	t.Parallel()
	have := []keyturn.Resource{
		stored(keyturn.KindPolicy, "old", `{"target":"gone"}`, 4),
		stored(keyturn.KindPolicy, "changed", `{"target":"om","schedule":{"cron":"0 2 * * *"}}`, 3),
		stored(keyturn.KindTarget, "gone", omSpec, 2),
		stored(keyturn.KindTarget, "om", omSpec, 1), // as a database may give it back: other order, spaces
	}
	want := parse(t, `
apiVersion: keyturn/v1
kind: Policy
name: new
spec: {target: om}
---
apiVersion: keyturn/v1
kind: Policy
name: changed
spec: {target: om, schedule: {cron: "0 3 * * *"}}
---
apiVersion: keyturn/v1
kind: Target
name: om
spec: {system: ops-manager, url: "https://om", credentials: {publicKey: env:A, privateKey: env:B}}
`)
	summary := func(prune bool) []string {
		t.Helper()
		changes, err := resource.Diff(have, want, prune)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, c := range changes {
			all = append(all, fmt.Sprintf("%s %s %s %d %t %s", c.Action, c.Kind, c.Name, c.Generation, c.Spec == nil, strings.Join(c.Lines, "|")))
		}
		return all
	}
	kept := []string{
		"unchanged Target om 1 false ",
		`update Policy changed 3 false   target: om|  schedule:|-   cron: 0 2 * * *|+   cron: 0 3 * * *`,
		"create Policy new 0 false + target: om",
	}
	if got := summary(false); !slices.Equal(got, kept) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(kept, "\n"))
	}
	pruned := slices.Concat(kept, []string{
		"delete Policy old 4 true - target: gone",
		"delete Target gone 2 true - system: ops-manager|- url: https://om|- credentials:|-   publicKey: env:A|-   privateKey: env:B",
	})
	if got := summary(true); !slices.Equal(got, pruned) {
		t.Errorf("with prune got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(pruned, "\n"))
	}
}

func TestDiffLeavesOutWhatIsFarFromAChange(t *testing.T) {
	t.Parallel()
	projects := make([]string, 20)
	for i := range projects {
		projects[i] = fmt.Sprintf("p%02d", i)
	}
	spec := func(names []string) string {
		return `{"target":"om","select":{"projects":["` + strings.Join(names, `","`) + `"]}}`
	}
	before := spec(projects)
	projects[10] = "other"
	changes, err := resource.Diff(
		[]keyturn.Resource{stored(keyturn.KindPolicy, "p", before, 1)},
		[]resource.Document{{Kind: keyturn.KindPolicy, Name: "p", Spec: []byte(spec(projects))}}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := "…\n      - p07\n      - p08\n      - p09\n-     - p10\n+     - other\n      - p11\n      - p12\n      - p13\n…"
	if got := strings.Join(changes[0].Lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDiffOfLongListsEnds(t *testing.T) {
	t.Parallel()
	list := func(prefix string) []byte {
		names := make([]string, 10_000)
		for i := range names {
			names[i] = fmt.Sprintf("%s%d", prefix, i)
		}
		return []byte(`{"target":"om","select":{"projects":["` + strings.Join(names, `","`) + `"]}}`)
	}
	changes, err := resource.Diff(
		[]keyturn.Resource{stored(keyturn.KindPolicy, "p", string(list("a")), 1)},
		[]resource.Document{{Kind: keyturn.KindPolicy, Name: "p", Spec: list("b")}}, false)
	if err != nil || len(changes[0].Lines) < 20_000 {
		t.Errorf("%d lines, %v", len(changes[0].Lines), err)
	}
}

func TestDiffNamesASpecThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, err := resource.Diff([]keyturn.Resource{stored(keyturn.KindPolicy, "p", `{`, 1)}, nil, true)
	if err == nil || !strings.Contains(err.Error(), "Policy p") {
		t.Errorf("got %v", err)
	}
}

func TestCrossCheck(t *testing.T) {
	t.Parallel()
	om := stored(keyturn.KindTarget, "om-prod", omSpec, 1)
	policy := func(target string) resource.Document {
		return resource.Document{Kind: keyturn.KindPolicy, Name: "p", Spec: []byte(`{"target":"` + target + `"}`), File: "f", Line: 9}
	}
	target := resource.Document{Kind: keyturn.KindTarget, Name: "om-new", Spec: []byte(omSpec), File: "f", Line: 1}
	tests := []struct {
		name  string
		have  []keyturn.Resource
		want  []resource.Document
		prune bool
		err   string
	}{
		{"target is there", []keyturn.Resource{om}, []resource.Document{policy("om-prod")}, false, ""},
		{"target comes along", nil, []resource.Document{policy("om-new"), target}, true, ""},
		{"typo", []keyturn.Resource{om}, []resource.Document{policy("om-prd")}, false, "f:9:1: spec.target: policy p names target om-prd, which does not exist: did you mean om-prod?"},
		{"no target at all", nil, []resource.Document{policy("om")}, false, "there is no target yet"},
		{"target would be pruned", []keyturn.Resource{om}, []resource.Document{policy("om-prod")}, true, "which would be pruned"},
		{"both are pruned", []keyturn.Resource{om, stored(keyturn.KindPolicy, "q", `{"target":"om-prod"}`, 1)}, []resource.Document{target}, true, ""},
		{"twice in two files", []keyturn.Resource{om}, []resource.Document{policy("om-prod"), policy("om-prod")}, false, "f:9:1: Policy p is there twice"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := resource.CrossCheck(tc.have, tc.want, tc.prune)
			if tc.err == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if _, ok := errors.AsType[resource.Errors](err); !ok || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %v, want %q", err, tc.err)
			}
		})
	}
}

func TestCheckRemoval(t *testing.T) {
	t.Parallel()
	have := []keyturn.Resource{stored(keyturn.KindTarget, "om", omSpec, 1), stored(keyturn.KindPolicy, "p", `{"target":"om"}`, 1)}
	if err := resource.CheckRemoval(have, keyturn.KindTarget, "om"); !errors.Is(err, keyturn.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	if err := resource.CheckRemoval(have, keyturn.KindTarget, "other"); err != nil {
		t.Errorf("got %v for a target that nothing names", err)
	}
	if err := resource.CheckRemoval(have, keyturn.KindPolicy, "p"); err != nil {
		t.Errorf("got %v for a policy", err)
	}
}

func TestSchemaIsGivenForEachKind(t *testing.T) {
	t.Parallel()
	for _, kind := range []keyturn.ResourceKind{keyturn.KindTarget, keyturn.KindPolicy, keyturn.KindWebhook} {
		if data, err := resource.Schema(kind); err != nil || !strings.Contains(string(data), "draft/2020-12") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := resource.Schema("Deployment"); !errors.Is(err, keyturn.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
}
