package main

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/resource"
)

// resourceWords are the plurals by what may be written for them.
func resourceWords() map[string]string {
	return map[string]string{
		"target": "targets", "policy": "policies", "webhook": "webhooks", "hook": "hooks", "silence": "silences",
		"targets": "targets", "policies": "policies", "webhooks": "webhooks", "hooks": "hooks", "silences": "silences",
	}
}

func newGetCommand(e *env) *cobra.Command {
	plurals := []string{"targets", "policies", "webhooks", "hooks", "silences"}
	cmd := &cobra.Command{
		Use:   "get targets|policies|webhooks|hooks|silences [NAME]",
		Short: "Show targets, policies, webhooks, hooks or silences",
		Long: `Lists targets, policies, webhooks, hooks or silences, or shows one of them.
-o yaml prints what can be changed and applied again.`,
		Args: arguments(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return plurals, cobra.ShellCompDirectiveNoFileComp
			}
			return completeNames(e, resourceWords()[args[0]])(cmd, args[1:], start)
		},
	}
	output := outputFlag(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what, ok := resourceWords()[strings.ToLower(args[0])]
		if !ok {
			return usageErrorf("there are no %q%s: write targets, policies, webhooks, hooks or silences", args[0], didYouMean(args[0], plurals))
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if len(args) == 2 {
			return e.getOne(cmd.Context(), c, what, args[1], *output)
		}
		resources, err := c.Resources(cmd.Context(), what)
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(resources)
		}
		return e.printResources(what, resources, *output)
	}
	return cmd
}

func (e *env) getOne(ctx context.Context, c *client.Client, what, name, output string) error {
	r, err := c.Resource(ctx, what, name)
	if err != nil {
		return err
	}
	if output == formatJSON {
		return e.printJSON(r)
	}
	return e.printResources(what, []keyturn.Resource{r}, output)
}

func (e *env) printResources(what string, resources []keyturn.Resource, output string) error {
	if output == formatYAML {
		return resource.Encode(e.stdout, resources)
	}
	switch what {
	case "targets":
		return e.printTargets(resources)
	case "policies":
		return e.printPolicies(resources)
	case "hooks":
		return e.printHooks(resources)
	case "silences":
		return e.printSilences(resources)
	default:
		return e.printWebhooks(resources)
	}
}

func (e *env) printTargets(resources []keyturn.Resource) error {
	t := &table{head: []string{"NAME", "SYSTEM", "URL", "CONCURRENCY", "AGE", "NOTE"}, shrink: []int{5, 2, 0}, state: noStateTint}
	for _, r := range resources {
		target, err := resource.TargetOf(r)
		if err != nil {
			return err
		}
		note := ""
		if r.Status.HeldUntil != nil && r.Status.HeldUntil.After(e.now()) {
			note = "held for " + span(r.Status.HeldUntil.Sub(e.now())) + ": " + r.Status.HoldReason
		}
		t.add(r.Name, string(target.System), target.URL, strconv.Itoa(target.Limits.Concurrency), age(&r.CreatedAt, e.now()), note)
	}
	e.printTable(t, "no targets yet: `keyturn apply -f FILE` makes them")
	return nil
}

func (e *env) printPolicies(resources []keyturn.Resource) error {
	t := &table{head: []string{"NAME", "TARGET", "SCHEDULE", "TIMEZONE", "STATE", "NEXT", "NOTE"}, shrink: []int{6, 3, 2, 1, 0}, state: 4}
	for _, r := range resources {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return err
		}
		state, note := "active", ""
		if r.Status.Paused {
			state = "paused"
			who := "by " + r.Status.PausedBy
			if until := r.Status.PausedUntil; until != nil {
				who += " until " + until.UTC().Format(time.RFC3339)
			}
			note = joinNonEmpty(": ", who, r.Status.PauseNote)
		} else if r.Status.SkippedSlot != "" {
			note = "did not fire: " + r.Status.SkippedSlot + ": " + r.Status.SkippedReason
		}
		t.add(r.Name, policy.Target, scheduleText(policy.Schedule), policy.Schedule.Timezone, state, e.nextText(r.Status), note)
	}
	e.printTable(t, "no policies yet: `keyturn apply -f FILE` makes them")
	return nil
}

// nextText is when a policy's next slot is due: "in 3d".
func (e *env) nextText(status keyturn.ResourceStatus) string {
	switch {
	case status.Paused || status.NextAt == nil:
		return "-"
	case status.NextAt.Before(e.now()):
		return "now"
	default:
		return "in " + span(status.NextAt.Sub(e.now()))
	}
}

func (e *env) printWebhooks(resources []keyturn.Resource) error {
	t := &table{head: []string{"NAME", "URL", "EVENTS", "AGE"}, shrink: []int{2, 1, 0}, state: noStateTint}
	for _, r := range resources {
		var spec struct {
			URL    string   `json:"url"`
			Events []string `json:"events"`
		}
		if err := json.Unmarshal(r.Spec, &spec); err != nil {
			return err
		}
		t.add(r.Name, spec.URL, firstOf(strings.Join(spec.Events, " "), "all"), age(&r.CreatedAt, e.now()))
	}
	e.printTable(t, "no webhooks yet: `keyturn apply -f FILE` makes them")
	return nil
}

func (e *env) printHooks(resources []keyturn.Resource) error {
	t := &table{head: []string{"NAME", "SOURCE", "POLICIES", "PATH", "AGE"}, shrink: []int{2, 0}, state: noStateTint}
	for _, r := range resources {
		hook, err := resource.HookOf(r)
		if err != nil {
			return err
		}
		var policies []string
		for _, rule := range hook.Rules {
			if rule.Policy != "" && !slices.Contains(policies, rule.Policy) {
				policies = append(policies, rule.Policy)
			}
		}
		t.add(r.Name, string(hook.Source), firstOf(strings.Join(policies, " "), "none"), "/hooks/"+r.Name, age(&r.CreatedAt, e.now()))
	}
	e.printTable(t, "no hooks yet: `keyturn apply -f FILE` makes them")
	return nil
}

func (e *env) printSilences(resources []keyturn.Resource) error {
	t := &table{head: []string{"NAME", "STATE", "ENDS (UTC)", "OF", "REASON"}, shrink: []int{4, 3, 0}, state: noStateTint}
	for _, r := range resources {
		s, err := resource.SilenceOf(r)
		if err != nil {
			return err
		}
		state := "active"
		switch {
		case !e.now().Before(s.EndsAt):
			state = "over"
		case !s.Active(e.now()):
			state = "to come"
		}
		of := joinNonEmpty(" ", slices.Concat(s.Match.Kinds, s.Match.Policies, s.Match.Targets, s.Match.Clusters, s.Match.Subjects)...)
		t.add(r.Name, state, stamp(&s.EndsAt), firstOf(of, "all alerts"), s.Reason)
	}
	e.printTable(t, "no silences: everybody is told of every alert")
	return nil
}

// scheduleText is what makes a policy's units due, in short.
func scheduleText(s keyturn.Schedule) string {
	switch {
	case s.MaxAge > 0 && s.Cron == "":
		return "each key at " + s.MaxAge.String()
	case s.MaxAge > 0:
		return s.Cron + ", keys at " + s.MaxAge.String()
	default:
		return firstOf(s.Cron, "by trigger only")
	}
}
