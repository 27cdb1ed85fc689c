// Package deployments_test holds the examples in this folder to the program.
package deployments_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/app"
)

// compose is what these tests look at in compose.yaml.
type compose struct {
	Services map[string]struct {
		Command []string `yaml:"command"`
		EnvFile string   `yaml:"env_file"`
		Volumes []string `yaml:"volumes"`
		Configs []struct{ Source, Target string }
		Build   *struct{ Context, Dockerfile string }
		Deploy  struct{ Replicas int }
		Image   string
	}
	Configs map[string]struct{ File string }
	Volumes map[string]any
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	readYAML(t, "compose.yaml", &c)
	for _, name := range []string{"nats", "postgres", "scheduler", "worker"} {
		if _, ok := c.Services[name]; !ok {
			t.Fatalf("compose.yaml has no service %s", name)
		}
	}
	return c
}

func TestCompose(t *testing.T) {
	t.Parallel()

	t.Run("names only what is there", func(t *testing.T) {
		t.Parallel()
		c := readCompose(t)
		exists := func(of, name string) {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %v", of, err)
			}
		}
		for name, config := range c.Configs {
			exists("config "+name, config.File)
		}
		for name, service := range c.Services {
			if service.Image == "" {
				t.Errorf("service %s has no image", name)
			}
			for _, config := range service.Configs {
				if _, ok := c.Configs[config.Source]; !ok {
					t.Errorf("service %s: there is no config %s", name, config.Source)
				}
			}
			for _, volume := range service.Volumes {
				source, _, named := strings.Cut(volume, ":")
				if _, ok := c.Volumes[source]; named && !ok {
					t.Errorf("service %s: there is no volume %s", name, source)
				}
			}
			if service.EnvFile != "" {
				exists("service "+name, service.EnvFile+".example")
			}
			if service.Build != nil {
				exists("service "+name, filepath.Join(service.Build.Context, service.Build.Dockerfile))
			}
		}
	})

	t.Run("runs one scheduler with the API and two workers", func(t *testing.T) {
		t.Parallel()
		c := readCompose(t)
		environ := exampleEnvironment(t)
		for service, want := range map[string][]string{
			"scheduler": {app.RoleScheduler, app.RoleAPI},
			"worker":    {app.RoleWorker},
		} {
			command := c.Services[service].Command
			at := slices.Index(command, "--roles")
			if at < 0 || at+1 == len(command) {
				t.Fatalf("%s has no --roles: %q", service, command)
			}
			roles := strings.Split(command[at+1], ",")
			cfg, err := app.LoadConfig("keyturn.yaml", environ, map[string]any{"roles": roles})
			if err != nil {
				t.Fatalf("%s: %v", service, err)
			}
			if !slices.Equal(cfg.Roles, want) || cfg.DatabaseURL == "" || cfg.NATSURL == "" || cfg.NATSUser == "" {
				t.Errorf("%s has roles %q, database_url %q, nats_url %q, nats_user %q; want roles %q and the rest set",
					service, cfg.Roles, cfg.DatabaseURL, cfg.NATSURL, cfg.NATSUser, want)
			}
		}
		if got := c.Services["worker"].Deploy.Replicas; got != 2 {
			t.Errorf("compose.yaml starts %d workers, want 2", got)
		}
	})
}

// exampleEnvironment is the environment of keyturn.env.example.
func exampleEnvironment(t *testing.T) func() []string {
	t.Helper()
	content, err := os.ReadFile("keyturn.env.example")
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			environ = append(environ, line)
		}
	}
	return func() []string { return environ }
}

func TestSystemd(t *testing.T) {
	t.Parallel()

	t.Run("configures a server with everything in it", func(t *testing.T) {
		t.Parallel()
		cfg, err := app.LoadConfig("systemd/keyturn.yaml", func() []string { return nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Roles) != 3 || cfg.DatabaseURL != "" || cfg.NATSURL != "" {
			t.Errorf("got %+v, want all roles, and the database and NATS embedded", cfg)
		}
	})
}

// TestNATS has no t.Parallel: the file takes its password from the environment.
func TestNATS(t *testing.T) {
	t.Setenv("NATS_USER", "keyturn")
	t.Setenv("NATS_PASSWORD", "secret")
	opts, err := server.ProcessConfigFile("nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.JetStream || !opts.SyncAlways || opts.StoreDir != "/data" {
		t.Errorf("JetStream %t, sync always %t, in %q; want both, in the volume /data", opts.JetStream, opts.SyncAlways, opts.StoreDir)
	}
	if opts.Username != "keyturn" || opts.Password != "secret" {
		t.Errorf("the user is %q, want the environment's and its password", opts.Username)
	}
}

func TestPrometheus(t *testing.T) {
	t.Parallel()

	t.Run("reads its rules from a file that is there", func(t *testing.T) {
		t.Parallel()
		var config struct {
			RuleFiles     []string `yaml:"rule_files"`
			ScrapeConfigs []struct {
				JobName string `yaml:"job_name"`
			} `yaml:"scrape_configs"`
		}
		readYAML(t, "prometheus/prometheus.yml", &config)
		if len(config.RuleFiles) != 1 || config.RuleFiles[0] != "alerts.yml" {
			t.Errorf("rule_files is %q, want alerts.yml", config.RuleFiles)
		}
		if len(config.ScrapeConfigs) != 1 || config.ScrapeConfigs[0].JobName != "keyturn" {
			t.Errorf("the scrape configurations are %+v, want the job keyturn, which the rules ask for", config.ScrapeConfigs)
		}
	})

	t.Run("has rules that say what to do", func(t *testing.T) {
		t.Parallel()
		var rules struct {
			Groups []struct {
				Rules []struct {
					Alert, Expr         string
					Labels, Annotations map[string]string
				}
			}
		}
		readYAML(t, "prometheus/alerts.yml", &rules)
		if len(rules.Groups) == 0 || len(rules.Groups[0].Rules) == 0 {
			t.Fatal("alerts.yml has no rules")
		}
		for _, rule := range rules.Groups[0].Rules {
			if rule.Alert == "" || rule.Expr == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("rule %+v lacks a name, an expression, a severity, a summary or a description", rule)
			}
		}
	})
}
