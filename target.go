package keyturn

import (
	"cmp"
	"time"
)

// System is a kind of control plane.
type System string

// The systems that Keyturn knows.
const (
	SystemOpsManager   System = "ops-manager"
	SystemCloudManager System = "cloud-manager"
	SystemAtlas        System = "atlas"
)

// Target is a control plane that Keyturn calls: its URL, credentials and limits.
// The JSON form is the spec of `kind: Target`.
type Target struct {
	Name       string `json:"-"`
	Generation int64  `json:"-"` // counts the changes of the spec, from 1

	System System `json:"system"`
	// API is the version of the Atlas Admin API: "v2" (default) or "v1" (v1.0). Only for Atlas.
	API string `json:"api,omitempty"`
	// URL may be left out for Cloud Manager and Atlas: https://cloud.mongodb.com.
	URL         string         `json:"url,omitempty"`
	Credentials Credentials    `json:"credentials"`
	Limits      Limits         `json:"limits,omitzero"`
	Timeouts    TargetTimeouts `json:"timeouts,omitzero"`
	// Observe is how often the keys in use are asked for while nothing rotates; nil means 6h, 0 never.
	Observe *Duration `json:"observe,omitempty"`
	TLS     TargetTLS `json:"tls,omitzero"`
	// KMS says how the keys of Atlas projects are made, by provider. A provider that is left out follows its defaults.
	KMS KMS `json:"kms,omitzero"`
	// KMIP is the server that keeps the keys of Ops Manager or Cloud Manager. It is only ever read.
	KMIP *KMIP `json:"kmip,omitempty"`
}

// Credentials are references to secrets ("env:NAME" or "file:/path"), never secrets. Either the keys of an
// API key (HTTP Digest) or the id and secret of a service account (OAuth 2.0, Atlas API v2 only).
type Credentials struct {
	PublicKey    string `json:"publicKey,omitempty"`
	PrivateKey   string `json:"privateKey,omitempty"`
	ClientID     string `json:"clientId,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
}

// KeyStrategy is how a new key comes to be.
type KeyStrategy string

// The strategies. Each provider knows some of them.
const (
	StrategyNewKey     KeyStrategy = "new-key"     // AWS: a new KMS key with the policy and the tags of the old one; the alias moves
	StrategyInPlace    KeyStrategy = "in-place"    // AWS: on-demand rotation of the same key, which Atlas need not be told
	StrategyNewVersion KeyStrategy = "new-version" // Azure and Google: a new version of the same key
	StrategyProvided   KeyStrategy = "provided"    // someone else makes it: the trigger names it, or the newest is followed
)

// KMS says how keys are made in the cloud providers' key management services. Zero values are the defaults.
type KMS struct {
	AWS   AWSKMS   `json:"aws,omitzero"`
	Azure AzureKMS `json:"azure,omitzero"`
	GCP   GCPKMS   `json:"gcp,omitzero"`
}

// AWSKMS is about AWS KMS. The region is that of the key in use.
type AWSKMS struct {
	Strategy KeyStrategy `json:"strategy,omitempty"` // new-key (default), in-place, provided
	// Credentials that are left out come from the environment as AWS's own tools find them.
	AccessKeyID     string `json:"accessKeyId,omitempty"`     // reference
	SecretAccessKey string `json:"secretAccessKey,omitempty"` // reference
	SessionToken    string `json:"sessionToken,omitempty"`    // reference
	RoleARN         string `json:"roleArn,omitempty"`         // assumed before anything is done
	Endpoint        string `json:"endpoint,omitempty"`        // URL; empty: AWS's own
	// Alias, "alias/NAME", is moved to the new key. Empty: the aliases of the old key that begin with "alias/" move, if there are any.
	Alias string            `json:"alias,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"` // put on new keys, beside those of the old one
}

// AzureKMS is about Azure Key Vault.
type AzureKMS struct {
	Strategy KeyStrategy `json:"strategy,omitempty"` // new-version (default), provided
	// Credentials that are left out come from the environment as Azure's own tools find them.
	TenantID     string `json:"tenantId,omitempty"`
	ClientID     string `json:"clientId,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"` // reference
	// Endpoint is the vault's URL where it is not the one of the key in use, for tests and private clouds.
	Endpoint  string `json:"endpoint,omitempty"`
	Authority string `json:"authority,omitempty"` // URL of the identity provider; empty: that of the key's cloud
	CAFile    string `json:"caFile,omitempty"`    // of Endpoint and Authority; empty: the system's
}

// GCPKMS is about Google Cloud KMS.
type GCPKMS struct {
	Strategy KeyStrategy `json:"strategy,omitempty"` // new-version (default), provided
	// CredentialsJSON is a reference to a service account's key file in JSON. Empty: Application Default Credentials.
	CredentialsJSON string `json:"credentialsJson,omitempty"`
	Endpoint        string `json:"endpoint,omitempty"` // URL of the REST API; empty: Google's own
}

// KMIP says where a KMIP server is.
type KMIP struct {
	Address  string `json:"address"`            // HOST:PORT; the standard port is 5696
	CertFile string `json:"certFile,omitempty"` // PEM, of the client
	KeyFile  string `json:"keyFile,omitempty"`  // PEM, of the client
	CAFile   string `json:"caFile,omitempty"`   // PEM; empty: the system's
	// ServerName is what the server's certificate must name; empty: the host of Address.
	ServerName string `json:"serverName,omitempty"`
	// NamePattern is a glob for the names of keys that are the estate's own: one of them that is in no history is told as orphan.
	NamePattern string `json:"namePattern,omitempty"`
	// Every is how often the server is asked about every key of the history; nil means 24h, 0 only when asked.
	Every *Duration `json:"every,omitempty"`
}

// DefaultKeyAudit is how often a KMIP server is asked about every key of the history.
const DefaultKeyAudit = Duration(24 * time.Hour)

// Interval is how often the server is asked; 0: only when somebody asks for it.
func (k *KMIP) Interval() time.Duration {
	if k.Every == nil {
		return DefaultKeyAudit.Std()
	}
	return k.Every.Std()
}

// DefaultURL is where Cloud Manager and Atlas answer.
const DefaultURL = "https://cloud.mongodb.com"

// Limits bound what Keyturn asks of a target.
type Limits struct {
	// Concurrency is how many tasks may be in flight at once, over all replicas. 1 to 1024; 0 means 16.
	Concurrency int `json:"concurrency,omitzero"`
	// RequestsPerSecond bounds each worker's requests to the target; 0 means no bound.
	RequestsPerSecond float64 `json:"requestsPerSecond,omitzero"`
}

// TargetTimeouts are how long Keyturn waits for a target.
type TargetTimeouts struct {
	// Request bounds one HTTP request; default 30s.
	Request Duration `json:"request,omitzero"`
	// Settle is the longest time that the target, and every proxy before it, may take to execute
	// a change after Keyturn gave up waiting for it. The promise "never twice" rests on it; default 2m.
	Settle Duration `json:"settle,omitzero"`
	// Verify is how long an accepted change may take until the new key is seen; default 5m.
	Verify Duration `json:"verify,omitzero"`
	// Complete is how long a change that the system has taken over may take to be complete (agents that restart
	// processes, clusters that go back to IDLE); default 1h.
	Complete Duration `json:"complete,omitzero"`
}

// TargetTLS says whom to trust.
type TargetTLS struct {
	// CAFile is a PEM file of certificate authorities; empty means the system's.
	CAFile string `json:"caFile,omitzero"`
}

// DefaultObserve is how often the keys of a target are looked at: one small request for each unit, four times a day.
const DefaultObserve = Duration(6 * time.Hour)

// WithDefaults returns a copy in which what was left out has its default.
func (t Target) WithDefaults() Target {
	t.Limits.Concurrency = cmp.Or(t.Limits.Concurrency, 16)
	t.Timeouts.Request = cmp.Or(t.Timeouts.Request, Duration(30*time.Second))
	t.Timeouts.Settle = cmp.Or(t.Timeouts.Settle, Duration(2*time.Minute))
	t.Timeouts.Verify = cmp.Or(t.Timeouts.Verify, Duration(5*time.Minute))
	t.Timeouts.Complete = cmp.Or(t.Timeouts.Complete, Duration(time.Hour))
	if t.System == SystemCloudManager || t.System == SystemAtlas {
		t.URL = cmp.Or(t.URL, DefaultURL)
	}
	if t.System == SystemAtlas {
		t.API = cmp.Or(t.API, "v2")
	}
	if t.Observe == nil {
		every := DefaultObserve
		t.Observe = &every
	}
	return t
}
