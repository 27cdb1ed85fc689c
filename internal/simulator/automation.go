package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// rotatedField makes the agents turn a key when it is later than their last rotation.
const rotatedField = "lastKmipMasterKeyRotation"

// automation is what the agents of a project do: they carry out its automation config. Nothing runs while
// nobody looks: each look works out what has happened until then.
type automation struct {
	estate  *Estate
	project *project

	mu        sync.Mutex
	doc       []byte // the config as it was published last, secrets included
	before    []byte // the one before
	version   int64
	goal      int64 // that the status tells
	published time.Time
	agents    map[string]*agent // by process
	work      []*work
	lock      lock
	stats     AutomationStats
}

// agent looks after one process.
type agent struct {
	process  process
	rotated  time.Time // of the last rotation that it carried out
	achieved int64
	failed   bool
}

// work is a rotation of one replica set's key.
type work struct {
	entity    *entity
	want      time.Time
	earlier   time.Time // the rotation before
	version   int64
	requestID string
	agents    []*agent
	begins    time.Time // until then an edit that takes it back is in time
	takes     time.Duration
	draw      uint64
}

// lock is what an external system forbids.
type lock struct{ policy, holder string }

// AutomationStats counts what happened to a project's automation config.
type AutomationStats struct {
	Version   int64 `json:"version"`
	Published int64 `json:"published"` // by PUTs of the API
	Conflicts int64 `json:"conflicts"` // PUTs that were answered 409
	Locked    int64 `json:"locked"`    // PUTs that a lock refused
	Edits     int64 `json:"edits"`     // by somebody else
	// Reformatted counts PUTs in which a byte outside of the times of rotations was another, Damaged those
	// in which that made a difference to the meaning.
	Reformatted int64 `json:"reformatted"`
	Damaged     int64 `json:"damaged"`
}

// Agents says how the agents behave.
type Agents struct {
	// Takes is how long they take for a replica set; 0: no time.
	Takes keyturn.Duration `json:"takes"`
	// GoalLag is how long after a PUT the status goes on telling the goal before.
	GoalLag keyturn.Duration `json:"goalLag"`
	// Fail is the share of rotations in which an agent reports an error, until it is changed.
	Fail float64 `json:"fail"`
	// Conflict is the share of PUTs that are refused as concurrent modifications.
	Conflict float64 `json:"conflict"`
	// LastWins accepts PUTs that were made from an older version, as servers without protection do.
	LastWins bool `json:"lastWins"`
	// NoSecretsMissing and LocksMissing leave endpoints out that older servers don't have.
	NoSecretsMissing bool `json:"noSecretsMissing"`
	LocksMissing     bool `json:"locksMissing"`
	// SnapshotEvery is how often each cluster is backed up; 0 means 6h.
	SnapshotEvery keyturn.Duration `json:"snapshotEvery"`
}

func (a *automation) settings() Agents {
	if s := a.estate.agents.Load(); s != nil {
		return *s
	}
	return Agents{}
}

// newAutomation begins with the config of the project as it was made.
func newAutomation(e *Estate, p *project) *automation {
	a := &automation{estate: e, project: p, version: 1, goal: 1, agents: map[string]*agent{}}
	j := jsonBuf{b: make([]byte, 0, 4096)}
	configWriter{j: &j, project: p, automation: a}.write(a.version)
	a.doc = j.b
	for _, proc := range processes(p) {
		if proc.entity.managed() {
			a.agents[proc.name()] = &agent{process: proc, achieved: 1, rotated: proc.entity.rotatedAt}
		}
	}
	return a
}

// settle works out what the agents did until now. The caller holds mu.
func (a *automation) settle(now time.Time) {
	s := a.settings()
	if a.goal != a.version && !now.Before(a.published.Add(s.GoalLag.Std())) {
		a.goal = a.version
	}
	a.work = slices.DeleteFunc(a.work, func(w *work) bool { return a.settleWork(w, s, now) })
	if now.Before(a.published.Add(s.Takes.Std() / 4)) {
		return
	}
	for _, ag := range a.agents {
		if !slices.ContainsFunc(a.work, func(w *work) bool { return slices.Contains(w.agents, ag) }) {
			ag.achieved = a.version
		}
	}
}

// settleWork reports whether the work is done.
func (a *automation) settleWork(w *work, s Agents, now time.Time) bool {
	if now.Before(w.begins) {
		return false
	}
	failing := share(w.draw, 3) < s.Fail
	step := w.takes / time.Duration(len(w.agents))
	done := 0
	var last time.Time
	for i, ag := range w.agents {
		at := w.begins.Add(step * time.Duration(i+1))
		ag.failed = failing && i == 0 && !now.Before(at)
		if now.Before(at) || failing {
			continue
		}
		ag.achieved, ag.rotated, last = max(ag.achieved, w.version), w.want, at
		done++
	}
	if done < len(w.agents) {
		return false
	}
	a.estate.turn(w.entity, change{by: ByAutomation, requestID: w.requestID, at: last, timestamp: w.want, earlier: w.earlier, members: len(w.agents)})
	return true
}

// publish replaces the config, as a PUT does.
func (a *automation) publish(body []byte, secrets bool, requestID string, draw uint64) *problem {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(now)
	s := a.settings()
	var sent struct {
		Version *int64 `json:"version"`
	}
	if json.Unmarshal(body, &sent) != nil || sent.Version == nil {
		return badConfig()
	}
	if a.lock.policy != "" {
		a.stats.Locked++
		return lockedConfig(a.lock.policy)
	}
	if *sent.Version != a.version && !s.LastWins || share(draw, 4) < s.Conflict {
		a.stats.Conflicts++
		return concurrentConfig()
	}
	if !secrets {
		body = withSecrets(body)
	}
	old, fresh := withoutRotations(a.doc), withoutRotations(body)
	if *sent.Version == a.version && !bytes.Equal(old, fresh) {
		a.stats.Reformatted++
		if !sameMeaning(old, fresh) {
			a.stats.Damaged++
		}
	}
	a.stats.Published++
	a.replace(body, *sent.Version, requestID, draw, now)
	return nil
}

// replace puts a config to work. The caller holds mu.
func (a *automation) replace(body []byte, version int64, requestID string, draw uint64, now time.Time) {
	s := a.settings()
	a.before, a.version, a.published = a.doc, a.version+1, now
	a.doc = setVersion(body, version, a.version)
	if s.GoalLag == 0 {
		a.goal = a.version
	}
	times := rotations(body)
	a.work = slices.DeleteFunc(a.work, func(w *work) bool { // taken back in time
		return now.Before(w.begins) && !times[w.agents[0].process.name()].Equal(w.want)
	})
	groups := map[*entity]*work{}
	for _, proc := range processes(a.project) {
		ag := a.agents[proc.name()]
		want := times[proc.name()]
		if ag == nil || !want.After(ag.rotated) || a.working(ag, want) {
			continue
		}
		w := groups[proc.entity]
		if w == nil || !w.want.Equal(want) {
			w = &work{
				entity: proc.entity, want: want, earlier: ag.rotated, version: a.version, requestID: requestID,
				begins: now.Add(s.Takes.Std() / 4), takes: s.Takes.Std() * 3 / 4, draw: mix(draw, proc.entity.index),
			}
			groups[proc.entity] = w
			a.work = append(a.work, w)
		}
		w.agents = append(w.agents, ag)
	}
	a.settle(now)
}

// working reports whether the agent is at that rotation already.
func (a *automation) working(ag *agent, want time.Time) bool {
	return slices.ContainsFunc(a.work, func(w *work) bool { return w.want.Equal(want) && slices.Contains(w.agents, ag) })
}

// edit is somebody else's change: of something that has nothing to do with keys, or, if stale, one that was made
// from the config before the last PUT and takes that back.
func (a *automation) edit(stale bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.settle(now)
	doc, version := a.doc, a.version
	if stale && a.before != nil {
		doc, version = a.before, a.version-1
	}
	a.stats.Edits++
	note := []byte(fmt.Sprintf(`{"editedBySomebodyElse_%d":%d,`, a.stats.Edits, now.UnixNano()))
	a.replace(append(note, doc[1:]...), version, "edit", 0, now)
}

// withoutRotations removes the times of rotations, to the byte.
func withoutRotations(doc []byte) []byte {
	return regexp.MustCompile(`\s*"`+rotatedField+`"\s*:\s*"[^"]*"\s*,`).ReplaceAll(doc, nil)
}

func sameMeaning(a, b []byte) bool {
	read := func(doc []byte) (v any) {
		d := json.NewDecoder(bytes.NewReader(doc))
		d.UseNumber()
		if d.Decode(&v) != nil {
			return nil
		}
		return v
	}
	return reflect.DeepEqual(read(a), read(b))
}

// rotations returns the times by process; zero: none.
func rotations(doc []byte) map[string]time.Time {
	var config struct {
		Processes []struct {
			Name    string     `json:"name"`
			Rotated *time.Time `json:"lastKmipMasterKeyRotation"`
		} `json:"processes"`
	}
	_ = json.Unmarshal(doc, &config) // what can't be read turns no key
	times := map[string]time.Time{}
	for _, p := range config.Processes {
		if p.Rotated != nil {
			times[p.Name] = *p.Rotated
		}
	}
	return times
}

// setVersion changes the version, which is the only number of that name in a config.
func setVersion(doc []byte, from, to int64) []byte {
	return regexp.MustCompile(`("version"\s*:\s*)`+strconv.FormatInt(from, 10)+`\b`).ReplaceAll(doc, []byte("${1}"+strconv.FormatInt(to, 10)))
}

// configSecrets returns what /noSecrets replaces, and with what.
func configSecrets() [][2]string {
	return [][2]string{
		{`"simulated-automation-password"`, `"<redacted-1>"`},
		{`"simulated-keyfile-content"`, `"<redacted-2>"`},
		{`"simulated-certificate-password"`, `"<redacted-3>"`},
	}
}

func withSecrets(doc []byte) []byte {
	for _, s := range configSecrets() {
		doc = bytes.ReplaceAll(doc, []byte(s[1]), []byte(s[0]))
	}
	return doc
}

func withoutSecrets(doc []byte) []byte {
	for _, s := range configSecrets() {
		doc = bytes.ReplaceAll(doc, []byte(s[0]), []byte(s[1]))
	}
	return doc
}

// config returns the config as it is now.
func (a *automation) config(secrets bool) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if secrets {
		return a.doc
	}
	return withoutSecrets(a.doc)
}

// writeStatus writes how far the agents are.
func (a *automation) writeStatus(j *jsonBuf) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(time.Now())
	j.open('{')
	j.num("goalVersion", int(a.goal))
	j.key("processes")
	j.open('[')
	for _, proc := range processes(a.project) {
		ag := a.agents[proc.name()]
		if ag == nil {
			continue
		}
		j.open('{')
		code, human, text, description := 0, "", "", ""
		if ag.failed {
			code, human = 100, "KMIP Error"
			description = "The KMIP server refused to make a key for this process"
			text = "<" + proc.name() + "> [13:11:33.348] Failed to apply: config was " + string(a.doc[:min(len(a.doc), 2000)])
		}
		j.num("errorCode", code)
		j.str("errorCodeDescription", description)
		j.str("errorCodeHumanReadable", human)
		j.str("errorString", text)
		proc.hostnameIn(j)
		j.num("lastGoalVersionAchieved", int(ag.achieved))
		j.str("name", proc.name())
		// A process that has reached the goal lists moves, too.
		j.raw("plan", `["Download","WaitRsInit","WaitFeatureCompatibilityVersionCorrect"]`)
		j.close('}')
	}
	j.close(']')
	j.close('}')
}

// writeLocks writes what an external system forbids.
func (a *automation) writeLocks(j *jsonBuf) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j.open('{')
	j.str("created", "2026-01-01T00:00:00Z")
	j.key("externalManagementSystem")
	j.open('{')
	j.str("name", a.lock.holder)
	j.str("systemId", "")
	j.str("version", "1.27.0")
	j.close('}')
	j.key("policies")
	j.open('[')
	if a.lock.policy != "" {
		j.open('{')
		j.raw("disabledParams", "[]")
		j.str("policy", a.lock.policy)
		j.close('}')
	}
	j.close(']')
	j.close('}')
}
