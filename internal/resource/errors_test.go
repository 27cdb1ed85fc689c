package resource_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// refuse returns what Parse says against a file, one error a line.
func refuse(t *testing.T, text string) []string {
	t.Helper()
	docs, err := resource.Parse("f", []byte(text), resource.Options{CheckSchedule: func(s keyturn.Schedule) error {
		switch {
		case s.Timezone == "Europe/Berln":
			return errors.New("bad zone")
		case s.Cron == "never":
			return errors.New("bad line")
		default:
			return nil
		}
	}})
	all, ok := errors.AsType[resource.Errors](err)
	if !ok || len(all) == 0 || docs != nil {
		t.Fatalf("got %v and %d documents, want Errors", err, len(docs))
	}
	return strings.Split(err.Error(), "\n")
}

func target(spec string) string {
	return "apiVersion: keyturn/v1\nkind: Target\nname: t\nspec:\n  system: ops-manager\n  url: https://om.example.com\n  credentials: {publicKey: env:A, privateKey: env:B}\n" + spec
}

func policy(spec string) string {
	return "apiVersion: keyturn/v1\nkind: Policy\nname: p\nspec:\n  target: t\n" + spec
}

func webhook(spec string) string {
	return "apiVersion: keyturn/v1\nkind: Webhook\nname: w\nspec: " + spec
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"nothing", "", "f:1:1: the file holds no document"},
		{"only comments", "# a\n---\n# b\n", "f:1:1: the file holds no document"},
		{"other text", "just text", "f:1:1: a document is a set of fields"},
		{"list", "- a\n", "f:1:1: a document is a set of fields"},
		{"UTF-16", "\xff\xfea\x00", "f:1:1: the file is UTF-16"},
		{"no UTF-8", "name: \xc3(", "f:1:1: the file is not UTF-8"},
		{"binary", "name: \x00", "f:1:1: the file is no text"},
		{"too long", strings.Repeat("#", 1<<20+1), "f:1:1: the file has 1048577 bytes"},
		{"tab", "apiVersion: keyturn/v1\nspec:\n\ttarget: t\n", "f:3:1: a tab can't indent YAML: use spaces"},
		{"no YAML", "a: b: c\n", "f:1:1: this is no YAML: "},
		{"no kind", "apiVersion: keyturn/v1\n", "f:1:1: the field kind is missing"},
		{"kind with a typo", "kind: Polcy\n", `f:1:7: kind: unknown kind "Polcy": did you mean Policy?`},
		{"other kind", "kind: Deployment\n", `f:1:7: kind: unknown kind "Deployment": known are Target, Policy, Webhook`},
		{"kind is a number", "kind: 3\n", `f:1:7: kind: unknown kind 3`},
		{"other version", strings.Replace(policy(""), "/v1", "/v2", 1), `f:1:13: apiVersion: unknown value "keyturn/v2": did you mean keyturn/v1?`},
		{"no version", "kind: Policy\nname: p\nspec: {target: t}\n", "f:1:1: the field apiVersion is missing: write apiVersion: keyturn/v1"},
		{"metadata", policy("metadata: {name: p}\n"), "f:6:1: unknown field metadata: name stands beside kind"},
		{"field with a typo", policy("  shedule: {}\n"), "f:6:3: spec: unknown field shedule: did you mean schedule?"},
		{"odd field", policy(`  "shed\nule": {}` + "\n"), `f:6:3: spec: unknown field "shed\nule": did you mean schedule?`},
		{"field twice", policy("  target: u\n"), "f:6:3: spec: the field target is there twice"},
		{"merge key", policy("  <<: {a: b}\n"), "f:6:3: spec: merge keys (<<) are not read"},
		{"tag", policy("  uncertain: !x park\n"), "f:6:14: spec.uncertain: a value with a tag (!) is not read"},
		{"empty field", policy("  schedule:\n"), "f:6:12: spec.schedule: expected a set of fields, found nothing: give a value or remove the field"},
		{"number for text", strings.Replace(policy(""), "name: p", "name: 12", 1), "f:3:7: name: expected text, found a number (1 to 63"},
		{"name", strings.Replace(policy(""), "name: p", "name: My_Policy", 1), `f:3:7: name: "My_Policy" can't be used: expected 1 to 63 of a-z, 0-9 and -`},
		{"long name", strings.Replace(policy(""), "name: p", "name: "+strings.Repeat("a", 64), 1), `f:3:7: name: "aaa`},
		{"name with a newline", strings.Replace(policy(""), "name: p", `name: "p\n"`, 1), `f:3:7: name: "p\n" can't be used`},
		{"text for a list", policy("  select: {projects: \"*\"}\n"), "f:6:22: spec.select.projects: expected a list, found text"},
		{"glob", policy("  select: {projects: [a, \"[b\"]}\n"), `f:6:26: spec.select.projects[1]: "[b" is no glob`},
		{"component", policy("  select: {components: [shards]}\n"), `f:6:25: spec.select.components[0]: unknown value "shards": did you mean shard?`},
		{"uncertain", policy("  uncertain: retry\n"), `f:6:14: spec.uncertain: unknown value "retry": known are reapply, park`},
		{"cron line", policy("  schedule: {cron: never}\n"), "f:6:20: spec.schedule.cron: bad line"},
		{"time zone", policy("  schedule: {cron: x, timezone: Europe/Berln}\n"), "f:6:33: spec.schedule.timezone: bad zone"},
		{"ages in the wrong order", policy("  alerts: {warnAfter: 90d, criticalAfter: 30d}\n"), "f:6:11: spec.alerts: warnAfter (90d) must be shorter than criticalAfter (30d)"},
		{"age later than the default", policy("  alerts: {warnAfter: 400d}\n"), "f:6:11: spec.alerts: warnAfter (400d) must be shorter than criticalAfter (365d)"},
		{"batch that is no number", policy("  rollout: {batch: many}\n"), `f:6:20: spec.rollout.batch: "many" is no batch: write a number of units such as 50, or a share such as "25%"`},
		{"batch of nothing", policy("  rollout: {batch: 0}\n"), `spec.rollout.batch: "0" is no batch`},
		{"empty share", policy("  rollout: {batch: 0%}\n"), `spec.rollout.batch: "0%" is no batch`},
		{"share of more than all", policy("  rollout: {batch: 101%}\n"), `spec.rollout.batch: "101%" is more than all units: write 1% to 100%`},
		{"half a batch", policy("  rollout: {batch: 2.5}\n"), "spec.rollout.batch: expected a whole number or text"},
		{"empty batch", policy("  rollout: {batch: \"\"}\n"), "spec.rollout.batch: is empty"},
		{"canary", policy("  rollout: {canary: -1}\n"), "spec.rollout.canary: -1 is out of range"},
		{"failures", policy("  rollout: {maxFailures: -1}\n"), "spec.rollout.maxFailures: -1 is out of range"},
		{"order", policy("  rollout: {order: shard-first}\n"), "spec.rollout.order: unknown value \"shard-first\": did you mean shards-first?"},
		{"pause", policy("  rollout: {batch: 5, pauseBetween: soon}\n"), `spec.rollout.pauseBetween: "soon" is not a duration`},
		{"pause of a year", policy("  rollout: {batch: 5, pauseBetween: 365d}\n"), "spec.rollout.pauseBetween: must be at most 30d"},
		{"pause between nothing", policy("  rollout: {pauseBetween: 5m}\n"), "spec.rollout.pauseBetween: there is nothing to pause between: give a batch or a canary too"},
		{"interval", target("  observe: often\n"), `spec.observe: "often" is not a duration`},
		{"short interval", target("  observe: 1s\n"), "spec.observe: must be at least 10s, or 0s for never"},
		{"age", policy("  alerts: {warnAfter: soon}\n"), `f:6:23: spec.alerts.warnAfter: "soon" is not a duration`},
		{"endless age", policy("  alerts: {criticalAfter: 200000d}\n"), `f:6:27: spec.alerts.criticalAfter: `},
		{"no target", "apiVersion: keyturn/v1\nkind: Policy\nname: p\nspec: {}\n", "f:4:7: spec: the field target is missing"},
		{"system with a typo", strings.Replace(target(""), "ops-manager", "opsmanager", 1), `f:5:11: spec.system: unknown value "opsmanager": did you mean ops-manager?`},
		{"URL without a scheme", strings.Replace(target(""), "https://", "", 1), "f:6:8: spec.url: the URL must begin with http:// or https://"},
		{"URL without a host", strings.Replace(target(""), "om.example.com", "/x", 1), "f:6:8: spec.url: the URL has no host"},
		{"URL with a bad port", strings.Replace(target(""), ".com", ".com:70000", 1), "f:6:8: spec.url: the port must be 1 to 65535"},
		{"URL with a query", strings.Replace(target(""), ".com", ".com/v2/foo?x=1", 1), "f:6:8: spec.url: the URL must not have a query (?)"},
		{"URL with an empty query", strings.Replace(target(""), ".com", ".com?", 1), "f:6:8: spec.url: the URL must not have a query (?)"},
		{"URL with a fragment", strings.Replace(target(""), ".com", ".com/v2#x", 1), "f:6:8: spec.url: the URL must not have a fragment (#)"},
		{"no URL", strings.Replace(target(""), "om.example.com", "%zz", 1), "f:6:8: spec.url: this is no URL"},
		{"concurrency", target("  limits: {concurrency: 2000}\n"), "f:8:25: spec.limits.concurrency: 2000 is out of range: expected 0 to 1024"},
		{"half a task", target("  limits: {concurrency: 1.5}\n"), "f:8:25: spec.limits.concurrency: expected a whole number, found a number"},
		{"requests", target("  limits: {requestsPerSecond: -1}\n"), "f:8:31: spec.limits.requestsPerSecond: -1 is out of range: expected 0 to 100000"},
		{"infinite", target("  limits: {requestsPerSecond: .inf}\n"), "f:8:31: spec.limits.requestsPerSecond: this is no number that can be used"},
		{"timeout without a unit", target("  timeouts: {request: 30}\n"), "f:8:23: spec.timeouts.request: expected text, found a number (a duration such as 30s)"},
		{"no time at all", target("  timeouts: {settle: 0s}\n"), "f:8:22: spec.timeouts.settle: must be longer than 0"},
		{"too much time", target("  timeouts: {request: 1h}\n"), "f:8:23: spec.timeouts.request: must be at most 10m0s"},
		{"relative file", target("  tls: {caFile: ca.pem}\n"), "f:8:17: spec.tls.caFile: the path must be absolute"},
		{"event", webhook("{url: https://h, events: [rotation.don]}"), `f:4:33: spec.events[0]: "rotation.don" matches no event`},
		{"format", webhook("{url: https://h, format: slak}"), `f:4:32: spec.format: unknown value "slak": did you mean slack?`},
		{"mail by HTTP", webhook("{url: https://h, format: email}"), `f:4:13: spec.url: the URL must begin with smtp:// or smtps://`},
		{"empty event", webhook("{url: https://h, events: [\"\"]}"), `f:4:33: spec.events[0]: is empty`},
		{"twice", policy("") + "---\n" + policy(""), "f:7:1: Policy p is there twice: the first is at f:1"},
		{"circle", policy("  select: &a {projects: *a}\n"), "nested deeper than 32 levels"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := refuse(t, tc.text)
			for _, line := range got {
				if strings.Contains(line, tc.want) {
					return
				}
			}
			t.Errorf("got %q\nwant %q", got, tc.want)
		})
	}
}

func TestParseReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	got := refuse(t, strings.Replace(target("  limts: {}\n"), "https", "ftp", 1)+"---\n\tx: y\n---\nkind: Polcy\n---\n"+policy("  uncertain: x\n  alerts: {warnAfter: 5}\n"))
	want := []string{"f:6:8: spec.url: ", "f:8:3: spec: unknown field limts: ", "f:10:1: a tab", "f:12:7: kind: ", "f:19:14: spec.uncertain: ", "f:20:23: spec.alerts.warnAfter: "}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %d errors", got, len(want))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("error %d: got %q, want %q", i, got[i], want[i])
		}
	}
}

func TestParseBoundsWhatItReads(t *testing.T) {
	t.Parallel()
	var bomb strings.Builder
	bomb.WriteString("kind: Policy\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	tests := []struct{ name, text, want string }{
		{"aliases of aliases", bomb.String(), "more than 200000 values"},
		{"deep", "kind: Policy\nspec: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "nested deeper than 32 levels"},
		{"very deep", "kind: Policy\nspec: " + strings.Repeat("[", 500_000), "this is no YAML"},
		{"many documents", strings.Repeat("{}\n", 300_000), "the field kind is missing"},
		{"same thing often", strings.Repeat(policy("")+"---\n", 1000), "only the first 100 errors are shown"},
		{"many markers", strings.Repeat("---\na\n", 170_000), "a document is a set of fields"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := refuse(t, tc.text)
			if len(got) > 101 || !strings.Contains(strings.Join(got, "\n"), tc.want) {
				t.Errorf("got %d errors, the first %.200q, want %q", len(got), got[0], tc.want)
			}
		})
	}
}

func TestErrorsNeverShowASecret(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	tests := []struct{ name, text string }{
		{"literal", "credentials: {publicKey: env:A, privateKey: hunter2}"},
		{"quoted", "credentials: {publicKey: env:A, privateKey: 'hunter2'}"},
		{"number of a kind", "credentials: {publicKey: env:A, privateKey: [hunter2]}"},
		{"in a set", "credentials: {publicKey: env:A, privateKey: {hunter2: x}}"},
		{"tag", "credentials: {publicKey: env:A, privateKey: !hunter2 x}"},
		{"alias", "credentials: {publicKey: env:A, privateKey: *hunter2}"},
		{"missing space", `credentials: {publicKey: env:A, "privateKey:hunter2": }`},
		{"missing space in a block", "credentials:\n    publicKey: env:A\n    privateKey:hunter2\n"},
		{"after a prefix", "credentials: {publicKey: env:A, privateKey: env:hunter2!}"},
		{"relative file", "credentials: {publicKey: env:A, privateKey: file:hunter2}"},
		{"all credentials", "credentials: hunter2"},
		{"in the URL", "url: https://user:hunter2@host"},
		{"in a broken URL", "url: 'https://user:hunter2@ho st%'"},
		{"percent", "credentials: {publicKey: env:A, privateKey: %hunter2}"},
		{"at", "credentials: {publicKey: env:A, privateKey: @hunter2}"},
		{"backslash", `credentials: {publicKey: env:A, privateKey: "\hunter2"}`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := refuse(t, "apiVersion: keyturn/v1\nkind: Target\nname: t\nspec:\n  system: ops-manager\n  "+tc.text+"\n")
			if all := strings.Join(got, "\n"); strings.Contains(all, secret) {
				t.Errorf("the secret is shown: %s", all)
			}
		})
	}
}
