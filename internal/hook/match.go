package hook

import (
	"path"
	"slices"
	"strings"

	"github.com/keyturn/keyturn"
)

// Match returns the first rule that matches the event, and its place; negative: none does.
func Match(h keyturn.Hook, e Event) (keyturn.HookRule, int) {
	i := slices.IndexFunc(h.Rules, func(r keyturn.HookRule) bool { return matches(r, e) })
	if i < 0 {
		return keyturn.HookRule{}, i
	}
	return h.Rules[i], i
}

func matches(r keyturn.HookRule, e Event) bool {
	if len(r.Match.EventTypes) > 0 && !anyGlob(r.Match.EventTypes, e.Type) {
		return false
	}
	for label, pattern := range r.Match.Labels {
		if !glob(pattern, e.Labels[label]) {
			return false
		}
	}
	if r.AlertOnly && e.Over { // whatever states begin an alert: its end ends it
		return true
	}
	if len(r.Match.Status) == 0 {
		return e.Open
	}
	return slices.ContainsFunc(r.Match.Status, func(s string) bool { return s == "*" || strings.EqualFold(s, e.Status) })
}

func anyGlob(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s) })
}

func glob(pattern, s string) bool {
	ok, err := path.Match(pattern, s)
	return err == nil && ok || pattern == s
}

// Narrow returns what the rule's policy is narrowed to for the event. It answers false when the rule wants
// it narrowed and the event names no project: then the whole policy would be turned for something that
// may be about a single cluster.
func Narrow(h keyturn.Hook, r keyturn.HookRule, e Event) (keyturn.Selection, bool) {
	narrow := h.Source.MongoDB()
	if r.Narrow != nil {
		narrow = *r.Narrow
	}
	switch {
	case !narrow:
		return keyturn.Selection{}, true
	case e.Project == "":
		return keyturn.Selection{}, false
	}
	only := keyturn.Selection{Projects: []string{literal(e.Project)}}
	if e.Cluster != "" {
		only.Clusters = []string{literal(e.Cluster)}
	}
	return only, true
}

// literal makes a glob that only the text itself matches: what comes from outside must not widen anything.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
