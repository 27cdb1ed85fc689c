package keyturn

import "time"

// Snapshot is a backup that can only be restored with a key that must still exist.
type Snapshot struct {
	ID          string `json:"id"`
	Unit        string `json:"unit"` // the unit's id
	ClusterName string `json:"clusterName"`
	// KeyID is the master key that it is encrypted with, as the system says; empty: it does not say. Then
	// it needs the key that was in use at CreatedAt.
	KeyID     string     `json:"keyId"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt"` // nil: it is kept until someone deletes it
	Complete  bool       `json:"complete"`  // false: it is being made, or failed
	// Keep reports that the system was told not to delete it, whatever ExpiresAt says.
	Keep bool `json:"keep"`
}
