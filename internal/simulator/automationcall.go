package simulator

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// configLimit bounds a config that is sent.
const configLimit = 64 << 20

// putConfig publishes an automation config.
func (c *call) putConfig() {
	if c.account.key.ReadOnly {
		c.fail(notAllowed())
		return
	}
	if c.project.automation == nil {
		c.fail(unsupported())
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, configLimit))
	if err != nil { // the client went away before it had sent everything
		c.abort(false)
	}
	secrets, id, draw := c.endpoint == endpointPutConfig, c.s.requestID(c.r), mix(c.plan.faults.Seed^c.project.index, c.project.conflicts.Add(1))
	publish := func() *problem { return c.project.automation.publish(body, secrets, id, draw) }
	switch c.fault {
	case faultNever:
	case faultLate, faultGateway:
		a, late := c.project.automation, c.plan.late
		c.s.laterDo(late, func() { a.publish(body, secrets, id, draw) })
		if c.fault == faultGateway {
			c.proxyError(http.StatusGatewayTimeout)
			return
		}
		c.abort(true)
	default:
		if p := publish(); p != nil {
			c.fail(p)
			return
		}
	}
	c.answer(http.StatusOK, []byte("{}"))
}

// laterDo does something after its connection is gone.
func (s *Simulator) laterDo(after time.Duration, do func()) {
	s.stats.latePending.Add(1)
	time.AfterFunc(after, func() {
		defer s.stats.latePending.Add(-1)
		select {
		case <-s.closing:
		default:
			do()
		}
	})
}

// getAutomation answers what there is of automation.
func (c *call) getAutomation() {
	a := c.project.automation
	c.listing()
	switch c.endpoint {
	case endpointAutomationConfig:
		if a == nil {
			configWriter{j: &c.buf, project: c.project}.write(1)
		} else {
			c.buf.b = append(c.buf.b, a.config(true)...)
		}
	case endpointNoSecrets:
		if a == nil {
			configWriter{j: &c.buf, project: c.project, redacted: true}.write(1)
		} else {
			c.buf.b = append(c.buf.b, a.config(false)...)
		}
	case endpointAutomationStatus:
		if a == nil {
			c.buf.b = append(c.buf.b, `{"goalVersion":1,"processes":[]}`...)
		} else {
			a.writeStatus(&c.buf)
		}
	case endpointLocks:
		if a == nil {
			c.buf.b = append(c.buf.b, `{"externalManagementSystem":{"name":""},"policies":[]}`...)
		} else {
			a.writeLocks(&c.buf)
		}
	}
}

// missing reports an endpoint that the server is too old for.
func (c *call) missing() bool {
	agents := c.plan.faults.Agents
	switch c.endpoint {
	case endpointNoSecrets, endpointPutNoSecrets:
		return agents.NoSecretsMissing
	case endpointLocks:
		return agents.LocksMissing
	default:
		return false
	}
}

// automated returns what is automated in a project.
func (e *Estate) automated(projectID string) (*automation, error) {
	p := e.groups[projectID]
	if p == nil || p.automation == nil {
		return nil, fmt.Errorf("project %q has no agents that could turn keys", projectID)
	}
	return p.automation, nil
}

// EditAutomation changes a project's automation config as if somebody else did: something that has nothing to do with
// keys. If stale, it was made from the config before the last one, which it takes back.
func (e *Estate) EditAutomation(projectID string, stale bool) error {
	a, err := e.automated(projectID)
	if err != nil {
		return fmt.Errorf("editing: %w", err)
	}
	a.edit(stale)
	return nil
}

// Lock makes an external system forbid that a project is changed, by a policy such as EXTERNALLY_MANAGED_LOCK; an
// empty one lifts it.
func (e *Estate) Lock(projectID, policy, holder string) error {
	a, err := e.automated(projectID)
	if err != nil {
		return fmt.Errorf("locking: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lock = lock{policy: policy, holder: holder}
	return nil
}

// Automation counts what happened to a project's automation config, and returns it as it is.
func (e *Estate) Automation(projectID string) (AutomationStats, []byte, error) {
	a, err := e.automated(projectID)
	if err != nil {
		return AutomationStats{}, nil, fmt.Errorf("looking at the automation config: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(time.Now())
	stats := a.stats
	stats.Version = a.version
	return stats, a.doc, nil
}

// settle works out what all agents did until now.
func (e *Estate) settle() {
	for _, p := range e.projects {
		if a := p.automation; a != nil {
			a.mu.Lock()
			a.settle(time.Now())
			a.mu.Unlock()
		}
	}
}
