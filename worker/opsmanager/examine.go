package opsmanager

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// The ways, as people are told of them.
const (
	toldBackup     = "backup-endpoint"
	toldAutomation = "automation"
)

// skewMost is from which difference on the server's clock is said to differ: its Date has no parts of a second.
const skewMost = 5 * time.Second

// Examine returns for each selected unit the way in which its key would be turned, and what to do where none works.
func (c *Client) Examine(ctx context.Context, sel keyturn.Selection) ([]keyturn.Finding, []keyturn.Check, error) {
	units, err := c.Discover(ctx, sel)
	if err != nil {
		return nil, nil, err
	}
	findings := make([]keyturn.Finding, len(units))
	for i, u := range units {
		findings[i] = keyturn.Finding{Unit: u, Way: c.toldWay(u)}
		if !u.Rotatable {
			findings[i].Fix, findings[i].Passing = remedy(u.Reason)
		}
	}
	return findings, nil, nil
}

// toldWay is the way that was found for the unit, or the one that its FCV asks for and that something is in.
func (c *Client) toldWay(u keyturn.Unit) string {
	found, _ := c.ways.known(u.ProjectID, u.ClusterID, c.now())
	_, known := parseVersion(u.FCV)
	switch {
	case u.Rotatable && found == wayAutomation, !u.Rotatable && known && compareVersions(u.FCV, "4.0") > 0:
		return toldAutomation
	case u.Rotatable && found == wayBackup, !u.Rotatable && known && c.backsUp():
		return toldBackup
	case !u.Rotatable && strings.Contains(u.Reason, "through automation"):
		return toldAutomation
	default:
		return ""
	}
}

func (c *Client) backsUp() bool { return c.target.System != keyturn.SystemCloudManager }

// remedies are what to do about a reason that contains the words; the first that fits. Those that say themselves what to
// do behind a colon need none.
func remedies() []struct{ words, fix string } {
	const role = "give the API key the role in the project: Project Automation Admin for FCV 4.2 and higher, Project Backup Admin for backups"
	return []struct{ words, fix string }{
		{"access list", "add this server's address to the access list of the API key"},
		{"lacks the role", role},
		{"USER_UNAUTHORIZED", role},
		{"it can't be known whether backup is on", role},
		{"whether an external system holds a lock", role},
		{"backup is off", "start the backup of the cluster: Continuous Backup > Start, with encryption"},
		{"whether encryption is on", "read the cluster's backup settings in Ops Manager, and turn encryption on there"},
		{"encryption is off", "turn encryption on in the cluster's backup settings; it needs a KMIP server (Admin > General > Ops Manager Config > Backup)"},
		{"holds the lock", "turn the key with the system that manages the project, or have its lock (controlledFeature) removed"},
		{"manual mode", "take the process out of manual mode"},
		{"is disabled", "enable the process in the automation config"},
		{"has no key in a KMIP server", "turn encryption at rest with KMIP on for all members, or leave the unit out of the policy: it has no master key"},
		{"keyIdentifier", "remove security.kmip.keyIdentifier from the members' configuration, so that the agents ask for a new key"},
		{"does not name it", "let automation manage the deployment (Add > Manage existing)"},
		{"has no process", "let automation manage all members of the replica set"},
		{"FCV is unknown", howToKnow},
		{"Cloud Manager is not known", "raise the FCV to 4.2 or higher"},
		{"standalones", "nothing: backups of standalones have no master key of their own"},
		{"mirrored config servers", "nothing: upgrade to a config server replica set"},
	}
}

// remedy is what to do about a reason, and whether it passes by itself.
func remedy(reason string) (fix string, passing bool) {
	if strings.Contains(reason, "wait until it is the same for all") {
		return "wait: the FCV is being changed", true
	}
	for _, r := range remedies() {
		if strings.Contains(reason, r.words) {
			return r.fix, false
		}
	}
	if _, advice, ok := strings.Cut(reason, ": "); ok {
		return advice, false
	}
	return "look at the deployment in Ops Manager: " + reason, false
}

// Check looks at the target as a whole: by two cheap calls.
func (c *Client) Check(ctx context.Context) []keyturn.Check {
	var seen http.Header
	before := c.now()
	projects, err := c.ping(ctx, &seen)
	after := c.now()
	if err != nil {
		return []keyturn.Check{refusedCheck(err)}
	}
	return []keyturn.Check{
		{Name: "credentials", State: keyturn.CheckOK, Message: c.target.URL + " accepts them"},
		c.checkRole(ctx, projects), serverClock(seen, before, after), apiVersion(seen),
	}
}

// refusedCheck says what is wrong when a first call fails. Its text says what to do.
func refusedCheck(err error) keyturn.Check {
	e := keyturn.AsSystemError(err, keyturn.KindTransient)
	check := keyturn.Check{Name: "reachable", State: keyturn.CheckFailed, Message: err.Error()}
	switch e.Code {
	case "unauthorized":
		check.Name, check.Fix = "credentials", "make an API key in Ops Manager (Organization > Access Manager > API Keys), and put it where spec.credentials leads"
	case "forbidden":
		check.Name, check.Fix = "credentials", "add this server's address to the access list of the API key"
	case "not_ops_manager", "redirect", "tls", "network", "timeout":
		check.Fix = "correct spec.url, spec.tls or the network on the way to it"
	}
	return check
}

// checkRole tries what one of the projects lets the API key read. What it may change is not to be known without
// changing something, nor does the target tell roles.
func (c *Client) checkRole(ctx context.Context, projects []group) keyturn.Check {
	check := keyturn.Check{Name: "role", State: keyturn.CheckWarning, Message: "the API key is in no project"}
	if len(projects) == 0 {
		check.Fix = "add it to the projects, as Project Automation Admin (FCV 4.2 and higher) or Project Backup Admin (backups up to FCV 4.0)"
		return check
	}
	s := survey{c: c, group: projects[0]}
	err := s.readPlan(ctx)
	switch {
	case err != nil:
		check.State, check.Message = keyturn.CheckUnknown, err.Error()
	case s.plan == nil && strings.Contains(s.unread, "lacks the role"):
		check.Message = "the automation config can't be read: " + s.unread
		check.Fix = "give the API key Project Automation Admin in its projects: without it no keys from FCV 4.2 on can be turned"
	case s.plan == nil:
		check.State, check.Message = keyturn.CheckUnknown, s.unread
	default:
		check.State = keyturn.CheckOK
		check.Message = "it suffices to read the automation config of project " + s.group.String() + "; whether it may change it shows with the first change"
	}
	return check
}

// serverClock compares the Date of an answer with our clock.
func serverClock(h http.Header, before, after time.Time) keyturn.Check {
	check := keyturn.Check{Name: "clock", State: keyturn.CheckOK, Message: "the target's clock is as ours, to some seconds"}
	theirs, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		check.State, check.Message = keyturn.CheckUnknown, "the target's answers have no Date"
		return check
	}
	skew := theirs.Sub(before)
	if skew > 0 {
		skew = max(0, theirs.Sub(after))
	}
	if skew.Abs() > skewMost {
		word := "ahead of"
		if skew < 0 {
			word = "behind"
		}
		check.State = keyturn.CheckWarning
		check.Message = fmt.Sprintf("the target's clock is %s %s ours", skew.Abs().Round(time.Second), word)
		check.Fix = "let both follow the same time servers (NTP): rotations through automation are named by the target's time"
	}
	return check
}

// apiVersion says which version answers, by the header "gitHash=…; versionString=7.0.4".
func apiVersion(h http.Header) keyturn.Check {
	_, version, found := strings.Cut(h.Get("X-MongoDB-Service-Version"), "versionString=")
	if !found {
		return keyturn.Check{Name: "api-version", State: keyturn.CheckUnknown, Message: "the target does not tell its version"}
	}
	version, _, _ = strings.Cut(version, ";")
	return keyturn.Check{Name: "api-version", State: keyturn.CheckOK, Message: "version " + cmp.Or(strings.TrimSpace(version), "unknown")}
}
