// Package app wires the parts of a server together. It holds no logic of its own.
package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// The roles that a server can have.
const (
	RoleScheduler = "scheduler"
	RoleWorker    = "worker"
	RoleAPI       = "api"
)

// Config is a server's configuration. The tags are the names in the file and
// of the flags; KEYTURN_ with the name in capitals is the environment's.
type Config struct {
	Listen       string   `koanf:"listen"`         // address of the API; default 127.0.0.1:7390
	DataDir      string   `koanf:"data_dir"`       // default ./keyturn-data
	DatabaseURL  string   `koanf:"database_url"`   // empty: SQLite in DataDir
	NATSURL      string   `koanf:"nats_url"`       // empty: JetStream in DataDir
	NATSListen   string   `koanf:"nats_listen"`    // where others may reach the embedded NATS; empty: nowhere
	NATSUser     string   `koanf:"nats_user"`      // for NATSURL, and for clients of NATSListen
	NATSPassword string   `koanf:"nats_password"`  // env: or file: reference
	NATSCreds    string   `koanf:"nats_creds"`     // path of a .creds file
	NATSNKey     string   `koanf:"nats_nkey"`      // path of an nkey seed file
	NATSCAFile   string   `koanf:"nats_ca_file"`   // PEM
	NATSCertFile string   `koanf:"nats_cert_file"` // PEM; with NATSKeyFile
	NATSKeyFile  string   `koanf:"nats_key_file"`  // PEM
	NATSPrefix   string   `koanf:"nats_prefix"`    // of all subjects; default keyturn
	NATSReplicas int      `koanf:"nats_replicas"`  // of the streams, on a NATS cluster: 1, 3 or 5
	Roles        []string `koanf:"roles"`          // scheduler, worker, api; default all
	LogLevel     string   `koanf:"log_level"`      // debug, info, warn, error
	// PublicURL is where people reach the pages, through whatever proxies; empty: at Listen.
	PublicURL string `koanf:"public_url"`
	// TrustedProxies are the addresses and networks of proxies that are believed about who asks.
	TrustedProxies []string `koanf:"trusted_proxies"`
	// SessionIdle is how long a session of the pages lives without being used, default 8h; SessionMax at most, default 24h.
	SessionIdle time.Duration `koanf:"session_idle"`
	SessionMax  time.Duration `koanf:"session_max"`
	// OIDCIssuer names people by an OpenID Connect provider; empty: people sign in with tokens only.
	OIDCIssuer       string `koanf:"oidc_issuer"`
	OIDCClientID     string `koanf:"oidc_client_id"`
	OIDCClientSecret string `koanf:"oidc_client_secret"` // env: or file: reference; empty: a public client
	OIDCGroupsClaim  string `koanf:"oidc_groups_claim"`  // of the ID token; default groups
	// OIDCRoles say what members of groups may do: GROUP=ROLE.
	OIDCRoles []string `koanf:"oidc_roles"`
	// OIDCSessionMax is how long a session that the provider began lives at most; default 4h.
	OIDCSessionMax time.Duration `koanf:"oidc_session_max"`

	// ShutdownGrace is how long running tasks may take to finish; default 45s.
	ShutdownGrace time.Duration `koanf:"shutdown_grace"`
}

func defaults() map[string]any {
	return map[string]any{
		"listen": "127.0.0.1:7390", "data_dir": "./keyturn-data", "database_url": "", "nats_url": "",
		"nats_listen": "", "nats_user": "", "nats_password": "", "nats_creds": "", "nats_nkey": "",
		"nats_ca_file": "", "nats_cert_file": "", "nats_key_file": "", "nats_prefix": "keyturn", "nats_replicas": 1,
		"roles": []string{RoleScheduler, RoleWorker, RoleAPI}, "log_level": "info", "shutdown_grace": "45s",
		"public_url": "", "trusted_proxies": []string{}, "session_idle": "8h", "session_max": "24h",
		"oidc_issuer": "", "oidc_client_id": "", "oidc_client_secret": "", "oidc_groups_claim": "groups", "oidc_roles": []string{},
		"oidc_session_max": "4h",
	}
}

// LoadConfig merges the defaults, the file (if path is not empty), KEYTURN_*
// from the environment and the flags that were set, later ones winning.
// A name that is not a setting is an error that says where it stands.
func LoadConfig(path string, environ func() []string, flags map[string]any) (Config, error) {
	known := defaults()
	k := koanf.New("\x00") // no nesting: names are flat
	_ = k.Load(confmap.Provider(known, ""), nil)
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return Config{}, fmt.Errorf("config file %s does not exist", path)
			}
			return Config{}, fmt.Errorf("config file %s: %w", path, err)
		}
	}
	for _, key := range k.Keys() {
		if _, ok := known[key]; !ok {
			return Config{}, fmt.Errorf("config file %s: unknown setting %q; settings: %s", path, key, settings())
		}
	}
	fromEnv := env.Provider("\x00", env.Opt{
		Prefix: "KEYTURN_", EnvironFunc: environ,
		TransformFunc: func(name, value string) (string, any) {
			key := strings.ToLower(strings.TrimPrefix(name, "KEYTURN_"))
			if _, ok := known[key]; !ok {
				return "", nil // KEYTURN_SERVER and the like belong to the other commands
			}
			if _, list := known[key].([]string); list && value == "" && key != "roles" {
				return "", nil
			} else if list {
				return key, strings.Split(value, ",")
			}
			return key, value
		},
	})
	if err := k.Load(fromEnv, nil); err != nil {
		return Config{}, fmt.Errorf("reading the environment: %w", err)
	}
	_ = k.Load(confmap.Provider(flags, ""), nil)
	var cfg Config
	if err := k.Unmarshal("", &cfg); err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return cfg, cfg.validate()
}

func settings() string {
	names := make([]string, 0, len(defaults()))
	for name := range defaults() {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (c Config) validate() error {
	if len(c.Roles) == 0 {
		return errors.New("roles is empty: give scheduler, worker, api or a part of them")
	}
	for _, role := range c.Roles {
		if role != RoleScheduler && role != RoleWorker && role != RoleAPI {
			return fmt.Errorf("unknown role %q: give scheduler, worker, api or a part of them", role)
		}
	}
	if c.NATSURL == "" && c.DatabaseURL != "" && len(c.Roles) < 3 {
		return errors.New("roles that are split over processes need a NATS server in common: set nats_url")
	}
	if c.DatabaseURL == "" && len(c.Roles) < 3 {
		return errors.New("roles that are split over processes need a database in common: set database_url")
	}
	if c.NATSURL != "" && c.NATSListen != "" {
		return errors.New("nats_listen is for the embedded NATS: leave it out when nats_url is set")
	}
	if c.NATSListen != "" && (c.NATSUser == "" || c.NATSPassword == "") {
		return errors.New("nats_listen needs nats_user and nats_password: others may start rotations through it")
	}
	if c.DataDir == "" {
		return errors.New("data_dir is empty")
	}
	return c.validatePages()
}

// Has reports whether the server has the role.
func (c Config) Has(role string) bool { return slices.Contains(c.Roles, role) }

// Environ is the process's environment, for LoadConfig.
func Environ() []string { return os.Environ() }
