package resource_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// example is the one of the documentation, with all fields.
const example = `# the estate
apiVersion: keyturn/v1
kind: Target
name: om-prod
spec:
  system: ops-manager                 # ops-manager | cloud-manager | atlas
  url: https://ops-manager.example.com:8443
  credentials: {publicKey: "env:OM_PUBLIC_KEY", privateKey: "file:/run/secrets/om-private-key"}   # never a literal secret
  limits: {concurrency: 64, requestsPerSecond: 0}     # 0 = none
  timeouts: {request: 30s, settle: 2m, verify: 5m}
  tls: {caFile: ""}
---
apiVersion: keyturn/v1
kind: Policy
name: quarterly
spec:
  target: om-prod
  select: {projects: ["*"], clusters: ["*"], components: [shard, config, replica-set]}   # ids, names or globs
  uncertain: reapply
  schedule: {cron: "0 2 1 */3 *", timezone: Europe/Berlin}
  alerts: {warnAfter: 90d, criticalAfter: 365d}
---
apiVersion: keyturn/v1
kind: Webhook
name: security
spec: {url: "https://hooks.example.com/keyturn", secret: "env:KEYTURN_HOOK_SECRET", format: standard, events: ["alert.*", "rotation.*"]}
`

func parse(t *testing.T, text string) []resource.Document {
	t.Helper()
	docs, err := resource.Parse("file.yaml", []byte(text), resource.Options{})
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, text)
	}
	return docs
}

func TestParseReadsTheDocumentedExample(t *testing.T) {
	t.Parallel()
	docs := parse(t, example)
	if len(docs) != 3 {
		t.Fatalf("%d documents, want 3", len(docs))
	}
	for i, line := range []int{2, 13, 23} {
		if docs[i].Line != line || docs[i].File != "file.yaml" {
			t.Errorf("%s is at %s:%d, want line %d", docs[i].Name, docs[i].File, docs[i].Line, line)
		}
	}
	target, err := resource.Target(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	want := keyturn.Target{
		Name: "om-prod", System: keyturn.SystemOpsManager, URL: "https://ops-manager.example.com:8443",
		Credentials: keyturn.Credentials{PublicKey: "env:OM_PUBLIC_KEY", PrivateKey: "file:/run/secrets/om-private-key"},
		Limits:      keyturn.Limits{Concurrency: 64},
		Timeouts: keyturn.TargetTimeouts{
			Request: keyturn.Duration(30 * time.Second), Settle: keyturn.Duration(2 * time.Minute), Verify: keyturn.Duration(5 * time.Minute),
		},
	}
	if !reflect.DeepEqual(target, want.WithDefaults()) {
		t.Errorf("target: got %+v, want %+v", target, want)
	}
	policy, err := resource.Policy(docs[1])
	if err != nil {
		t.Fatal(err)
	}
	if policy.Name != "quarterly" || policy.Schedule.Timezone != "Europe/Berlin" || len(policy.Select.Components) != 3 {
		t.Errorf("policy: got %+v", policy)
	}
	if got := string(docs[2].Spec); got != `{"events":["alert.*","rotation.*"],"format":"standard","secret":"env:KEYTURN_HOOK_SECRET","url":"https://hooks.example.com/keyturn"}` {
		t.Errorf("webhook: got %s", got)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	r := keyturn.Resource{Kind: keyturn.KindTarget, Name: "t", Generation: 7, Spec: []byte(`{"system":"ops-manager","url":"http://localhost"}`)}
	target, err := resource.TargetOf(r)
	if err != nil || target.Name != "t" || target.Generation != 7 || target.Limits.Concurrency != 16 || target.Timeouts.Settle.Std() != 2*time.Minute {
		t.Errorf("target: got %+v, %v", target, err)
	}
	r = keyturn.Resource{Kind: keyturn.KindPolicy, Name: "p", Generation: 8, Spec: []byte(`{"target":"t"}`), Status: keyturn.ResourceStatus{Paused: true}}
	policy, err := resource.PolicyOf(r)
	if err != nil || policy.Name != "p" || policy.Generation != 8 || !policy.Paused || policy.Uncertain != keyturn.UncertainReapply || policy.Schedule.Timezone != "UTC" {
		t.Errorf("policy: got %+v, %v", policy, err)
	}
	r = keyturn.Resource{Kind: keyturn.KindWebhook, Name: "w", Generation: 9, Spec: []byte(`{"url":"https://h"}`)}
	hook, err := resource.WebhookOf(r)
	if err != nil || hook.Name != "w" || hook.Generation != 9 || hook.Format != keyturn.FormatStandard {
		t.Errorf("webhook: got %+v, %v", hook, err)
	}
	if _, err := resource.TargetOf(r); err == nil {
		t.Error("a webhook was read as a target")
	}
	if _, err := resource.PolicyOf(keyturn.Resource{Kind: keyturn.KindPolicy, Name: "p", Spec: []byte(`{`)}); err == nil {
		t.Error("half a spec was read")
	}
}

func TestParseReadsOtherForms(t *testing.T) {
	t.Parallel()
	policy := "apiVersion: keyturn/v1\nkind: Policy\nname: p\nspec: {target: t}\n"
	tests := []struct{ name, text string }{
		{"byte order mark", "\ufeff" + policy},
		{"carriage returns", strings.ReplaceAll(policy, "\n", "\r\n")},
		{"empty documents", "---\n# nothing\n---\n" + policy + "---\n...\n---\n"},
		{"directive", "%YAML 1.2\n---\n" + policy},
		{"on the marker's line", "--- {apiVersion: keyturn/v1, kind: Policy, name: p, spec: {target: t}}\n"},
		{"document end", policy + "...\n"},
		{"JSON", `{"apiVersion":"keyturn/v1","kind":"Policy","name":"p","spec":{"target":"t"}}`},
		{"JSON with tabs", "{\n\t\"apiVersion\": \"keyturn/v1\",\n\t\"kind\": \"Policy\",\n\t\"name\": \"p\",\n\t\"spec\": {\n\t\t\"target\": \"t\"\n\t}\n}\n"},
		{"anchor", "apiVersion: keyturn/v1\nkind: Policy\nname: &n p\nspec: {target: t, select: {projects: &l [a], clusters: *l}}\n"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			docs := parse(t, tc.text)
			if len(docs) != 1 || docs[0].Kind != keyturn.KindPolicy || docs[0].Name != "p" || !strings.Contains(string(docs[0].Spec), `"target":"t"`) {
				t.Errorf("got %+v", docs)
			}
		})
	}
}

func TestParseReadsAStreamOfJSON(t *testing.T) {
	t.Parallel()
	one := `{"apiVersion":"keyturn/v1","kind":"Policy","name":"a","spec":{"target":"t"}}`
	two := strings.ReplaceAll(one, `"a"`, `"b"`)
	docs := parse(t, one+"\n\n"+two+" "+strings.ReplaceAll(one, `"a"`, `"c"`))
	if len(docs) != 3 || docs[1].Name != "b" || docs[1].Line != 3 || docs[2].Name != "c" || docs[2].Line != 3 {
		t.Errorf("got %+v", docs)
	}
	_, err := resource.Parse("f.json", []byte(one+" "+strings.ReplaceAll(two, "target", "targt")), resource.Options{})
	all, ok := errors.AsType[resource.Errors](err)
	if want := len(one) + 1 + strings.Index(two, `"target"`) + 1; !ok || all[len(all)-1].Line != 1 || all[len(all)-1].Column != want {
		t.Errorf("got %v, want column %d", err, want)
	}
}

func TestParsePutsEqualSpecsInOneForm(t *testing.T) {
	t.Parallel()
	a := parse(t, "apiVersion: keyturn/v1\nkind: Policy\nname: p\nspec:\n  schedule: {timezone: UTC, cron: 0 2 * * *}\n  target: 't'\n")
	b := parse(t, `{"kind":"Policy","spec":{"target":"t","schedule":{"cron":"0 2 * * *","timezone":"UTC"}},"name":"p","apiVersion":"keyturn/v1"}`)
	if want := `{"schedule":{"cron":"0 2 * * *","timezone":"UTC"},"target":"t"}`; string(a[0].Spec) != want || string(b[0].Spec) != want {
		t.Errorf("got %s and %s, want %s", a[0].Spec, b[0].Spec, want)
	}
}

func TestEncodedResourcesCanBeAppliedAgain(t *testing.T) {
	t.Parallel()
	text := example + `---
apiVersion: keyturn/v1
kind: Policy
name: "0123"
spec:
  target: "7"
  select: {projects: ["*", "123", "yes", "1e3", "a: b", "#x", "null", "<&>", "é\n"], units: []}
  schedule: {cron: "@daily"}
---
apiVersion: keyturn/v1
kind: Target
name: half
spec: {system: ops-manager, url: "http://localhost:8080", credentials: {publicKey: "env:A", privateKey: "env:B"}, limits: {requestsPerSecond: 0.5}}
`
	docs := parse(t, text)
	var stored []keyturn.Resource
	for _, d := range docs {
		stored = append(stored, keyturn.Resource{Kind: d.Kind, Name: d.Name, Spec: d.Spec, Generation: 1})
	}
	var out strings.Builder
	if err := resource.Encode(&out, stored); err != nil {
		t.Fatal(err)
	}
	again := parse(t, out.String())
	if len(again) != len(docs) {
		t.Fatalf("%d documents, want %d:\n%s", len(again), len(docs), out.String())
	}
	for i := range docs {
		if again[i].Kind != docs[i].Kind || again[i].Name != docs[i].Name || string(again[i].Spec) != string(docs[i].Spec) {
			t.Errorf("got %+v, want %+v", again[i], docs[i])
		}
	}
	if !strings.HasPrefix(out.String(), "apiVersion: keyturn/v1\nkind: Target\nname: om-prod\nspec:\n  system: ops-manager\n  url: ") {
		t.Errorf("fields are not in the order of the documentation:\n%s", out.String())
	}
}

// FuzzParse looks for files that panic, never end, or give documents that can't be read.
func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add(`{"apiVersion":"keyturn/v1","kind":"Policy","name":"p","spec":{"target":"t"}}`)
	f.Add("a: &a [*a]")
	f.Add("--- {<<: *x}\n---\n\tkind: Policy")
	f.Add("kind: Policy\nname: !!binary x\nspec: .inf")
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := resource.Parse("fuzz", []byte(text), resource.Options{})
		if err != nil {
			if all, ok := errors.AsType[resource.Errors](err); !ok || len(all) == 0 || docs != nil {
				t.Fatalf("error %#v with documents %v", err, docs)
			}
			return
		}
		for _, d := range docs {
			var err error
			switch d.Kind {
			case keyturn.KindTarget:
				_, err = resource.Target(d)
			case keyturn.KindPolicy:
				_, err = resource.Policy(d)
			case keyturn.KindWebhook:
				_, err = resource.WebhookOf(keyturn.Resource{Kind: d.Kind, Name: d.Name, Spec: d.Spec})
			default:
				err = fmt.Errorf("kind %q", d.Kind)
			}
			if err != nil {
				t.Fatalf("reading %s: %v", d.Spec, err)
			}
		}
	})
}
