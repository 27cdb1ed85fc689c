package opsmanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// snapshot is an element of a cluster's list of snapshots. Those of a sharded cluster are listed for it as a
// whole, with a part for each shard and one for the config servers.
// https://www.mongodb.com/docs/ops-manager/v7.0/reference/api/snapshots/get-all-snapshots-for-one-cluster/
type snapshot struct {
	ID       string         `json:"id"`
	Created  snapshotTime   `json:"created"`
	Expires  string         `json:"expires"`
	Complete *bool          `json:"complete"`
	Keep     *bool          `json:"doNotDelete"`
	Parts    []snapshotPart `json:"parts"`
}

type snapshotTime struct {
	Date string `json:"date"`
}

type snapshotPart struct {
	ClusterID      string `json:"clusterId"`
	ReplicaSetName string `json:"replicaSetName"`
	MasterKey      string `json:"masterKeyUUID"`
	Encrypted      *bool  `json:"encryptionEnabled"`
}

func (s *snapshot) scan(sc *scanner) {
	for name := range sc.fields() {
		switch name {
		case "id":
			sc.string(&s.ID)
		case "created":
			sc.object(func(name string) *string {
				if name == "date" {
					return &s.Created.Date
				}
				return nil
			})
		case "expires":
			sc.string(&s.Expires)
		case "complete":
			sc.bool(&s.Complete)
		case "doNotDelete":
			sc.bool(&s.Keep)
		case "parts":
			s.Parts = scanList[snapshotPart](sc)
		default:
			sc.skip()
		}
	}
}

func (p *snapshotPart) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "clusterId":
			s.string(&p.ClusterID)
		case "replicaSetName":
			s.string(&p.ReplicaSetName)
		case "masterKeyUUID":
			s.string(&p.MasterKey)
		case "encryptionEnabled":
			s.bool(&p.Encrypted)
		default:
			s.skip()
		}
	}
}

// Snapshots yields the snapshots that need a key of the unit: parts that say that they are not encrypted need
// none and are left out. Snapshots of a sharded cluster are asked for once for all of its units in a while.
func (c *Client) Snapshots(ctx context.Context, unit string, yield func(keyturn.Snapshot) bool) error {
	q := question{operation: "list_snapshots", doing: "listing the snapshots of unit", subject: unit}
	projectID, clusterID, err := c.split(unit)
	if err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	comp, err := c.component(ctx, q, projectID, clusterID)
	if err != nil {
		return err
	}
	if comp.flaw != "" {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "not_rotatable"}, errors.New(comp.flaw))
	}
	q.path = "/groups/" + projectID + "/clusters/" + comp.backupID() + "/snapshots"
	all, err := c.snapshotsOf(ctx, projectID, comp, q)
	if err != nil {
		return c.gaveUp(q, err)
	}
	for i := range all {
		part := all[i].part(comp)
		if part == nil {
			continue
		}
		found, err := all[i].of(unit, comp, part)
		if err != nil {
			return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_snapshot"}, err)
		}
		if !yield(found) {
			return nil
		}
	}
	return nil
}

// snapshotsOf lists the snapshots of a cluster, those of a sharded one once for all of its parts.
func (c *Client) snapshotsOf(ctx context.Context, projectID string, comp component, q question) ([]snapshot, error) {
	read := func(ctx context.Context) ([]snapshot, error) {
		all, err := list(ctx, c, q, func(s snapshot) string { return s.ID })
		if isCode(err, "not_found") {
			return nil, nil // a cluster that was never backed up
		}
		return all, err
	}
	if comp.parent == nil {
		return read(ctx)
	}
	return c.projects.of(projectID).snapshotsOf(comp.backupID()).get(ctx, c.now, listLife, read)
}

// part returns what the snapshot has of the component; nil: nothing that needs a key.
func (s *snapshot) part(comp component) *snapshotPart {
	for i := range s.Parts {
		p := &s.Parts[i]
		mine := p.ClusterID == comp.ID || p.ReplicaSetName != "" && p.ReplicaSetName == comp.name()
		if comp.parent == nil && len(s.Parts) == 1 && p.ReplicaSetName == "" {
			mine = true
		}
		if !mine {
			continue
		}
		if p.MasterKey == "" && p.Encrypted != nil && !*p.Encrypted {
			return nil
		}
		return p
	}
	return nil
}

func (s *snapshot) of(unit string, comp component, p *snapshotPart) (keyturn.Snapshot, error) {
	created, err := time.Parse(time.RFC3339Nano, s.Created.Date)
	if err != nil {
		return keyturn.Snapshot{}, fmt.Errorf("snapshot %s does not say when it was made", s.ID)
	}
	found := keyturn.Snapshot{
		ID: s.ID, Unit: unit, ClusterName: comp.ClusterName, KeyID: p.MasterKey, CreatedAt: created.UTC(),
		Complete: s.Complete == nil || *s.Complete, Keep: s.Keep != nil && *s.Keep,
	}
	if s.Expires != "" {
		expires, err := time.Parse(time.RFC3339Nano, s.Expires)
		if err != nil {
			return keyturn.Snapshot{}, fmt.Errorf("snapshot %s does not say clearly when it expires", s.ID)
		}
		expires = expires.UTC()
		found.ExpiresAt = &expires
	}
	return found, nil
}
