package atlas

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// snapshot: https://www.mongodb.com/docs/atlas/reference/api-resources-spec/v2/#tag/Cloud-Backups
type snapshot struct {
	ID        string     `json:"id"`
	Status    string     `json:"status"` // queued, inProgress, completed, failed
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt"`
	MasterKey string     `json:"masterKeyUUID"` // AWS: the key's id; of the others nobody says what it is
}

// Snapshots lists the snapshots of all clusters of the unit's project that may need one of its keys. Snapshots of
// clusters that were deleted, and copies in other regions, are not among them: Atlas does not list those. Nor are
// those of a cluster that keys of another provider encrypt now.
func (c *Client) Snapshots(ctx context.Context, unit string, yield func(keyturn.Snapshot) bool) error {
	at, err := c.find(unit)
	if err != nil {
		return err
	}
	clusters, err := c.clusters(ctx, at.project, "listing the clusters of unit", unit)
	if err != nil {
		return err
	}
	now, err := c.setting(ctx, at, "reading the key of unit", 1)
	if err != nil {
		return err
	}
	for _, k := range clusters {
		open := k.Provider == "" || k.Provider == "NONE"
		if k.shared() || !open && k.Provider != at.provider.cluster {
			continue
		}
		found, err := c.snapshots(ctx, at, k)
		if err != nil {
			return err
		}
		for _, s := range found {
			// A cluster that is not encrypted now may have been: its old snapshots then name their key.
			if open && s.MasterKey == "" {
				continue
			}
			if s.CreatedAt.IsZero() { // it is not begun yet: it will need the key of now
				s.CreatedAt = c.now()
			}
			one := keyturn.Snapshot{
				ID: s.ID, Unit: unit, ClusterName: k.Name, CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, Complete: s.Status == "completed",
			}
			if at.provider.id == keyturn.KMSProviderAWS {
				one.KeyID = sameForm(s.MasterKey, now.key)
			}
			if !yield(one) {
				return nil
			}
		}
	}
	return nil
}

func (c *Client) snapshots(ctx context.Context, at place, k cluster) ([]snapshot, error) {
	path := "/groups/" + at.project + "/clusters/" + url.PathEscape(k.Name) + "/backup/snapshots"
	if k.Type == "SHARDED" || k.Type == "GEOSHARDED" {
		path += "/shardedClusters"
	}
	found, err := list(ctx, c, question{
		operation: "list_snapshots", doing: "listing the snapshots of cluster " + k.Name + " of unit", subject: at.unit,
		project: at.project, path: path, needs: "Project Read Only",
	}, func(s snapshot) string { return s.ID })
	if isCode(err, codeNotFound) { // it was deleted meanwhile, or has no backup
		return nil, nil
	}
	return found, err
}

// sameForm names a key of AWS as the one in use is named: a project that names keys by their ARN is shown their ids
// only. An account or region that was another one then makes a name that nobody knows, as the id alone would be.
func sameForm(key, inUse string) string {
	prefix, _, isARN := strings.Cut(inUse, ":key/")
	if key == "" || !isARN || strings.HasPrefix(key, "arn:") {
		return key
	}
	return prefix + ":key/" + key
}
