package storm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/checker"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
)

// laneEstate is what each lane has, beside its target and the policy "all": a policy for each thing that a
// rotation may be asked to do, and a webhook that is told everything.
const laneEstate = `
---
apiVersion: keyturn/v1
kind: Webhook
name: told
spec: {url: %q, secret: %q, timeout: 1s, events: ["rotation.*", "task.*", "alert.*"]}
---
apiVersion: keyturn/v1
kind: Policy
name: nothing
spec: {target: om, select: {clusters: [no-such-cluster]}}
---
apiVersion: keyturn/v1
kind: Policy
name: waves
spec: {target: om, rollout: {canary: 1, batch: "50%%", maxFailures: 3, pauseBetween: 100ms}}
---
apiVersion: keyturn/v1
kind: Policy
name: ticks
spec:
  target: om
  rollout: {batch: "50%%", pauseBetween: 1500ms}
  schedule: {%s overlap: cancel, windows: [{from: "00:00", to: "12:00"}, {from: "12:00", to: "24:00"}]}
---
apiVersion: keyturn/v1
kind: Policy
name: aged
spec: {target: om, schedule: {%s maxAge: 5s}}
`

// Whether the schedules of a lane tick: once a second.
const (
	silent  = ""
	ticking = `cron: "* * * * * *",`
)

// scene makes a server pass points.
type scene struct {
	of   []string // what the points begin with
	once bool     // one go passes the point once only
	play func(l *lane, ctx context.Context, point string) error
	// after waits, when the server is back, until what it died over is made good.
	after func(l *lane, ctx context.Context) bool
}

// sceneOf returns what passes a point: the first that fits.
func sceneOf(point string) scene {
	scenes := scenes()
	i := slices.IndexFunc(scenes, func(s scene) bool {
		return slices.ContainsFunc(s.of, func(begin string) bool { return strings.HasPrefix(point, begin) })
	})
	return scenes[i]
}

func scenes() []scene {
	return []scene{
		{of: []string{"schedule.ResumeDue"}, play: (*lane).pauses},
		{of: []string{"schedule.", "publisher."}, play: (*lane).ticks},
		{of: []string{"triggers.Reject", "tasks.Reject", "rotations.Reject"}, once: true, play: (*lane).garbage},
		{of: []string{"triggers.", "store.Request.", "queue.PublishRotation."}, once: true, play: (*lane).messages},
		{
			of: []string{
				"store.ClaimLook", "store.RenewLook", "store.EndLook", "store.PoliciesOf", "store.SaveUnits", "store.KnownKeys", "store.Observe",
				"store.AnnouncedKeys", "system.Current",
			},
			once: true, play: (*lane).looks, after: (*lane).seen,
		},
		{of: []string{"alerts.", "store.Notice"}, once: true, play: (*lane).alarms, after: (*lane).alarmed},
		{of: []string{"deliveries.EndDeliveries"}, once: true, play: (*lane).adds},
		{of: []string{"store.FailRotation"}, once: true, play: asks("nothing", simulator.Faults{})},
		{of: []string{"store.SaveRollout"}, once: true, play: asks("waves", simulator.Faults{})},
		{of: []string{"store.AdvanceRollouts"}, play: asks("waves", simulator.Faults{})},
		{
			of: []string{"store.PostponeRotation", "store.TargetTrouble"}, once: true,
			play: asks("all", simulator.Faults{Outage: simulator.OutageUnavailable}),
		},
		{of: []string{"store.Hold"}, once: true, play: asks("all", simulator.Faults{Seed: 1, PUT: simulator.Rates{TooMany: .5}})},
		{ // who recorded the one intent of a task tells of it from memory; of tasks with several the rows are read
			of:   []string{"store.Take.", "store.Reintend", "store.AnnouncedTasks"},
			play: asks("all", simulator.Faults{Seed: 1, PUT: simulator.Rates{ResetBefore: .7}}),
		},
		{
			of: []string{
				"api.", "rotations.", "store.SavePlan", "store.TargetAnswered", "store.Announced.", "store.ClaimRotation", "system.Discover",
				"queue.PublishEvents", "deliveries.Enqueue", "deliveries.FinishDeliveries",
			},
			once: true, play: asks("all", simulator.Faults{}),
		},
		{of: []string{""}, play: asks("all", simulator.Faults{})},
	}
}

// asks asks for a rotation.
func asks(policy string, faults simulator.Faults) func(*lane, context.Context, string) error {
	return func(l *lane, ctx context.Context, _ string) error {
		if err := l.sim.faults(ctx, faults); err != nil {
			return err
		}
		return l.ask(ctx, policy)
	}
}

// ticks lets schedules fire. Each firing takes the place of the one before, which is under way for longer.
func (l *lane) ticks(ctx context.Context, _ string) error { return l.tick(ctx, ticking) }

// pauses lets the pause of a policy end by itself.
func (l *lane) pauses(ctx context.Context, _ string) error {
	if err := l.tick(ctx, ticking); err != nil {
		return err
	}
	_, err := l.front().Pause(ctx, "ticks", client.Pause{For: keyturn.Duration(500 * time.Millisecond)})
	return err
}

// adds adds a webhook, so that everybody looks at what there is for which one.
func (l *lane) adds(ctx context.Context, _ string) error {
	return l.add(ctx, fmt.Sprintf("apiVersion: keyturn/v1\nkind: Webhook\nname: quiet-%d\nspec: {url: %q, paused: true, events: [\"key.*\"]}\n",
		l.run.Add(1), l.receiver.URL))
}

// add applies one more document.
func (l *lane) add(ctx context.Context, document string) error {
	_, err := l.front().Apply(ctx, client.ApplyRequest{Documents: []client.Document{{Name: "more.yaml", Content: document}}})
	return err
}

func (l *lane) garbage(ctx context.Context, point string) error {
	switch kind, _, _ := strings.Cut(point, "."); kind {
	case "triggers":
		return publish(ctx, l.nats, l.prefix+".trigger", `{"policy":`)
	case "tasks":
		return publish(ctx, l.nats, l.prefix+".task.om.project.cluster", `{"task":`)
	default:
		return publish(ctx, l.nats, l.prefix+".rotation.requested", `no id`)
	}
}

func (l *lane) messages(ctx context.Context, _ string) error {
	for range 3 {
		id := fmt.Sprintf("message-%d", l.run.Add(1))
		if err := publish(ctx, l.nats, l.prefix+".trigger", fmt.Sprintf(`{"policy":"all","id":%q}`, id)); err != nil {
			return err
		}
		l.expect(ctx, id)
	}
	return nil
}

// looks turns a key behind the server's back and makes it look.
func (l *lane) looks(ctx context.Context, _ string) error {
	// A policy that asks for keys by their age has a slot each hour, and for two minutes before it looks are put off.
	if _, err := l.front().Pause(ctx, "aged", client.Pause{}); err != nil {
		return fmt.Errorf("pausing the policy that may fire each hour: %w", err)
	}
	units := l.units()
	unit := units[int(l.run.Add(1))%len(units)]
	if status, answer := call(ctx, http.MethodPost, l.sim.url+"/simulator/clusters/"+unit.ClusterID+"/rotate", nil); status != http.StatusOK {
		return fmt.Errorf("turning a key elsewhere: %d %s", status, answer)
	}
	_, err := l.front().Observe(ctx, "om")
	return err
}

// seen asks for looks until the history has every key.
func (l *lane) seen(ctx context.Context) bool {
	for {
		_, err := l.front().Observe(ctx, "om")
		if err == nil && within(ctx, 2*time.Second, func() bool {
			e, _ := l.quickly(l.since)
			return !slices.ContainsFunc(checker.Check(e), func(f checker.Finding) bool { return f.Kind == checker.Missing })
		}) {
			if _, err = l.front().Resume(ctx, "aged"); err == nil {
				return true
			}
		}
		if !pause(ctx, 100*time.Millisecond) {
			return false
		}
	}
}

// alarms makes an alert that there was not yet: a rotation of a new policy fails.
func (l *lane) alarms(ctx context.Context, _ string) error {
	name := fmt.Sprintf("nothing-%d", l.run.Add(1))
	policy := fmt.Sprintf("apiVersion: keyturn/v1\nkind: Policy\nname: %s\nspec: {target: om, select: {clusters: [no-such-cluster]}}\n", name)
	if err := l.add(ctx, policy); err != nil {
		return err
	}
	l.failing = append(l.failing, name)
	return l.ask(ctx, name)
}

// expect waits for the rotation of a message that NATS has acknowledged.
func (l *lane) expect(ctx context.Context, id string) {
	for {
		rotations, err := l.front().Rotations(ctx, "all", "", 0)
		i := slices.IndexFunc(rotations, func(r keyturn.Rotation) bool { return r.TriggerID == id })
		if err == nil && i >= 0 {
			l.mu.Lock()
			l.asked = append(l.asked, rotations[i].ID.String())
			l.mu.Unlock()
			return
		}
		if !pause(ctx, 100*time.Millisecond) {
			l.t.Errorf("the message %s that NATS has acknowledged made no rotation", id)
			return
		}
	}
}

// stir plays a scene until the server dies of it.
func (l *lane) stir(ctx context.Context, s scene, point string, life *process) {
	died := func() bool { return !life.alive() }
	for range 6 {
		err := s.play(l, ctx, point)
		if within(ctx, 2500*time.Millisecond, died) {
			return // and that may be why there was an error
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			l.t.Errorf("making the server pass %s: %v", point, err)
		}
	}
}
