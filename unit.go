package keyturn

import (
	"fmt"
	"strings"
	"time"
)

// Component says what part of a cluster a unit is.
type Component string

// The components.
const (
	ComponentShard      Component = "shard"
	ComponentConfig     Component = "config"
	ComponentReplicaSet Component = "replica-set"
	ComponentProject    Component = "project" // Atlas: a project and its KMS provider
)

// Unit is the smallest thing that has a master key of its own: one shard, one
// config server replica set, one plain replica set.
type Unit struct {
	// ID is TARGET.PROJECT.CLUSTER (see UnitID): the same unit has the same id for ever.
	ID          string    `json:"id"`
	Target      string    `json:"target"`
	System      System    `json:"system"`
	ProjectID   string    `json:"projectId"`
	ProjectName string    `json:"projectName"`
	ClusterID   string    `json:"clusterId"`   // the id of this component, the one its key is asked for with
	ClusterName string    `json:"clusterName"` // the cluster that it is a component of
	Component   Component `json:"component"`
	Name        string    `json:"name"` // the replica set's name

	KeyID         string     `json:"keyId"`    // empty: never seen
	KeySince      *time.Time `json:"keySince"` // nil: never seen
	KeySinceExact bool       `json:"keySinceExact"`

	FCV       string `json:"fcv"` // feature compatibility version; empty: unknown
	Rotatable bool   `json:"rotatable"`
	Reason    string `json:"reason"` // why it is not rotatable

	// Delay is how long after its rotation's request the unit's task begins, in a plan; 0: at once.
	Delay time.Duration `json:"-"`
	// Alone says, in a plan, that an open change of it keeps the other units of its project waiting.
	Alone bool `json:"-"`
	// Wave is the rollout's wave in which a rotation would turn it, from 1. Only plans of policies with a rollout have it.
	Wave int `json:"wave,omitempty"`
}

// names are what people may call the unit: listings call it PROJECT/NAME.
func (u Unit) names() []string {
	return []string{u.ID, u.Name, u.ClusterID, u.ProjectName + "/" + u.Name, u.ProjectID + "/" + u.Name}
}

// UnitID builds the id of a unit from the target's name and the ids that the
// system gave. It refuses ids that are no plain tokens, because a unit's id is
// also a path segment and the tail of a NATS subject.
func UnitID(target, projectID, clusterID string) (string, error) {
	for _, token := range []string{target, projectID, clusterID} {
		if !isToken(token) {
			return "", fmt.Errorf("%q can't be part of a unit's id: expected 1 to 100 letters, digits, - or _", token)
		}
	}
	return target + "." + projectID + "." + clusterID, nil
}

// SplitUnitID returns the parts of a unit's id.
func SplitUnitID(id string) (target, projectID, clusterID string, err error) {
	target, rest, _ := strings.Cut(id, ".")
	projectID, clusterID, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(clusterID, ".") {
		return "", "", "", fmt.Errorf("%q is not a unit's id: expected TARGET.PROJECT.CLUSTER", id)
	}
	return target, projectID, clusterID, nil
}

// ParseUnitID returns the parts of an id that UnitID made. SplitUnitID also takes patterns.
func ParseUnitID(id string) (target, projectID, clusterID string, err error) {
	if target, projectID, clusterID, err = SplitUnitID(id); err == nil {
		_, err = UnitID(target, projectID, clusterID)
	}
	return target, projectID, clusterID, err
}

func isToken(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for _, c := range s {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
