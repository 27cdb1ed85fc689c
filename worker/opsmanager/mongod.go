package opsmanager

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
)

// mongod is what decides whether the agents can turn the key of a process.
type mongod struct {
	fcv, hostname string
	other         string // the type of a process that is no mongod
	double        bool   // it is named twice
	disabled      bool
	manual        bool
	encrypted     bool // with KMIP
	keyIdentifier bool
	rotated       time.Time // zero: never
	unclear       error     // rotated can't be read
}

func newMongod(p *process, k *keeper) mongod {
	m := mongod{
		fcv: k.common(p.FCV), hostname: k.own(p.Hostname),
		disabled: p.Disabled.set(), manual: p.ManualMode.set(),
		encrypted: p.Args.Encryption.yes() && p.Args.KMIP.object(), keyIdentifier: p.Args.KeyIdentifier.set(),
	}
	if p.ProcessType != "mongod" {
		m.other, m.fcv = "no mongod", ""
	}
	m.rotated, m.unclear = rotation(p.Rotated)
	return m
}

// obstacle says why the agents can't be asked to turn the key of the process; empty: they can.
func (m mongod) obstacle(name string) string {
	what := "process " + name
	switch {
	case m.double:
		return "two processes are named " + name
	case m.other != "":
		return what + " is no mongod"
	case m.disabled:
		return what + " is disabled"
	case m.manual:
		return what + " is in manual mode: no agent restarts it"
	case !m.encrypted:
		return what + " has no key in a KMIP server (args2_6.security.enableEncryption and .kmip)"
	case m.keyIdentifier:
		return what + " sets args2_6.security.kmip.keyIdentifier, and what agents do then is not documented: remove it, or turn the key by hand"
	case m.unclear != nil:
		return what + ": " + m.unclear.Error()
	default:
		return ""
	}
}

// automated returns the processes whose key is turned for a component, or why that can't be done. Arbiters hold
// no data; one without encryption is none of them.
func (p *plan) automated(comp component) (names []string, obstacle string) {
	name := comp.name()
	switch {
	case p != nil && comp.twin && !p.fits(comp):
		return nil, "the project has more than one replica set named " + name + ", so that the automation config does not tell which it means: rename or remove the other"
	case p == nil || !p.fits(comp) || len(p.members[name]) == 0:
		return nil, "the automation config does not name it: let automation manage it"
	case p.double[name]:
		return nil, "the automation config names replica set " + name + " twice"
	}
	for _, member := range p.members[name] {
		m, ok := p.mongods[member.Host]
		if !ok {
			return nil, "the automation config has no process " + member.Host
		}
		if member.Arbiter.yes() && !m.encrypted {
			continue
		}
		if why := m.obstacle(member.Host); why != "" {
			return nil, why
		}
		if slices.Contains(names, member.Host) {
			return nil, "process " + member.Host + " is two of its members"
		}
		names = append(names, member.Host)
	}
	if len(names) == 0 {
		return nil, "all of its members are arbiters"
	}
	return names, ""
}

// rotated returns since when all of the processes have a key that was turned through automation: the time of
// the oldest. Those without one are left out, since a member that was added later made its key then. Zero:
// none was turned.
func (p *plan) rotated(names []string) time.Time {
	var oldest time.Time
	for _, name := range names {
		if at := p.mongods[name].rotated; !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	return oldest
}

// reached reports whether each of the processes was asked to turn its key at that time or later.
func (p *plan) reached(names []string, at time.Time) bool { return len(p.behind(names, at)) == 0 }

// behind returns those of the processes that were not.
func (p *plan) behind(names []string, at time.Time) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !p.mongods[name].rotated.Before(at) })
}

// latest returns the time of the newest key among the processes.
func (p *plan) latest(names []string) time.Time {
	var latest time.Time
	for _, name := range names {
		if at := p.mongods[name].rotated; at.After(latest) {
			latest = at
		}
	}
	return latest
}

// markerOf names the key of the processes.
func (p *plan) markerOf(names []string) string {
	if at := p.rotated(names); !at.IsZero() {
		return marker(at)
	}
	return never
}

// way is how the key of a unit is turned.
type way string

const (
	wayBackup     way = "backup"     // PUT encryptionKey, up to FCV 4.0
	wayAutomation way = "automation" // lastKmipMasterKeyRotation, from FCV 4.2 on
)

// route is the way of a unit, or why there is none.
type route struct {
	way    way
	reason string
}

// errNoWay: there is no way to turn the unit's key; the reason follows.
var errNoWay = errors.New("its key can't be turned")

// routeOf decides, by what is known of the FCV. It asks nobody.
func (c *Client) routeOf(found fcv, p *plan, unread string, comp component) route {
	switch {
	case comp.flaw != "":
		return route{reason: comp.flaw}
	case found.low && c.target.System == keyturn.SystemCloudManager:
		return route{reason: "FCV is at most 4.0: Cloud Manager is not known to turn the keys of such backups, and automation turns keys from FCV 4.2 on"}
	case found.low:
		return route{way: wayBackup}
	case !found.high:
		return route{reason: found.why}
	case p == nil:
		return route{reason: fmt.Sprintf("%s: its key is turned through automation, and %s", found.why, unread)}
	}
	if _, obstacle := p.automated(comp); obstacle != "" {
		return route{reason: fmt.Sprintf("%s: its key is turned through automation, and %s", found.why, obstacle)}
	}
	return route{way: wayAutomation}
}
