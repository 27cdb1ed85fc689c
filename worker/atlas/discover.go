package atlas

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
)

// project is what Atlas's API calls a group.
type project struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

const stateIdle = "IDLE"

// cluster is one, in the fields that all versions share, and in those that tell its size.
type cluster struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Type     string `json:"clusterType"` // REPLICASET, SHARDED, GEOSHARDED
	Provider string `json:"encryptionAtRestProvider"`
	State    string `json:"stateName"`
	Paused   bool   `json:"paused"`
	Settings struct {
		InstanceSize string `json:"instanceSizeName"`
	} `json:"providerSettings"` // v1
	Specs []struct {
		Regions []struct {
			Provider   string `json:"providerName"`
			Electables struct {
				InstanceSize string `json:"instanceSize"`
			} `json:"electableSpecs"`
		} `json:"regionConfigs"`
	} `json:"replicationSpecs"`
}

// size is the instance size of a cluster; empty: it is not told.
func (k cluster) size() string {
	if k.Settings.InstanceSize != "" {
		return k.Settings.InstanceSize
	}
	for _, s := range k.Specs {
		for _, r := range s.Regions {
			if r.Electables.InstanceSize != "" {
				return r.Electables.InstanceSize
			}
			if r.Provider == "FLEX" {
				return "FLEX"
			}
		}
	}
	return ""
}

// shared reports a cluster that can't be encrypted with a key of its owner's.
func (k cluster) shared() bool { return slices.Contains([]string{"M0", "M2", "M5", "FLEX"}, k.size()) }

// found is a project with what it says about its encryption.
type found struct {
	project
	units   []keyturn.Unit
	say     encryption
	leftOut keyturn.Check // why it has no units, if it has none and that was asked
}

// Discover returns the units that are selected, sorted by project and provider: one for each provider that a
// project uses. It asks for two lists of each project that can be selected from.
//
// A project whose encryption can't be read fails it: a plan that leaves
// something out without saying so would be worse than none.
func (c *Client) Discover(ctx context.Context, sel keyturn.Selection) ([]keyturn.Unit, error) {
	projects, err := c.survey(ctx, sel, false)
	if err != nil {
		return nil, err
	}
	var units []keyturn.Unit
	for _, p := range projects {
		units = append(units, p.units...)
	}
	return units, nil
}

// survey looks into each project that units can be selected from. why: it also asks why a project has none.
func (c *Client) survey(ctx context.Context, sel keyturn.Selection, why bool) ([]found, error) {
	q := question{operation: "list_projects", doing: "listing the projects of target", subject: c.target.Name, path: "/groups"}
	all, err := list(ctx, c, q, func(p project) string { return p.ID })
	if err != nil {
		return nil, err
	}
	named, only := projectsOfUnits(sel.Units, c.target.Name)
	all = slices.DeleteFunc(all, func(p project) bool {
		return !sel.MatchProject(p.ID, p.Name) || only && !slices.Contains(named, p.ID)
	})
	slices.SortFunc(all, func(a, b project) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	results := make([]found, len(all))
	eg, egCtx := errgroup.WithContext(ctx)
	eg.SetLimit(max(1, min(surveyors, c.target.Limits.Concurrency)))
	for i, p := range all {
		eg.Go(func() error {
			var err error
			results[i], err = c.look(egCtx, p, sel, why)
			return err
		})
	}
	return results, eg.Wait()
}

// look finds the units of one project.
func (c *Client) look(ctx context.Context, p project, sel keyturn.Selection, why bool) (found, error) {
	result := found{project: p}
	subject := p.Name + " (" + p.ID + ")"
	q := question{
		operation: "get_encryption", doing: "reading the encryption of project", subject: subject,
		project: p.ID, path: encryptionPath(p.ID), needs: "Project Read Only",
	}
	if _, err := keyturn.UnitID(c.target.Name, p.ID, "aws"); err != nil {
		return result, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_id"}, err)
	}
	err := c.get(ctx, q, &result.say)
	if isCode(err, codeNotFound) {
		c.log.Info("project is gone: left out", zapTarget(c.target.Name), zap.String("project", p.ID))
		return result, nil // deleted since the projects were listed
	}
	if refused(err) { // some plans have no such thing to ask for
		if reason, unknown := c.unavailable(ctx, p, subject); unknown == nil && reason != "" {
			c.log.Info("project left out", zapTarget(c.target.Name), zap.String("project", p.ID), zap.String("reason", reason))
			result.leftOut = leftOut(subject, reason, nil)
			return result, nil
		}
	}
	if err != nil {
		return result, err
	}
	none := true
	for _, pr := range providers() {
		u, ok := c.unit(p, pr, result.say.of(pr))
		none = none && !ok
		if ok && sel.Match(u) {
			result.units = append(result.units, u)
		}
	}
	if none && why {
		reason, err := c.unavailable(ctx, p, subject)
		result.leftOut = leftOut(subject, cmp.Or(reason, "it uses no key of its owner"), err)
	}
	if !slices.ContainsFunc(result.units, func(u keyturn.Unit) bool { return u.Rotatable }) {
		return result, nil
	}
	reason, err := c.unavailable(ctx, p, subject)
	for i := range result.units {
		if reason != "" && result.units[i].Rotatable {
			result.units[i].Rotatable, result.units[i].Reason = false, reason
		}
	}
	return result, err
}

// leftOut tells why a project has no units. err: that could not be found out.
func leftOut(subject, reason string, err error) keyturn.Check {
	check := keyturn.Check{Name: "project", State: keyturn.CheckOK, Message: "project " + subject + " is left out: " + reason}
	if err != nil {
		check.State, check.Message = keyturn.CheckUnknown, "project "+subject+" is left out, as it uses no key of its owner; why can't be known: "+err.Error()
	}
	return check
}

func (c *Client) unit(p project, pr provider, s setting) (keyturn.Unit, bool) {
	if !s.there {
		return keyturn.Unit{}, false
	}
	_, reason := s.trouble(pr)
	return keyturn.Unit{
		ID: c.target.Name + "." + p.ID + "." + string(pr.id), Target: c.target.Name, System: c.target.System,
		ProjectID: p.ID, ProjectName: p.Name, ClusterID: string(pr.id), ClusterName: string(pr.id),
		Component: keyturn.ComponentProject, Name: string(pr.id), Rotatable: reason == "", Reason: reason,
	}, true
}

// unavailable says why a project can't use keys of its own; empty: it can. Only dedicated clusters can.
// https://www.mongodb.com/docs/atlas/reference/unsupported-commands/
func (c *Client) unavailable(ctx context.Context, p project, subject string) (string, error) {
	clusters, err := c.clusters(ctx, p.ID, "listing the clusters of project", subject)
	if err != nil || slices.ContainsFunc(clusters, func(k cluster) bool { return !k.shared() }) {
		return "", err
	}
	if len(clusters) > 0 {
		return "the project has only M0, M2, M5 or Flex clusters, which can't be encrypted with keys of their owner", nil
	}
	q := question{
		operation: "list_serverless", doing: "listing the serverless instances of project", subject: subject,
		project: p.ID, path: "/groups/" + p.ID + "/serverless", needs: "Project Read Only",
	}
	serverless, err := list(ctx, c, q, func(k cluster) string { return k.ID + k.Name })
	if refused(err) {
		return "", nil //nolint:nilerr // there are none where the question is not understood
	}
	if len(serverless) > 0 {
		return "the project has only serverless instances, which can't be encrypted with keys of their owner", err
	}
	return "", err
}

// clusters lists those of a project.
func (c *Client) clusters(ctx context.Context, project, doing, subject string) ([]cluster, error) {
	return list(ctx, c, question{
		operation: "list_clusters", doing: doing, subject: subject, project: project, path: "/groups/" + project + "/clusters",
		versions: []string{version2024, version2023}, needs: "Project Read Only",
	}, func(k cluster) string { return k.ID + k.Name })
}

// projectsOfUnits returns the projects that units are in. only is true if they
// can be in no other, because all units are given by their whole ids.
func projectsOfUnits(units []string, target string) (projects []string, only bool) {
	for _, unit := range units {
		t, project, _, err := keyturn.SplitUnitID(unit)
		if err != nil || strings.ContainsAny(t+project, `*?[\`) {
			return nil, false
		}
		if t == target {
			projects = append(projects, project)
		}
	}
	return projects, len(units) > 0
}

// refused reports an answer that is about this resource only: it is not there, or not for us.
func refused(err error) bool {
	e, ok := errors.AsType[*keyturn.SystemError](err)
	return ok && e.Kind == keyturn.KindPermanent && !e.Target
}

func isCode(err error, code string) bool {
	e, ok := errors.AsType[*keyturn.SystemError](err)
	return ok && e.Code == code
}
