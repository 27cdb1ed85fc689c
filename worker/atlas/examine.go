package atlas

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn"
)

// Examine returns a finding for each unit that is selected, and says of the projects without any why they have none.
func (c *Client) Examine(ctx context.Context, sel keyturn.Selection) ([]keyturn.Finding, []keyturn.Check, error) {
	projects, err := c.survey(ctx, sel, true)
	if err != nil {
		return nil, nil, err
	}
	var (
		findings []keyturn.Finding
		leftOut  []keyturn.Check
	)
	for _, p := range projects {
		if p.leftOut.Name != "" {
			leftOut = append(leftOut, p.leftOut)
		}
		for _, u := range p.units {
			pr, _ := providerOf(u.ClusterID)
			findings = append(findings, c.examine(ctx, u, pr, p.say.of(pr)))
		}
	}
	return findings, leftOut, nil
}

// examine looks at the key in use, too: a rotation would have to.
func (c *Client) examine(ctx context.Context, u keyturn.Unit, p provider, s setting) keyturn.Finding {
	f := keyturn.Finding{Unit: u}
	if !u.Rotatable {
		f.Fix = fixOf(p, s)
		return f
	}
	f.Way = string(p.id) + ":" + string(c.strategy(p))
	f.KeyID = s.key
	service := c.keys[p.id]
	if service == nil {
		return f
	}
	key, err := service.Describe(ctx, s.ref(s.key))
	switch {
	case err != nil && c.strategy(p) == keyturn.StrategyProvided: // it can be done without
	case err != nil:
		f.Rotatable, f.Reason = false, fmt.Sprintf("its key in %s can't be looked at: %v", p.name, c.clean(err.Error()))
		f.Fix = "check spec.kms." + string(p.id) + " and what its credentials may do with the key"
		f.Passing = keyturn.AsSystemError(err, keyturn.KindPermanent).Kind == keyturn.KindTransient
		f.Way = ""
	default:
		if c.inPlace(p) && key.RotationsLeft != nil {
			f.Fix = fmt.Sprintf("AWS rotates this key on demand %d more times", *key.RotationsLeft)
		}
		if !key.CreatedAt.IsZero() {
			f.KeySince, f.KeySinceExact = &key.CreatedAt, true
		}
	}
	return f
}

func fixOf(p provider, s setting) string {
	switch code, _ := s.trouble(p); code {
	case "encryption_off", "no_key":
		return "a Project Owner can switch it on in Atlas under Security > Advanced; Keyturn never does"
	case "key_invalid":
		return "enable the key in " + p.name + ", give Atlas back its permissions, then press Try Again in Atlas"
	default:
		return ""
	}
}

// Check tells whether Atlas can be worked with at all. Subject is filled in by the caller.
func (c *Client) Check(ctx context.Context) []keyturn.Check {
	checks := []keyturn.Check{c.checkCredentials(ctx), {
		Name: "role", State: keyturn.CheckUnknown, Message: "whether the " + c.who() + " may change keys is only found out by doing so",
		Fix: "give it the role Project Owner in each project whose keys are to be turned",
	}}
	said := c.notices.all()
	version := keyturn.Check{Name: "api-version", State: keyturn.CheckOK, Message: "Atlas announces no end of what Keyturn uses"}
	if c.target.API == "v1" {
		version.Message = "version 1.0 is used, which Atlas calls legacy; it announces no end of what Keyturn uses"
	}
	if len(said) > 0 {
		version.State, version.Message, version.Fix = keyturn.CheckWarning, strings.Join(said, "; "), "update Keyturn before"
		if c.target.API == "v1" {
			version.Fix = "write api: v2 in the target's spec"
		}
	}
	return append(checks, version)
}

// checkCredentials makes one cheap call.
func (c *Client) checkCredentials(ctx context.Context) keyturn.Check {
	check := keyturn.Check{Name: "credentials", State: keyturn.CheckOK, Message: "the " + c.who() + " is let in"}
	q := question{operation: "check", doing: "calling target", subject: c.target.Name, path: "/groups", query: "itemsPerPage=1&pageNum=1"}
	var answer page[project]
	err := c.get(ctx, q, &answer)
	if err == nil && answer.Results == nil && answer.TotalCount == nil {
		err = c.foreign(q, "the answer is no list of projects")
	}
	failure, ok := errors.AsType[*keyturn.SystemError](err)
	switch {
	case err == nil && len(answer.Results) == 0:
		check.State, check.Message = keyturn.CheckWarning, "the "+c.who()+" is let in, but sees no project"
		check.Fix = "give it the role Project Owner in each project whose keys are to be turned"
	case ok && failure.Kind == keyturn.KindTransient:
		check.State, check.Message = keyturn.CheckUnknown, err.Error()
	case err != nil:
		check.State, check.Message = keyturn.CheckFailed, err.Error()
	}
	return check
}
