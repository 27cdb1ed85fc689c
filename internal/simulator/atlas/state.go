package atlas

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// The providers, as they are called in unit ids.
const (
	AWS   = "aws"
	Azure = "azure"
	GCP   = "gcp"
)

// kind is a provider's place in the API.
type kind struct {
	id, object, key, cluster string
	fields                   []string // that may be written, beside the key's
	secrets                  []string // that may be written and are never shown
}

func kinds() []kind {
	return []kind{
		{
			AWS, "awsKms", "customerMasterKeyID", "AWS",
			[]string{"enabled", "region", "requirePrivateNetworking", "accessKeyID"},
			[]string{"secretAccessKey", "roleId"},
		},
		{
			Azure, "azureKeyVault", "keyIdentifier", "AZURE",
			[]string{"enabled", "azureEnvironment", "clientID", "tenantID", "subscriptionID", "resourceGroupName", "keyVaultName", "requirePrivateNetworking", "roleId"},
			[]string{"secret"},
		},
		{GCP, "googleCloudKms", "keyVersionResourceID", "GCP", []string{"enabled", "roleId"}, []string{"serviceAccountKey"}},
	}
}

func kindOf(id string) (kind, bool) {
	for _, k := range kinds() {
		if k.id == id {
			return k, true
		}
	}
	return kind{}, false
}

// Project is what there is at the start.
type Project struct {
	ID, Name  string
	Providers []Provider
	Clusters  []Cluster
	// Serverless is how many serverless instances there are.
	Serverless int
	// ReadOnly: who logs in lacks the role Project Owner.
	ReadOnly bool
	// AlertDays is the threshold of the alerts about old keys; 0: 90, as Atlas makes it.
	AlertDays int
	// SecretNotification: the alert goes to a service whose token Atlas shows in part.
	SecretNotification bool
}

// Provider is a project's setting.
type Provider struct {
	ID       string // aws, azure, gcp
	Key      string
	Region   string            // of AWS, as Atlas writes it: EU_WEST_1
	Fields   map[string]string // more of what is shown
	Disabled bool              // it is not enabled, but its key is still shown
}

// Cluster is one with what it is encrypted by.
type Cluster struct {
	Name     string
	Size     string // M10; M0, M2, M5
	Provider string // aws, azure, gcp; empty: NONE
	Sharded  bool
	Paused   bool
}

// Snapshot is one of a cluster.
type Snapshot struct {
	ID        string     `json:"id"`
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	MasterKey string     `json:"masterKeyUUID,omitempty"`
}

// Change is a key that really changed.
type Change struct {
	Seq       int64     `json:"seq"`
	At        time.Time `json:"at"`
	ProjectID string    `json:"projectId"`
	Provider  string    `json:"provider"`
	KeyBefore string    `json:"keyBefore"`
	KeyAfter  string    `json:"keyAfter"`
	Answered  bool      `json:"answered"` // the client was told
}

// Patch is a PATCH that came in, whatever became of it.
type Patch struct {
	Seq       int64           `json:"seq"`
	At        time.Time       `json:"at"`
	ProjectID string          `json:"projectId"`
	Body      json.RawMessage `json:"body"`
	Status    int             `json:"status"` // that of the answer, also of one that got lost
	ErrorCode string          `json:"errorCode,omitempty"`
}

// state is all that is simulated.
type state struct {
	cfg Config
	now func() time.Time

	mu       sync.Mutex
	projects map[string]*project
	order    []string
	truth    []Change
	patches  []Patch
}

type project struct {
	Project
	providers map[string]*provider
	snapshots map[string][]Snapshot // by cluster
	alerts    []map[string]any
}

type provider struct {
	enabled bool
	key     string
	fields  map[string]any
	changed time.Time // zero: long ago
}

func newState(cfg Config) *state {
	s := &state{cfg: cfg, now: cfg.Now, projects: map[string]*project{}}
	for n, p := range cfg.Projects {
		made := &project{Project: p, providers: map[string]*provider{}, snapshots: map[string][]Snapshot{}}
		for _, pr := range p.Providers {
			fields := map[string]any{}
			if pr.Region != "" {
				fields["region"] = pr.Region
			}
			for name, value := range pr.Fields {
				fields[name] = value
			}
			made.providers[pr.ID] = &provider{enabled: !pr.Disabled, key: pr.Key, fields: fields}
			made.alerts = append(made.alerts, newAlert(fmt.Sprintf("%024x", n*10+len(made.alerts)+1), p, pr.ID))
		}
		s.projects[p.ID] = made
		s.order = append(s.order, p.ID)
	}
	return s
}

// newAlert is the configuration that Atlas makes by itself.
func newAlert(id string, p Project, provider string) map[string]any {
	k, _ := kindOf(provider)
	days := p.AlertDays
	if days == 0 {
		days = 90
	}
	notification := map[string]any{"typeName": "GROUP", "intervalMin": 1440, "delayMin": 0, "emailEnabled": true}
	if p.SecretNotification {
		notification = map[string]any{"typeName": "SLACK", "channelName": "keys", "apiToken": "****************************abcd"}
	}
	return map[string]any{
		"id": id, "groupId": p.ID, "eventTypeName": k.cluster + "_ENCRYPTION_KEY_NEEDS_ROTATION", "enabled": true,
		"created": "2026-01-02T03:04:05Z", "updated": "2026-01-02T03:04:05Z", "matchers": []any{},
		"threshold":     map[string]any{"operator": "GREATER_THAN", "threshold": days, "units": "DAYS"},
		"notifications": []any{notification},
	}
}

// check asks whoever keeps the keys.
func (s *state) check(k kind, key string, fields map[string]any) string {
	if s.cfg.Keys == nil {
		return ""
	}
	region, _ := fields["region"].(string)
	return s.cfg.Keys(k.id, key, region)
}

// valid is what Atlas says of the key in use. The lock is held.
func (s *state) valid(k kind, p *provider) bool {
	return p.enabled && !s.now().Before(p.changed.Add(s.cfg.ValidAfter)) && s.check(k, p.key, p.fields) == ""
}

// encryption is what GET answers. The lock is held.
func (s *state) encryption(p *project, v1 bool) map[string]any {
	all := map[string]any{}
	for _, k := range kinds() {
		pr := p.providers[k.id]
		switch {
		case pr != nil:
			o := maps.Clone(pr.fields)
			o["enabled"], o["valid"], o[k.key] = pr.enabled, s.valid(k, pr), pr.key
			for _, name := range k.secrets {
				delete(o, name)
			}
			all[k.object] = o
		case v1: // as its documentation shows it
			o := map[string]any{"enabled": false, "valid": false, k.key: nil}
			for _, name := range k.fields {
				if name != "enabled" {
					o[name] = nil
				}
			}
			all[k.object] = o
		}
	}
	return all
}

// clusterState is IDLE but for a while after a key has changed; one after the other. The lock is held.
func (s *state) clusterState(p *project, n int) string {
	k := p.Clusters[n]
	pr := p.providers[k.Provider]
	if pr == nil || pr.changed.IsZero() || k.Paused {
		return "IDLE"
	}
	begins := pr.changed.Add(s.cfg.ClustersAfter)
	ends := begins.Add(s.cfg.UpdatingFor * time.Duration(n+1))
	if now := s.now(); s.cfg.UpdatingFor == 0 || now.Before(begins) || !now.Before(ends) {
		return "IDLE"
	}
	return "UPDATING"
}

// clusters is what GET answers. The lock is held.
func (s *state) clusters(p *project, v1 bool) []any {
	list := []any{}
	for n, k := range p.Clusters {
		provider := "NONE"
		if known, ok := kindOf(k.Provider); ok {
			provider = known.cluster
		}
		typ := "REPLICASET"
		if k.Sharded {
			typ = "SHARDED"
		}
		o := map[string]any{
			"id": fmt.Sprintf("%s%08x", p.ID[:16], n), "groupId": p.ID, "name": k.Name, "clusterType": typ, "backupEnabled": true,
			"encryptionAtRestProvider": provider, "stateName": s.clusterState(p, n), "paused": k.Paused,
		}
		size := k.Size
		if size == "" {
			size = "M30"
		}
		if v1 {
			o["providerSettings"] = map[string]any{"providerName": "AWS", "instanceSizeName": size}
		} else {
			o["replicationSpecs"] = []any{map[string]any{"regionConfigs": []any{map[string]any{
				"providerName": "AWS", "electableSpecs": map[string]any{"instanceSize": size, "nodeCount": 3},
			}}}}
		}
		list = append(list, o)
	}
	return list
}

// set changes the key in use. The lock is held.
func (s *state) set(p *project, k kind, key string, answered bool) {
	pr := p.providers[k.id]
	if pr.key == key {
		return
	}
	s.truth = append(s.truth, Change{
		Seq: int64(len(s.truth) + 1), At: s.now(), ProjectID: p.ID, Provider: k.id, KeyBefore: pr.key, KeyAfter: key, Answered: answered,
	})
	pr.key, pr.changed = key, s.now()
}

// Truth returns every change of a key that really happened, oldest first.
func (s *Simulator) Truth() []Change {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return slices.Clone(s.state.truth)
}

// Patches returns every PATCH that came in, oldest first.
func (s *Simulator) Patches() []Patch {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return slices.Clone(s.state.patches)
}

// Key returns the key that a project uses now.
func (s *Simulator) Key(projectID, provider string) string {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if p := s.state.projects[projectID]; p != nil && p.providers[provider] != nil {
		return p.providers[provider].key
	}
	return ""
}

// SetKey changes the key of a project as somebody else would.
func (s *Simulator) SetKey(projectID, provider, key string) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	p := s.state.projects[projectID]
	k, ok := kindOf(provider)
	if p == nil || !ok || p.providers[provider] == nil {
		return fmt.Errorf("project %s has no provider %s", projectID, provider)
	}
	s.state.set(p, k, key, false)
	return nil
}

// AddSnapshot adds a snapshot of a cluster as Atlas would make it now: with the key in use.
func (s *Simulator) AddSnapshot(projectID, cluster string, snap Snapshot) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	p := s.state.projects[projectID]
	if p == nil {
		return fmt.Errorf("there is no project %s", projectID)
	}
	i := slices.IndexFunc(p.Clusters, func(k Cluster) bool { return k.Name == cluster })
	if i < 0 {
		return fmt.Errorf("project %s has no cluster %s", projectID, cluster)
	}
	if snap.ID == "" {
		snap.ID = fmt.Sprintf("%024x", 0x5000+len(p.snapshots[cluster])+i*256)
	}
	if snap.Status == "" {
		snap.Status = "completed"
	}
	if snap.CreatedAt.IsZero() {
		snap.CreatedAt = s.state.now().UTC()
	}
	if pr := p.providers[p.Clusters[i].Provider]; pr != nil && p.Clusters[i].Provider == AWS && snap.MasterKey == "" {
		_, snap.MasterKey, _ = strings.Cut(pr.key, ":key/")
		if snap.MasterKey == "" {
			snap.MasterKey = pr.key
		}
	}
	p.snapshots[cluster] = append(p.snapshots[cluster], snap)
	return nil
}
