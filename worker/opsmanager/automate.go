package opsmanager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// Codes of errors of this way.
const (
	codeLocked             = "locked"
	codeAgentFailed        = "agent_failed"
	codeConfigMoved        = "config_moved"
	codeOverwritten        = "overwritten"
	codeAgentsBusy         = "agents_busy"
	codeAgentsStill        = "agents_stand_still"
	concurrentModification = "concurrent_modification"
)

// goalLife is how long a config is not read again while the status calls it the goal.
const goalLife = time.Minute

// change is what an intent keeps of a rotation by automation, as JSON: with it, whoever goes on after a crash sets
// the same time, which makes no agent turn a key that it has turned already.
type change struct {
	Way        way               `json:"way"`
	At         time.Time         `json:"timestamp"`
	Version    int64             `json:"configVersion"` // before the change
	ReplicaSet string            `json:"replicaSet"`
	Component  keyturn.Component `json:"component"`
	Cluster    string            `json:"cluster"`
	Members    []string          `json:"members"` // processes
}

func readChange(data []byte) (change, error) {
	var ch change
	if err := json.Unmarshal(data, &ch); err != nil {
		return ch, fmt.Errorf("reading the intent: %w", err)
	}
	if ch.Way != wayAutomation || ch.At.IsZero() || ch.ReplicaSet == "" || len(ch.Members) == 0 {
		return ch, fmt.Errorf("the intent is of a way %q that is not known: was it written by a newer version?", ch.Way)
	}
	return ch, nil
}

// component is the unit as the automation config is asked for it.
func (ch change) component() component {
	return component{kind: ch.Component, cluster: cluster{ClusterName: ch.Cluster, TypeName: typeReplicaSet, ReplicaSetName: ch.ReplicaSet}}
}

// left returns the processes of the change that are still members.
func (ch change) left(p *plan) []string {
	return slices.DeleteFunc(slices.Clone(ch.Members), func(name string) bool {
		return !slices.ContainsFunc(p.members[ch.ReplicaSet], func(m member) bool { return m.Host == name })
	})
}

// config returns the automation config of a project, read at most maxAge ago.
func (c *Client) config(ctx context.Context, q question, g group, maxAge time.Duration) (*plan, error) {
	p, err := c.projects.of(g.ID).config.get(ctx, c.now, maxAge, func(ctx context.Context) (*plan, error) {
		return c.readConfig(ctx, g)
	})
	if err != nil {
		return nil, c.gaveUp(q, err)
	}
	return p, nil
}

// ready makes sure that the agents may be given work: nobody holds a lock, and those of the processes have
// reached the goal and are well.
func (c *Client) ready(ctx context.Context, q question, g group, maxAge time.Duration, names []string, version int64) error {
	control, err := c.control(ctx, g, maxAge)
	if err != nil {
		return err
	}
	if holder := control.holder(c.clean); holder != unlocked {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: codeLocked}, errors.New(holder))
	}
	status, err := c.automationStatus(ctx, g, maxAge)
	if err != nil {
		return err
	}
	return c.behind(q, status, names, version)
}

// prepareAutomation finds the members, their last rotation and the time to write. Everything that it asks is taken
// from memory for a few seconds: all tasks of a project come here again and again until it is their turn.
func (c *Client) prepareAutomation(ctx context.Context, q question, unit string, task keyturn.ID) (keyturn.Intent, error) {
	projectID, clusterID, err := c.split(unit)
	if err != nil {
		return keyturn.Intent{}, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	g := group{ID: projectID}
	comp, err := c.component(ctx, q, projectID, clusterID)
	if err != nil {
		return keyturn.Intent{}, err
	}
	status, err := c.automationStatus(ctx, g, fresh)
	if err != nil {
		return keyturn.Intent{}, err
	}
	p, err := c.goal(ctx, q, g, status)
	if err != nil {
		return keyturn.Intent{}, err
	}
	names, err := c.turnable(q, p, comp)
	if err != nil {
		return keyturn.Intent{}, err
	}
	if err := c.ready(ctx, q, g, fresh, names, p.version); err != nil {
		if isCode(err, codeAgentsBusy) {
			err = cmp.Or(c.outOfPatience(q, task, status, names), err)
		}
		return keyturn.Intent{}, err
	}
	c.patience.over(task)
	if err := c.well(ctx, q, g, comp); err != nil {
		return keyturn.Intent{}, err
	}
	ch := change{
		Way: wayAutomation, At: c.stampAfter(status.date, p.latest(names)), Version: p.version,
		ReplicaSet: comp.name(), Component: comp.kind, Cluster: comp.ClusterName, Members: names,
	}
	data, err := json.Marshal(ch)
	if err != nil {
		return keyturn.Intent{}, fmt.Errorf("writing the intent: %w", err)
	}
	intent := keyturn.Intent{
		Before: p.markerOf(names), Want: marker(ch.At), Data: data, Exclusive: "automation/" + c.target.Name + "/" + projectID,
	}
	c.unsent.prepared(unit, intent.Want)
	return intent, nil
}

// goal returns the automation config. As long as the status calls a config that was read within a minute the goal, it
// is not read again.
func (c *Client) goal(ctx context.Context, q question, g group, status *automationStatus) (*plan, error) {
	p, err := c.config(ctx, q, g, goalLife)
	if err == nil && p.version != status.Goal.number() {
		p, err = c.config(ctx, q, g, fresh)
	}
	return p, err
}

// stampAfter chooses the time to write: now, by the server's clock if it tells, and later than any that is there. A
// time ahead of the server's would make the agents ignore rotations that people ask for until then.
func (c *Client) stampAfter(now, latest time.Time) time.Time {
	at := cmp.Or(now, c.now().Round(0)).UTC().Truncate(time.Second)
	if !at.After(latest) {
		at = latest.Truncate(time.Second).Add(time.Second)
	}
	return at
}

// turnable returns the processes whose key is turned with the unit's.
func (c *Client) turnable(q question, p *plan, comp component) ([]string, error) {
	refuse := func(why string) error {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "not_rotatable"}, fmt.Errorf("%w: %s", errNoWay, why))
	}
	if found, known := p.fcv(comp); known && !found.high {
		return nil, refuse("FCV is " + found.version + ", automation turns keys from FCV 4.2 on")
	}
	names, obstacle := p.automated(comp)
	switch {
	case obstacle != "":
		return nil, refuse(obstacle)
	case p.version <= 0:
		return nil, refuse("the automation config has no version")
	}
	return names, nil
}

// well makes sure that the replica set can spare a member.
func (c *Client) well(ctx context.Context, q question, g group, comp component) error {
	hosts, err := c.listHosts(ctx, g)
	if refused(err) {
		return nil // the agents' own word has to do
	}
	if err != nil {
		return err
	}
	family := []cluster{comp.cluster}
	if comp.parent != nil { // hosts of a part may name the whole
		family = append(family, *comp.parent)
	}
	members := newInventory(hosts, family).members(comp)
	if why := unwell(hosts, members); why != "" {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "unhealthy", RetryAfter: agentWait}, errors.New(why))
	}
	return nil
}

// applyAutomation sets the time in the automation config. Of an intent that may have been sent before, no error
// proves that nothing was changed.
func (c *Client) applyAutomation(ctx context.Context, unit string, intent keyturn.Intent) error {
	q := question{operation: "put_automation_config", doing: "turning the key of unit", subject: unit, header: c.putHeader}
	first := c.unsent.is(unit, intent.Want)
	err := c.publish(ctx, q, unit, intent)
	if e, ok := errors.AsType[*keyturn.SystemError](err); ok && !first && e.Kind != keyturn.KindAmbiguous {
		return &keyturn.SystemError{
			Kind: keyturn.KindAmbiguous, Earlier: e.Kind == keyturn.KindTransient, Target: e.Target, RetryAfter: e.RetryAfter, Code: e.Code,
			Err: fmt.Errorf("%w; it may have been sent before", e.Err),
		}
	}
	return err
}

func (c *Client) publish(ctx context.Context, q question, unit string, intent keyturn.Intent) error {
	projectID, _, err := c.split(unit)
	if err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	ch, err := readChange(intent.Data)
	if err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_intent"}, err)
	}
	g := group{ID: projectID}
	path, body, err := c.edited(ctx, q, g, ch)
	if err != nil || body == nil {
		return err
	}
	p := c.projects.of(projectID)
	p.config.invalidate(c.now())
	p.status.invalidate(c.now())
	c.unsent.sending(unit)
	q.path, q.body = path, body
	if err := c.putObserved(ctx, q); err != nil {
		return c.notDone(path, err)
	}
	p.config.invalidate(c.now())
	p.status.invalidate(c.now())
	return c.verify(ctx, q, g, ch)
}

// notDone tells refusals that are no reason to give up from others.
func (c *Client) notDone(path string, err error) error {
	e, ok := errors.AsType[*keyturn.SystemError](err)
	if !ok || e.Kind != keyturn.KindPermanent {
		return err
	}
	half := strings.HasSuffix(path, noSecrets) && (e.Code == "not_found" || e.Code == "http_405")
	if half { // a server that lets it be read, and not written
		c.plain.Store(true)
	}
	if half || e.Code == concurrentModification {
		return &keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, RetryAfter: turnWait, Code: e.Code, Err: e.Err}
	}
	return err
}

// edited reads the config, makes sure that it may be changed, and returns it with the time set; nil: it is set
// already. Nothing comes between its last read and the PUT: there is no other protection against edits of others.
func (c *Client) edited(ctx context.Context, q question, g group, ch change) (path string, body []byte, err error) {
	before, err := c.config(ctx, q, g, 0)
	if err != nil {
		return "", nil, err
	}
	names, err := c.turnable(q, before, ch.component())
	if err != nil {
		return "", nil, err
	}
	if before.reached(names, ch.At) {
		return "", nil, nil
	}
	if err := c.ready(ctx, q, g, 0, names, before.version); err != nil {
		return "", nil, err
	}
	var raw rawBody
	if path, err = c.getConfig(ctx, g, &raw); err != nil {
		return "", nil, err
	}
	now, err := parsePlan(raw)
	if err != nil {
		return "", nil, c.garbled(q, raw, err)
	}
	if now.version != before.version {
		return "", nil, c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, RetryAfter: turnWait, Code: codeConfigMoved},
			fmt.Errorf("somebody changed the automation config meanwhile (version %d, now %d)", before.version, now.version))
	}
	// A later time, which somebody else has set meanwhile, stays.
	if body, err = stamp(raw, now.behind(names, ch.At), stampOf(ch.At)); err != nil {
		return "", nil, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_config"}, err)
	}
	return path, body, nil
}

// verify looks whether the times are there: an edit that somebody else made from an older version takes them
// back, and nothing tells. That it can't look is no error: who confirms looks again.
func (c *Client) verify(ctx context.Context, q question, g group, ch change) error {
	p, err := c.config(ctx, q, g, 0)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	names := ch.left(p)
	if len(names) > 0 && p.reached(names, ch.At) {
		return nil
	}
	return c.fail(q, keyturn.SystemError{Kind: keyturn.KindAmbiguous, Code: codeOverwritten},
		errors.New("the change was accepted, and is gone from the automation config: somebody else's edit took it back"))
}

// confirmAutomation tells how far the agents are with a change.
func (c *Client) confirmAutomation(ctx context.Context, unit string, intent keyturn.Intent) (keyturn.Sight, error) {
	q := question{operation: "confirm", doing: "looking for the new key of unit", subject: unit}
	projectID, _, err := c.split(unit)
	if err != nil {
		return keyturn.Sight{}, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	ch, err := readChange(intent.Data)
	if err != nil {
		return keyturn.Sight{}, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_intent"}, err)
	}
	g := group{ID: projectID}
	status, err := c.automationStatus(ctx, g, 0)
	if err != nil {
		return keyturn.Sight{}, err
	}
	p, err := c.goal(ctx, q, g, status)
	if err != nil {
		return keyturn.Sight{}, err
	}
	return c.sight(q, ch, intent, p, status)
}

// sight judges what the config and the status show. The config may be newer than the change: who has reached it
// has done the change, too.
func (c *Client) sight(q question, ch change, intent keyturn.Intent, p *plan, status *automationStatus) (keyturn.Sight, error) {
	names := ch.left(p)
	if len(names) == 0 {
		return keyturn.Sight{}, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "not_found"},
			fmt.Errorf("the automation config does not name its processes any more (replica set %s)", ch.ReplicaSet))
	}
	if !p.reached(names, ch.At) {
		return keyturn.Sight{Key: p.markerOf(names), Progress: keyturn.ProgressNone, Again: true}, nil
	}
	reached, failed := status.at(names, p.version)
	switch {
	case failed != nil:
		return keyturn.Sight{}, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: codeAgentFailed}, errors.New(c.trouble(failed)))
	case reached < len(names):
		note := fmt.Sprintf("%d of %d processes have reached version %d of the automation config", reached, len(names), p.version)
		return keyturn.Sight{Key: intent.Before, Progress: keyturn.ProgressUnder, Note: note}, nil
	default:
		return keyturn.Sight{Key: p.markerOf(names), Progress: keyturn.ProgressDone}, nil
	}
}

// currentAutomation names the key in use by the time of its rotation, whoever asked for it.
func (c *Client) currentAutomation(ctx context.Context, q question, unit string) (string, error) {
	projectID, clusterID, err := c.split(unit)
	if err != nil {
		return "", c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	comp, err := c.component(ctx, q, projectID, clusterID)
	if err != nil {
		return "", err
	}
	p, err := c.config(ctx, q, group{ID: projectID}, fresh)
	if err != nil {
		return "", err
	}
	names, err := c.turnable(q, p, comp)
	if err != nil {
		return "", err
	}
	return p.markerOf(names), nil
}
