package opsmanager

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// automationStatus says how far the agents are. What they plan to do is not read: also who has reached
// the goal has been seen to list moves.
// https://www.mongodb.com/docs/ops-manager/current/reference/api/automation-status/
type automationStatus struct {
	Goal      loose           `json:"goalVersion"`
	Processes []processStatus `json:"processes"`

	date time.Time // the server's clock; zero: it did not tell
}

type processStatus struct {
	Name     string `json:"name"`
	Reached  loose  `json:"lastGoalVersionAchieved"`
	Error    loose  `json:"errorCode"` // older versions leave it out
	Describe string `json:"errorCodeDescription"`
	Human    string `json:"errorCodeHumanReadable"`
}

func (as *automationStatus) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "goalVersion":
			s.loose(&as.Goal)
		case "processes":
			as.Processes = scanList[processStatus](s)
		default:
			s.skip()
		}
	}
}

// scan leaves out errorString, which has been seen to hold a whole configuration.
func (p *processStatus) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "name":
			s.string(&p.Name)
		case "lastGoalVersionAchieved":
			s.loose(&p.Reached)
		case "errorCode":
			s.loose(&p.Error)
		case "errorCodeDescription":
			s.string(&p.Describe)
		case "errorCodeHumanReadable":
			s.string(&p.Human)
		default:
			s.skip()
		}
	}
}

// at counts how many of the processes have reached a version, and returns one that reports an error.
func (as *automationStatus) at(names []string, version int64) (reached int, failed *processStatus) {
	there := make(map[string]bool, len(names)) // one that is listed twice counts once, and only if both are there
	for i := range as.Processes {
		p := &as.Processes[i]
		if !slices.Contains(names, p.Name) {
			continue
		}
		if p.Error.set() && p.Error != `"0"` && failed == nil {
			failed = p
		}
		before, twice := there[p.Name]
		there[p.Name] = p.Reached != "" && p.Reached.number() >= version && (before || !twice)
	}
	for _, ok := range there {
		if ok {
			reached++
		}
	}
	return reached, failed
}

// trouble says what is wrong with a process, in few words that hold no configuration.
func (c *Client) trouble(p *processStatus) string {
	words := c.short(p.Describe)
	if words == "" {
		words = c.short(p.Human)
	}
	if words != "" {
		words = ": " + words
	}
	return fmt.Sprintf("the agent of process %s reports error %s%s", c.clean(p.Name), c.clean(string(p.Error)), words)
}

// short keeps the first words of a text, up to anything that may be a configuration or a secret.
func (c *Client) short(text string) string {
	text = c.clean(text)
	if end := strings.IndexAny(text, "{[=<"); end >= 0 {
		text = strings.TrimSpace(text[:end]) + "…"
	}
	return text
}

// controlledFeature says what somebody else has forbidden in a project.
// https://www.mongodb.com/docs/ops-manager/current/reference/api/controlled-features/get-controlled-features-for-one-project/
type controlledFeature struct {
	System   managementSystem `json:"externalManagementSystem"`
	Policies []controlPolicy  `json:"policies"`
}

type managementSystem struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type controlPolicy struct {
	Policy string `json:"policy"`
}

// unlocked is what lock answers when nobody forbids anything.
const unlocked = "-"

// holder says who forbids that the config is changed; unlocked: nobody.
func (cf *controlledFeature) holder(clean func(string) string) string {
	for _, p := range cf.Policies {
		if p.Policy != "EXTERNALLY_MANAGED_LOCK" && p.Policy != "DISABLE_SET_MONGOD_CONFIG" {
			continue
		}
		who := "an external system"
		if cf.System.Name != "" {
			who = strings.TrimSpace(clean(cf.System.Name) + " " + clean(cf.System.Version))
		}
		return fmt.Sprintf("%s manages the project and holds the lock %s: turn the key there, or have the lock removed", who, p.Policy)
	}
	return unlocked
}

// lock says who holds a lock on the survey's project; unlocked: nobody. What can't be known is a reason, too.
func (s *survey) lock(ctx context.Context) (string, error) {
	control, err := s.c.control(ctx, s.group, fresh)
	switch {
	case err == nil:
		return control.holder(s.c.clean), nil
	case refused(err):
		return "it can't be known whether an external system holds a lock on the project: " + err.Error(), nil
	default:
		return "", err
	}
}

// control reads the locks of a project. A server that does not know of locks has none.
func (c *Client) control(ctx context.Context, g group, maxAge time.Duration) (*controlledFeature, error) {
	q := question{
		operation: "get_controlled_feature", doing: "reading the locks of project", subject: g.String(),
		path: "/groups/" + g.ID + "/controlledFeature", header: c.keyHeader, limit: keyLimit, turns: 1,
	}
	found, err := c.projects.of(g.ID).control.get(ctx, c.now, maxAge, func(ctx context.Context) (*controlledFeature, error) {
		var answer controlledFeature
		err := c.get(ctx, q, &answer)
		if isCode(err, "not_found") || isCode(err, "http_405") {
			return &controlledFeature{}, nil
		}
		return &answer, err
	})
	if err != nil {
		return nil, c.gaveUp(q, err)
	}
	return found, nil
}

// automationStatus reads how far the agents are.
func (c *Client) automationStatus(ctx context.Context, g group, maxAge time.Duration) (*automationStatus, error) {
	q := question{
		operation: "get_automation_status", doing: "reading the automation status of project", subject: g.String(),
		path: "/groups/" + g.ID + "/automationStatus", header: c.keyHeader, limit: listLimit, turns: 1,
	}
	found, err := c.projects.of(g.ID).status.get(ctx, c.now, maxAge, func(ctx context.Context) (*automationStatus, error) {
		var answer automationStatus
		var date time.Time
		q := q
		q.date = &date
		if err := c.get(ctx, q, &answer); err != nil {
			return nil, err
		}
		answer.date = date
		for i := range answer.Processes {
			answer.Processes[i].own()
		}
		answer.Goal = loose(strings.Clone(string(answer.Goal)))
		return &answer, nil
	})
	if err != nil {
		return nil, c.gaveUp(q, err)
	}
	return found, nil
}

// own cuts a process loose from the text that it was read from, which may be long.
func (p *processStatus) own() {
	p.Name, p.Describe, p.Human = strings.Clone(p.Name), strings.Clone(p.Describe), strings.Clone(p.Human)
	p.Reached, p.Error = loose(strings.Clone(string(p.Reached))), loose(strings.Clone(string(p.Error)))
}

// listHosts lists the hosts of a project.
func (c *Client) listHosts(ctx context.Context, g group) ([]host, error) {
	s := survey{c: c, group: g}
	q := s.question("list_hosts", "hosts", "/hosts")
	hosts, err := c.projects.of(g.ID).hosts.get(ctx, c.now, fresh, func(ctx context.Context) ([]host, error) {
		return list(ctx, c, q, func(h host) string { return h.ID })
	})
	if err != nil {
		return nil, c.gaveUp(q, err)
	}
	return hosts, nil
}

// pingLate is how much later than the project's newest a host's last sign of life may be.
const pingLate = 10 * time.Minute

// unwell says why a member must not be taken down now: another one is down, so that too few would be left;
// empty: it may. What is not known of a host does not count against it.
func unwell(hosts, members []host) string {
	newest := time.Time{}
	for _, h := range hosts {
		if at, err := time.Parse(time.RFC3339Nano, h.LastPing); err == nil && at.After(newest) {
			newest = at
		}
	}
	sick, words := 0, ""
	for _, h := range members {
		switch at, err := time.Parse(time.RFC3339Nano, h.LastPing); {
		case !slices.Contains([]string{"", "PRIMARY", "SECONDARY", "ARBITER"}, h.State):
			sick, words = sick+1, fmt.Sprintf("host %s is %s", h.Hostname, h.State)
		case err == nil && newest.Sub(at) > pingLate:
			sick, words = sick+1, fmt.Sprintf("host %s gave no sign of life since %s", h.Hostname, h.LastPing)
		}
	}
	if sick == 0 {
		return ""
	}
	// One more goes down while its key is turned: a majority must be left without it.
	if healthy := len(members) - sick; healthy-1 > len(members)/2 {
		return ""
	}
	return words + ": with one more down, too few of " + strconv.Itoa(len(members)) + " members would be left"
}

// behind says why the processes are not ready for a change of that version; nil: they are.
func (c *Client) behind(q question, as *automationStatus, names []string, version int64) error {
	goal := max(as.Goal.number(), version)
	reached, failed := as.at(names, goal)
	switch {
	case failed != nil:
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "agent_error", RetryAfter: agentWait}, fmt.Errorf("%s: mend it first", c.trouble(failed)))
	case reached < len(names):
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, RetryAfter: turnWait, Code: codeAgentsBusy},
			fmt.Errorf("%d of %d processes have reached version %d of the automation config: waiting for the agents", reached, len(names), goal))
	default:
		return nil
	}
}

const (
	// agentWait is how soon it is looked again at what a person may have mended.
	agentWait = 15 * time.Second
	// turnWait is the same for what gets ready by itself.
	turnWait = time.Second
)
