package atlas

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// Confirm tells how far Atlas is with a change: it shows the new key at once, then finds out whether it is valid,
// and then takes the clusters through it one by one.
func (c *Client) Confirm(ctx context.Context, unit string, intent keyturn.Intent) (keyturn.Sight, error) {
	const doing = "reading the key of unit"
	at, err := c.find(unit)
	if err != nil {
		return keyturn.Sight{}, err
	}
	now, err := c.setting(ctx, at, doing, 1)
	if err != nil {
		return keyturn.Sight{}, err
	}
	key, described, err := c.inUse(ctx, at, now, doing)
	if err != nil {
		return keyturn.Sight{}, err
	}
	sight := keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}
	if described.Rotating {
		sight.Progress, sight.Note = keyturn.ProgressUnder, "AWS is making new material for the key"
		return sight, nil
	}
	if !carriedOut(intent, key) {
		c.steady.seen(unit, key, false)
		return sight, nil
	}
	sight.Progress = keyturn.ProgressUnder
	if sight.Note, err = c.waitsFor(ctx, at, now); err != nil {
		return keyturn.Sight{}, err
	}
	if c.steady.seen(unit, key, sight.Note == "") {
		sight.Progress = keyturn.ProgressDone
	} else if sight.Note == "" {
		sight.Note = "Atlas shows the new key: waiting whether its clusters have something to do"
	}
	return sight, nil
}

// carriedOut: with strategy in-place the same key gets new material; a key of another id is somebody else's doing.
func carriedOut(intent keyturn.Intent, key string) bool {
	if intent.Want == "" && id(key) != id(intent.Before) {
		return false
	}
	return intent.ChangedBy(key)
}

// waitsFor says what Atlas is not through with; empty: nothing.
func (c *Client) waitsFor(ctx context.Context, at place, now setting) (string, error) {
	switch {
	case !now.enabled:
		return "encryption with keys in " + at.provider.name + " is off now: somebody has switched it off", nil
	case !now.valid:
		return "Atlas has not found the new key valid yet", nil
	}
	clusters, err := c.clusters(ctx, at.project, "listing the clusters of unit", at.unit)
	if err != nil {
		return "", err
	}
	var busy []string
	concerned := 0
	for _, k := range clusters {
		// A paused cluster has nothing running: it learns of the new key when it is resumed.
		if k.Provider != at.provider.cluster || k.Paused {
			continue
		}
		concerned++
		if k.State != stateIdle {
			busy = append(busy, k.Name+" ("+k.State+")")
		}
	}
	if len(busy) == 0 {
		return "", nil
	}
	text := strings.Join(busy[:min(len(busy), 3)], ", ")
	if len(busy) > 3 {
		text += ", …"
	}
	return fmt.Sprintf("waiting for %d of %d clusters: %s", len(busy), concerned, text), nil
}

// KeyMade tells when a key that the unit uses was made, with strategy in-place its material.
func (c *Client) KeyMade(ctx context.Context, unit, key string) (time.Time, error) {
	const doing = "looking at the key of unit"
	at, err := c.find(unit)
	if err != nil {
		return time.Time{}, err
	}
	service, err := c.service(at, doing)
	if err != nil {
		return time.Time{}, err
	}
	ref := keyturn.KMSRef{ID: id(key)}
	if _, isARN := awsRegion(ref.ID); at.provider.id == keyturn.KMSProviderAWS && !isARN {
		now, err := c.setting(ctx, at, doing, 1)
		if err != nil {
			return time.Time{}, err
		}
		ref = now.ref(ref.ID)
	}
	described, err := service.Describe(ctx, ref)
	if err != nil {
		return time.Time{}, c.kmsFailed(at, doing, err)
	}
	return described.CreatedAt, nil
}
