package resource_test

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

func hook(spec string) string {
	return "apiVersion: keyturn/v1\nkind: Hook\nname: h\nspec: " + spec
}

func TestParseRefusesWebhooksAndHooks(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"key of a pager", webhook("{url: https://h, format: pagerduty}"), "format pagerduty needs secret"},
		{"rotation for a pager", webhook("{url: https://h, format: pagerduty, secret: env:A, events: [rotation.*]}"), `format pagerduty takes alert.* only`},
		{"mail without addresses", webhook("{url: smtp://h, format: email}"), "format email needs email"},
		{"addresses without mail", webhook("{url: https://h, email: {from: a@b, to: [a@b]}}"), "spec.email: this is for format email only"},
		{"no address", webhook("{url: smtp://h, format: email, email: {from: nobody, to: [a@b]}}"), `spec.email.from: "nobody" is no e-mail address`},
		{"user without password", webhook("{url: smtp://h, format: email, email: {from: a@b, to: [a@b], user: u}}"), "user and password go together"},
		{"address of a reader", webhook("{url: \"https://h/(redacted)\"}"), "spec.url: the address was left out"},
		{"secret header", webhook("{url: https://h, headers: {Authorization: Bearer x}}"), "spec.headers.Authorization: a secret itself must not be written here"},
		{"own header", webhook("{url: https://h, headers: {webhook-id: x}}"), "this header is made by Keyturn"},
		{"private", webhook("{url: https://h, allowPrivate: [10.0.0.0/33]}"), `"10.0.0.0/33" is no network`},
		{"proxy", webhook("{url: https://h, proxy: \"http://u:p@h\"}"), "a proxy with a password must be a reference"},
		{"no proxy", webhook("{url: https://h, proxy: nonsense}"), "spec.proxy: this is no proxy"},
		{"timeout", webhook("{url: https://h, timeout: 2m}"), "spec.timeout: must be at most 1m0s"},
		{"own fallback", webhook("{url: https://h, fallback: w}"), "a webhook can't be its own fallback"},
		{"source", hook("{source: atlass, secret: env:A}"), `unknown value "atlass": did you mean atlas?`},
		{"secret of a hook", hook("{source: atlas, secret: hunter2}"), "a secret itself must not be written here"},
		{"both", hook("{source: atlas, secret: env:A, rules: [{policy: p, alertOnly: true}]}"), "remove one"},
		{"neither", hook("{source: atlas, secret: env:A, rules: [{match: {}}]}"), "a rule needs policy: NAME, or alertOnly: true"},
		{"label", hook("{source: atlas, secret: env:A, rules: [{policy: p, match: {labels: {a: \"[\"}}}]}"), "is no glob"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			all := strings.Join(refuse(t, tc.text), "\n")
			if !strings.Contains(all, tc.want) {
				t.Errorf("got %s, want %q", all, tc.want)
			}
			if strings.Contains(all, "hunter2") || strings.Contains(all, "Bearer x") || strings.Contains(all, "u:p") {
				t.Errorf("a secret is shown: %s", all)
			}
		})
	}
}

func TestWebhooksAndHooksNameWhatIsThere(t *testing.T) {
	t.Parallel()
	docs := parse(t, target("")+"\n---\n"+policy("")+"\n---\n"+
		hook("{source: atlas, secret: env:A, rules: [{policy: p}, {policy: lost}, {alertOnly: true}]}")+"\n---\n"+
		webhook("{url: \"env:SLACK_URL\", format: slack, fallback: lost}"))
	err := resource.CrossCheck(nil, docs, false)
	if err == nil || !strings.Contains(err.Error(), "hook h names policy lost") || !strings.Contains(err.Error(), "webhook w names webhook lost") ||
		strings.Contains(err.Error(), "policy p,") {
		t.Errorf("got %v", err)
	}
	have := []keyturn.Resource{{Kind: keyturn.KindPolicy, Name: "lost"}, {Kind: keyturn.KindWebhook, Name: "lost"}}
	if err := resource.CrossCheck(have, docs, false); err != nil {
		t.Errorf("what is there counts as missing: %v", err)
	}
}
