package atlas

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"

	"github.com/keyturn/keyturn"
)

// alertConfig is what an alert configuration says, as far as it is about the age of keys. Atlas makes one of 90
// days for a project that begins to use keys of its own; older pages say 365.
// https://www.mongodb.com/docs/atlas/reference/api-resources-spec/v2/#tag/Alert-Configurations
type alertConfig struct {
	ID        string `json:"id"`
	Event     string `json:"eventTypeName"`
	Enabled   bool   `json:"enabled"`
	Threshold struct {
		Threshold float64 `json:"threshold"`
		Units     string  `json:"units"` // DAYS; HOURS
	} `json:"threshold"`
}

func (a alertConfig) days() int {
	days := a.Threshold.Threshold
	if strings.HasPrefix(a.Threshold.Units, "HOUR") {
		days /= 24
	}
	return max(1, int(math.Round(min(days, 1e6))))
}

// Thresholds returns the ages from which on Atlas itself tells people that a key should be turned: of the projects
// that the selection selects, for each provider that they use.
func (c *Client) Thresholds(ctx context.Context, sel keyturn.Selection) ([]keyturn.Threshold, error) {
	projects, err := c.survey(ctx, sel, false)
	if err != nil {
		return nil, err
	}
	var all []keyturn.Threshold
	for _, p := range projects {
		if len(p.units) == 0 {
			continue
		}
		configs, err := list(ctx, c, c.alertQuestion(p.ID, "list_alert_configs", "listing the alert configurations of project", p.Name+" ("+p.ID+")", ""),
			func(a alertConfig) string { return a.ID })
		if err != nil {
			return nil, err
		}
		for _, u := range p.units {
			pr, _ := providerOf(u.ClusterID)
			if !p.say.of(pr).enabled {
				continue
			}
			none := keyturn.Threshold{Target: c.target.Name, ProjectID: p.ID, ProjectName: p.Name, Event: pr.alert}
			before := len(all)
			for _, a := range configs {
				if a.Event == pr.alert {
					one := none
					one.ID, one.Enabled, one.Days = a.ID, a.Enabled, a.days()
					all = append(all, one)
				}
			}
			if len(all) == before {
				all = append(all, none)
			}
		}
	}
	return all, nil
}

func (c *Client) alertQuestion(project, operation, doing, subject, path string) question {
	return question{
		operation: operation, doing: doing, subject: subject, project: project,
		path: "/groups/" + project + "/alertConfigs" + path, needs: "Project Read Only",
	}
}

// SetThreshold sets the days of one threshold. Atlas wants the whole configuration back (PUT; PATCH only switches it on and off).
func (c *Client) SetThreshold(ctx context.Context, t keyturn.Threshold, days int) error {
	q := c.alertQuestion(t.ProjectID, "get_alert_config", "setting the threshold of "+t.Event+" in project", t.ProjectName+" ("+t.ProjectID+")", "/"+t.ID)
	if ok, err := regexp.MatchString(`^[A-Za-z0-9_-]{1,100}$`, t.ID); !ok || err != nil || days < 1 {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_threshold"}, fmt.Errorf("there is no alert configuration %q, or %d days can't be set", t.ID, days))
	}
	var whole map[string]any
	if err := c.get(ctx, q, &whole); err != nil {
		return err
	}
	if event, _ := whole["eventTypeName"].(string); event != t.Event {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_threshold"}, fmt.Errorf("alert configuration %s is about %.60q", t.ID, event))
	}
	if hidden(whole) {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "hidden_secret"},
			fmt.Errorf("a notification of alert configuration %s holds a secret that Atlas does not show, and that would be lost: set %d days by hand in Atlas under Project Alerts", t.ID, days))
	}
	for _, readOnly := range []string{"id", "groupId", "typeName", "created", "updated", "status", "links"} {
		delete(whole, readOnly)
	}
	threshold, _ := whole["threshold"].(map[string]any)
	if threshold == nil {
		threshold = map[string]any{"operator": "GREATER_THAN"}
	}
	threshold["threshold"], threshold["units"] = days, "DAYS"
	whole["threshold"] = threshold
	body, err := json.Marshal(whole)
	if err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_threshold"}, err)
	}
	q.operation, q.needs = "put_alert_config", "Project Alerts Manager"
	return c.change(ctx, http.MethodPut, q, body)
}

// hidden reports a value that Atlas shows in part only: "****abcd".
func hidden(value any) bool {
	switch v := value.(type) {
	case string:
		return strings.Contains(v, "***")
	case []any:
		for _, e := range v {
			if hidden(e) {
				return true
			}
		}
	case map[string]any:
		for _, e := range v {
			if hidden(e) {
				return true
			}
		}
	}
	return false
}
