package resource

import (
	"fmt"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/keyturn/keyturn"
)

// Redacted stands where something was left out that not everybody may read.
const Redacted = "(redacted)"

// IsReference reports whether the value names a secret instead of being one.
func IsReference(value string) bool {
	ok, err := regexp.MatchString(`^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$`, value)
	return ok && err == nil
}

func checkWebhook(t *tree, value any) {
	format := keyturn.FormatStandard
	if f, ok := text(value, "spec", "format"); ok {
		format = keyturn.WebhookFormat(f)
	}
	if raw, _ := text(value, "spec", "url"); strings.HasSuffix(raw, Redacted) {
		t.fail([]string{"spec", "url"}, "the address was left out for whoever read this: write the whole URL, or a reference; an admin reads it whole")
	} else if !IsReference(raw) {
		schemes := []string{"http", "https"}
		if format == keyturn.FormatEmail {
			schemes = []string{"smtp", "smtps"}
		}
		checkURL(t, value, schemes...)
	}
	if _, ok := text(value, "spec", "secret"); !ok && (format == keyturn.FormatPagerDuty || format == keyturn.FormatOpsgenie) {
		t.fail([]string{"spec"}, fmt.Sprintf("format %s needs secret: a reference to its key", format))
	}
	checkEmail(t, value, format)
	checkHeaders(t, value)
	checkDuration(t, value, keyturn.Duration(time.Minute), "spec", "timeout")
	checkAllowed(t, value)
	checkProxy(t, value)
	if file, ok := text(value, "spec", "tls", "caFile"); ok && file != "" && !path.IsAbs(file) {
		t.fail([]string{"spec", "tls", "caFile"}, "the path must be absolute: the server reads it, wherever it runs")
	}
	name, _ := text(value, "name")
	if fallback, ok := text(value, "spec", "fallback"); ok && fallback == name {
		t.fail([]string{"spec", "fallback"}, "a webhook can't be its own fallback: name another one")
	}
	checkEvents(t, value, format)
}

func checkEvents(t *tree, value any, format keyturn.WebhookFormat) {
	checkGlobs(t, value, "spec", "events")
	known := eventTypes()
	if format.AlertsOnly() {
		known = slices.DeleteFunc(known, func(e string) bool { return !strings.HasPrefix(e, "alert.") })
	}
	events, _ := lookup(value, []string{"spec", "events"}).([]any)
	for i, e := range events {
		pattern, ok := e.(string)
		if !ok || pattern == "" || matchesOne(pattern, known) {
			continue
		}
		where := []string{"spec", "events", strconv.Itoa(i)}
		if matchesOne(pattern, eventTypes()) {
			t.fail(where, fmt.Sprintf("format %s takes alert.* only: it has no notion of %s", format, show(pattern)))
			continue
		}
		t.fail(where, fmt.Sprintf("%s matches no event: %s", show(pattern), choose(pattern, known)))
	}
}

func matchesOne(pattern string, known []string) bool {
	return slices.ContainsFunc(known, func(k string) bool {
		matched, err := path.Match(pattern, k)
		return matched || err != nil // the glob has been spoken about
	})
}

func checkEmail(t *tree, value any, format keyturn.WebhookFormat) {
	there := lookup(value, []string{"spec", "email"}) != nil
	switch {
	case format == keyturn.FormatEmail && !there:
		t.fail([]string{"spec"}, "format email needs email: {from: …, to: [\"…\"]}")
	case format != keyturn.FormatEmail && there:
		t.fail([]string{"spec", "email"}, "this is for format email only")
	case !there:
		return
	}
	check := func(address any, where ...string) {
		if s, ok := address.(string); ok {
			if _, err := mail.ParseAddress(s); err != nil {
				t.fail(where, fmt.Sprintf("%s is no e-mail address", show(s)))
			}
		}
	}
	if from, ok := text(value, "spec", "email", "from"); ok {
		check(from, "spec", "email", "from")
	}
	to, _ := lookup(value, []string{"spec", "email", "to"}).([]any)
	for i, address := range to {
		check(address, "spec", "email", "to", strconv.Itoa(i))
	}
	_, user := text(value, "spec", "email", "user")
	if _, password := text(value, "spec", "email", "password"); user != password {
		t.fail([]string{"spec", "email"}, "user and password go together")
	}
}

// checkHeaders never shows a value: it may be a secret.
func checkHeaders(t *tree, value any) {
	headers, _ := lookup(value, []string{"spec", "headers"}).(map[string]any)
	for name, v := range headers {
		where := []string{"spec", "headers", name}
		content, _ := v.(string)
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			t.fail([]string{"spec", "headers"}, "a header's name is letters, digits and -")
		case slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"}, canonical):
			t.fail(where, "this header is made by Keyturn: remove it")
		case IsReference(content):
		case canonical == "Authorization" || canonical == "Cookie" || strings.HasSuffix(canonical, "Key") || strings.HasSuffix(canonical, "Token") ||
			strings.HasSuffix(canonical, "Secret"):
			t.fail(where, literalSecret(content))
		case !httpguts.ValidHeaderFieldValue(content):
			t.fail(where, "the value can't be sent in a header: it has control characters")
		}
	}
}

// hostName is what a host may be called, with a * for its first labels.
const hostName = `^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`

func checkAllowed(t *tree, value any) {
	list, _ := lookup(value, []string{"spec", "allowPrivate"}).([]any)
	name, digits := regexp.MustCompile(hostName), regexp.MustCompile(`^[0-9./]+$`)
	for i, e := range list {
		s, _ := e.(string)
		if _, err := netip.ParsePrefix(s); err == nil || s == "" {
			continue
		}
		if _, err := netip.ParseAddr(s); err == nil {
			continue
		}
		if !name.MatchString(s) || digits.MatchString(s) {
			t.fail([]string{"spec", "allowPrivate", strconv.Itoa(i)}, fmt.Sprintf("%s is no network such as 10.0.0.0/8, address or host name", show(s)))
		}
	}
}

func checkProxy(t *tree, value any) {
	raw, ok := text(value, "spec", "proxy")
	if !ok || raw == "none" || raw == "" || IsReference(raw) {
		return
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme):
		t.fail([]string{"spec", "proxy"}, "this is no proxy: write http://HOST:PORT, https://…, socks5://…, a reference, or none")
	case u.User != nil:
		t.fail([]string{"spec", "proxy"}, "a proxy with a password must be a reference: write env:NAME or file:/absolute/path")
	}
}

func checkHook(t *tree, value any) {
	rules, _ := lookup(value, []string{"spec", "rules"}).([]any)
	for i := range rules {
		where := []string{"spec", "rules", strconv.Itoa(i)}
		_, policy := text(value, append(slices.Clone(where), "policy")...)
		alertOnly, _ := lookup(value, append(slices.Clone(where), "alertOnly")).(bool)
		switch {
		case policy && alertOnly:
			t.fail(where, "a rule makes a rotation (policy) or an alert (alertOnly): remove one")
		case !policy && !alertOnly:
			t.fail(where, "a rule needs policy: NAME, or alertOnly: true")
		}
		checkGlobs(t, value, append(slices.Clone(where), "match", "eventTypes")...)
		labels, _ := lookup(value, append(slices.Clone(where), "match", "labels")).(map[string]any)
		for name, glob := range labels {
			if s, ok := glob.(string); ok {
				if _, err := path.Match(s, ""); err != nil {
					t.fail(append(slices.Clone(where), "match", "labels", name), show(s)+" is no glob")
				}
			}
		}
	}
}

// crossCheckHooks checks that what hooks and webhooks name will be there.
func crossCheckHooks(have []keyturn.Resource, want []Document, prune bool) (Errors, error) {
	there := map[key]bool{}
	for _, d := range want {
		there[key{d.Kind, d.Name}] = true
	}
	for _, r := range have {
		if !prune {
			there[key{r.Kind, r.Name}] = true
		}
	}
	var errs Errors
	missing := func(d Document, where, what string, named key) {
		errs = append(errs, Error{
			File: d.File, Line: d.Line, Column: 1, Path: where,
			Message: fmt.Sprintf("%s %s names %s %s, which does not exist: apply it too", what, d.Name, strings.ToLower(string(named.kind)), named.name),
		})
	}
	for _, d := range want {
		switch d.Kind {
		case keyturn.KindHook:
			h, err := HookOf(d.resource())
			if err != nil {
				return nil, err
			}
			for i, rule := range h.Rules {
				if named := (key{keyturn.KindPolicy, rule.Policy}); rule.Policy != "" && !there[named] {
					missing(d, fmt.Sprintf("spec.rules[%d].policy", i), "hook", named)
				}
			}
		case keyturn.KindWebhook:
			w, err := WebhookOf(d.resource())
			if err != nil {
				return nil, err
			}
			if named := (key{keyturn.KindWebhook, w.Fallback}); w.Fallback != "" && !there[named] {
				missing(d, "spec.fallback", "webhook", named)
			}
		default:
		}
	}
	return errs, nil
}
