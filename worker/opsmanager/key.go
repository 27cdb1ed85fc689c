package opsmanager

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/fence"
)

// errNoKey: Ops Manager knows the unit, but no key of it.
var errNoKey = errors.New("the answer names no encryptionKeyUUID: the unit's backup has no master key")

// Prepare finds the way in which the unit's key is turned, the key in use and what the change needs.
func (c *Client) Prepare(ctx context.Context, unit string, task keyturn.ID) (keyturn.Intent, error) {
	q := question{operation: "prepare", doing: "preparing to turn the key of unit", subject: unit}
	found, err := c.wayOf(ctx, q, unit)
	if err != nil {
		return keyturn.Intent{}, err
	}
	if found == wayAutomation {
		return c.prepareAutomation(ctx, q, unit, task)
	}
	key, err := c.key(ctx, unit, keyTurns, keyturn.KindPermanent)
	return keyturn.Intent{Before: key}, err
}

// Current returns the id of the key in use, or what stands for it.
func (c *Client) Current(ctx context.Context, unit string) (string, error) {
	q := question{operation: "current", doing: "reading the key of unit", subject: unit}
	found, err := c.wayOf(ctx, q, unit)
	if err != nil {
		return "", err
	}
	if found == wayAutomation {
		return c.currentAutomation(ctx, q, unit)
	}
	return c.currentBackup(ctx, unit)
}

func (c *Client) wayOf(ctx context.Context, q question, unit string) (way, error) {
	projectID, clusterID, err := c.split(unit)
	if err != nil {
		return "", c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	return c.way(ctx, q, projectID, clusterID)
}

func (c *Client) currentBackup(ctx context.Context, unit string) (string, error) {
	// A unit that had a key has one; an answer without it is one to ask for again.
	return c.key(ctx, unit, 1, keyturn.KindTransient)
}

// Confirm tells how far the change is that an intent stands for.
func (c *Client) Confirm(ctx context.Context, unit string, intent keyturn.Intent) (keyturn.Sight, error) {
	if intent.Data != nil {
		return c.confirmAutomation(ctx, unit, intent)
	}
	key, err := c.currentBackup(ctx, unit)
	sight := keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}
	if err == nil && intent.ChangedBy(key) {
		sight.Progress = keyturn.ProgressDone
	}
	return sight, err
}

func (c *Client) key(ctx context.Context, unit string, turns int, without keyturn.ErrorKind) (string, error) {
	q := question{
		operation: "get_key", doing: "reading the key of unit", subject: unit,
		header: c.keyHeader, limit: keyLimit, turns: turns,
	}
	var err error
	if q.path, err = c.keyPath(unit); err != nil {
		return "", c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	var answer struct {
		Key string `json:"encryptionKeyUUID"`
	}
	if err := c.get(ctx, q, &answer); err != nil {
		return "", err
	}
	if answer.Key == "" {
		return "", c.fail(q, keyturn.SystemError{Kind: without, Code: "no_key"}, errNoKey)
	}
	return answer.Key, nil
}

// keyPath returns the path of a unit's key. A unit's id is made of plain
// tokens only, so that it can't lead elsewhere.
func (c *Client) keyPath(unit string) (string, error) {
	target, project, cluster, err := keyturn.ParseUnitID(unit)
	if err != nil {
		return "", err
	}
	if target != c.target.Name {
		return "", fmt.Errorf("it belongs to target %q, not to %q", target, c.target.Name)
	}
	return "/groups/" + project + "/backupConfigs/" + cluster + "/encryptionKey", nil
}

// Apply makes Ops Manager turn the unit's key: one PUT, sent once. In the way of backups it has no body and
// does not wait for the rate limit: Prepare has paid for it, and a caller
// counts on it being over when the request's timeout is.
func (c *Client) Apply(ctx context.Context, unit string, intent keyturn.Intent) error {
	if intent.Data != nil {
		return c.applyAutomation(ctx, unit, intent)
	}
	q := question{operation: "put_key", doing: "turning the key of unit", subject: unit, header: c.putHeader}
	var err error
	if q.path, err = c.keyPath(unit); err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	return c.putObserved(ctx, q)
}

func (c *Client) putObserved(ctx context.Context, q question) error {
	if c.observe == nil {
		return c.put(ctx, q)
	}
	start := c.now()
	err := c.put(ctx, q)
	c.observed(q, start, err)
	return err
}

// put sends a change, once, and says of every failure whether it can have been carried out.
func (c *Client) put(ctx context.Context, q question) error {
	limited, cancel := c.limited(ctx)
	defer cancel()
	limited, lift := fence.Request(limited)
	defer lift()
	limited, sent := fence.Watch(limited)
	resp, err := c.rt.RoundTrip(c.request(limited, http.MethodPut, q))
	if err != nil {
		e := c.unreachable(ctx, q, err)
		if sent() {
			e.Kind = keyturn.KindAmbiguous
		}
		return e
	}
	defer discard(resp)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		return nil // whatever the body says: it may name the key before
	default:
		return c.refusal(q, resp, true)
	}
}

// Ping reports whether the target can be reached, is an Ops Manager and
// accepts the credentials, by one cheap call.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.ping(ctx, nil)
	return err
}

// ping returns one of the projects, and fills in the header of the answer, if there is one.
func (c *Client) ping(ctx context.Context, seen *http.Header) ([]group, error) {
	var answer page[group]
	q := question{
		operation: "check", doing: "calling target", subject: c.target.Name, path: "/groups",
		query: "itemsPerPage=1&pageNum=1", header: c.readHeader, limit: listLimit, turns: 1, seen: seen,
	}
	if err := c.get(ctx, q, &answer); err != nil {
		return nil, err
	}
	if answer.Results == nil {
		return nil, c.foreign(q, "the answer is no list of projects")
	}
	return answer.Results, nil
}
