// Package demo shows Keyturn at work: a server in one process against a
// simulated estate, with a policy that fires every few seconds.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/app"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/internal/simulator/cloud"
)

// Config says how the demo runs.
type Config struct {
	Listen    string // where the API answers; when taken, a free port is used instead
	Every     int    // seconds between rotations: a divisor of 60
	Rotations int    // ends after so many scheduled rotations; 0: when the context ends
	Program   string // how to call keyturn, for what to try
	Out       io.Writer
	Live      bool // Out is a terminal
	Log       *zap.Logger
	Version   string
}

const (
	policyName = "demo"
	pollEvery  = 150 * time.Millisecond
	// endingWait is how long a rotation under way may take when the demo is asked to end.
	endingWait = 20 * time.Second
)

// demo is what one run has made.
type demo struct {
	Config
	dir    string
	sim    *simulator.Server
	cloud  *cloud.Cloud
	server *app.Server
	client *client.Client
	token  string
	screen *screen
}

// Run shows the demo until ctx ends, or the rotations that were asked for have
// ended; then it compares the history with what the simulated estate counted.
// It leaves nothing behind. An error also says when the two differ.
func Run(ctx context.Context, cfg Config) (err error) {
	dir, err := os.MkdirTemp("", "keyturn-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	d := &demo{Config: cfg, dir: dir, screen: &screen{out: cfg.Out, live: cfg.Live}}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	// The server lives a little longer than ctx: what is under way at Ctrl-C ends first.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := d.open(inner); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- d.server.Run(inner) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served, d.sim.Close(), d.cloud.Close())
	}()
	if err := d.apply(ctx); err != nil {
		return err
	}
	if err := d.welcome(ctx); err != nil {
		return err
	}
	if err := d.watch(ctx); err != nil {
		return err
	}
	return d.prove(inner)
}

func (d *demo) open(ctx context.Context) error {
	sim, err := simulator.Start(ctx, simulator.Config{
		Estate: simulator.NewEstate(simulator.EstateConfig{
			Seed: 1, Projects: 3, ClustersPerProject: 8, ShardsPerCluster: 4, ReplicaSetsPerProject: 10,
			ModernReplicaSetsPerProject: 1, // their agents take no time
			LeftOut:                     simulator.LeftOut{BackupOff: 1, EncryptionOff: 1, FCV42: 1, FCVUnknown: 1},
		}),
		Latency: 40 * time.Millisecond,
		Faults: simulator.Faults{
			Seed: 1,
			PUT:  simulator.Rates{ErrorBefore: 0.004, ResetAfter: 0.01, TooMany: 0.002, Hidden: 0.02},
			GET:  simulator.Rates{ErrorBefore: 0.002},
		},
		Logger: d.Log.Named("simulator"),
	})
	if err != nil {
		return err
	}
	d.sim = sim
	if err := d.openCloud(ctx); err != nil {
		return errors.Join(err, sim.Close())
	}
	flags := map[string]any{"data_dir": d.dir, "listen": d.Listen, "log_level": "warn", "shutdown_grace": "10s"}
	for _, listen := range []string{d.Listen, "127.0.0.1:0"} {
		flags["listen"] = listen
		cfg, err := app.LoadConfig("", func() []string { return nil }, flags)
		if err != nil {
			return errors.Join(err, sim.Close(), d.cloud.Close())
		}
		if d.server, err = app.Open(ctx, cfg, d.Version, d.Log); err == nil {
			return d.connect()
		}
		if listen == "127.0.0.1:0" || !strings.Contains(err.Error(), "listen") {
			return errors.Join(err, sim.Close(), d.cloud.Close())
		}
	}
	return nil
}

func (d *demo) connect() error {
	raw, err := os.ReadFile(d.server.AdminTokenFile())
	if err != nil {
		return fmt.Errorf("reading the demo's token: %w", err)
	}
	d.token = strings.TrimSpace(string(raw))
	d.client, err = client.New(client.Config{Server: d.server.URL(), Token: d.token, UserAgent: "keyturn-demo/" + d.Version})
	return err
}

// resources is what the demo applies, as a user would.
const resources = `apiVersion: keyturn/v1
kind: Target
name: simulated-om
spec:
  system: ops-manager
  url: %s
  credentials: {publicKey: "file:%s", privateKey: "file:%s"}
  limits: {concurrency: 16}
  timeouts: {request: 5s, settle: 1s, verify: 10s}
---
apiVersion: keyturn/v1
kind: Policy
name: ` + policyName + `
spec:
  target: simulated-om
  select: {projects: ["*"], clusters: ["*"], components: [shard, config, replica-set]}
  schedule: {cron: "*/%d * * * * *", timezone: UTC}
`

func (d *demo) apply(ctx context.Context) error {
	public, private := filepath.Join(d.dir, "public-key"), filepath.Join(d.dir, "private-key")
	for file, key := range map[string]string{public: d.sim.PublicKey, private: d.sim.PrivateKey} {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			return fmt.Errorf("writing the demo's credentials: %w", err)
		}
	}
	atlas, err := d.cloudResources()
	if err != nil {
		return err
	}
	_, err = d.client.Apply(ctx, client.ApplyRequest{Documents: []client.Document{
		{Name: "demo.yaml", Content: fmt.Sprintf(resources, d.sim.URL, public, private, d.Every)},
		{Name: "atlas.yaml", Content: atlas},
	}})
	if err != nil {
		return fmt.Errorf("applying the demo's resources: %w", err)
	}
	return nil
}

func (d *demo) welcome(ctx context.Context) error {
	link, err := d.server.SignInURL(ctx, d.token)
	if err != nil {
		return err
	}
	d.screen.line("Keyturn demo: a scheduler, a worker and a database in this process, and a simulated Ops")
	d.screen.line("Manager with 3 projects. A few of its answers get lost, as in life; some of its units")
	d.screen.line("must not be rotated, and some are of newer MongoDB versions, whose keys agents turn.")
	d.screen.line("Beside it a simulated Atlas with 2 projects, whose keys are in AWS, Azure and Google.")
	d.screen.line("")
	d.screen.line("  pages    %s", link)
	d.screen.line("           (the link signs you in once, within ten minutes)")
	d.screen.line("  API      %s", d.server.URL())
	d.screen.line("  policies %s: turns every key of Ops Manager every %d seconds", policyName, d.Every)
	d.screen.line("           %s: makes new keys in the three clouds every %d seconds", cloudPolicy, cloudEvery)
	d.screen.line("")
	d.screen.line("Try it in another terminal:")
	d.screen.line("  export KEYTURN_SERVER=%s", d.server.URL())
	d.screen.line("  export KEYTURN_TOKEN=%s", d.token)
	for _, example := range []string{"rotate " + policyName + " --wait --reason \"just to see\"", "rotations", "units", "history", "plan " + policyName, "pause " + policyName} {
		d.screen.line("  %s %s", d.Program, example)
	}
	d.screen.line("")
	if d.Rotations == 0 {
		d.screen.line("Ctrl-C ends the demo. Nothing is left behind.")
		d.screen.line("")
	}
	return nil
}

// watch shows rotations as they go, until ctx ends or enough have ended.
func (d *demo) watch(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	seen, atlas := map[keyturn.ID]bool{}, map[keyturn.ID]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := d.look(ctx, policyName, seen); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // asked to end while looking
			}
			return err
		}
		if err := d.look(ctx, cloudPolicy, atlas); err != nil && ctx.Err() == nil {
			return err
		}
		if d.Rotations > 0 && len(seen) >= d.Rotations {
			return nil
		}
	}
}

// look shows the rotations that ended since the last look, and the one under way.
func (d *demo) look(ctx context.Context, policy string, seen map[keyturn.ID]bool) error {
	latest, err := d.client.Rotations(ctx, policy, "", 10)
	if err != nil {
		return fmt.Errorf("looking at the rotations: %w", err)
	}
	if policy == policyName {
		d.screen.status("")
	}
	for i := len(latest) - 1; i >= 0; i-- { // oldest first
		r := latest[i]
		switch {
		case seen[r.ID]:
		case r.State.Final():
			seen[r.ID] = true
			d.screen.line("%s", summary(r))
		case policy == policyName:
			d.screen.status(progress(r))
		}
	}
	return nil
}
