package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
)

// simulateFlags are what is simulated, as it was written.
type simulateFlags struct {
	listen  string
	units   int
	estate  simulator.EstateConfig
	faults  []string
	seed    uint64
	latency time.Duration
	agents  time.Duration
	key     string
	tls     bool
	caFile  string
	cloud   cloudFlags
}

// cloudFlags are about the simulated Atlas.
type cloudFlags struct {
	projects int
	listen   string
}

func newSimulateCommand(e *env) *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a simulated Ops Manager and Atlas, to try things against",
		Long: `Runs a simulated Ops Manager with projects, sharded clusters and replica sets,
prints its address and API key and what to apply so that Keyturn uses it, and
goes on until it is interrupted. Nothing is kept.

With --atlas-projects it also runs a simulated Atlas, whose projects keep their keys
in simulated key services of AWS, Azure and Google.

--fault KIND=SHARE makes that share of requests fail. KIND is put. or get. and
one of errorBefore, errorAfter, tooMany, resetBefore, resetAfter, truncated,
slow, never, late, hidden. With --modern-clusters and --modern-replica-sets there are
agents that turn keys by the automation config; agents.fail and agents.conflict are
faults of theirs, POST /simulator/projects/ID/edit and PUT …/lock are what others do. GET /simulator/truth tells every change of a key that
really happened; docs/simulator.md says more.`,
		Example: `  keyturn simulate --units 1000
  keyturn simulate --projects 3 --modern-clusters 1 --modern-replica-sets 2
  keyturn simulate --units 1000 --latency 20ms --fault put.errorAfter=0.02 --fault get.tooMany=0.01`,
		Args: arguments(0, 0),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:7391", "address to listen on")
	flags.IntVar(&f.units, "units", 200, "how many units there are; all can be rotated")
	flags.IntVar(&f.estate.Projects, "projects", 0, "build the estate of so many projects instead of --units")
	flags.IntVar(&f.estate.ClustersPerProject, "clusters", 2, "with --projects: sharded clusters a project")
	flags.IntVar(&f.estate.ShardsPerCluster, "shards", 3, "with --projects: shards a cluster")
	flags.IntVar(&f.estate.ReplicaSetsPerProject, "replica-sets", 2, "with --projects: plain replica sets a project")
	flags.IntVar(&f.estate.ModernClustersPerProject, "modern-clusters", 0, "with --projects: sharded clusters of FCV 4.2 and newer a project, whose keys agents turn")
	flags.IntVar(&f.estate.ModernReplicaSetsPerProject, "modern-replica-sets", 0, "with --projects: plain replica sets of FCV 4.2 and newer a project")
	flags.IntVar(&f.estate.LeftOut.BackupOff, "backup-off", 0, "with --projects: more replica sets without backup")
	flags.IntVar(&f.estate.LeftOut.EncryptionOff, "encryption-off", 0, "with --projects: more replica sets whose backup is not encrypted")
	flags.IntVar(&f.estate.LeftOut.FCV42, "fcv42", 0, "with --projects: more replica sets of FCV 4.2, without a key in a KMIP server")
	flags.IntVar(&f.estate.LeftOut.FCVUnknown, "fcv-unknown", 0, "with --projects: more replica sets of unknown FCV")
	flags.IntVar(&f.estate.LeftOut.KeyIdentifier, "key-identifier", 0, "with --projects: more modern replica sets whose configuration names their key")
	flags.IntVar(&f.estate.LeftOut.ManualMode, "manual-mode", 0, "with --projects: more modern replica sets that no agent restarts")
	flags.DurationVar(&f.agents, "agents-take", 2*time.Second, "how long agents take to turn the key of a modern replica set")
	flags.StringArrayVar(&f.faults, "fault", nil, "KIND=SHARE, such as put.errorAfter=0.02; may be given several times")
	flags.Uint64Var(&f.seed, "seed", 1, "of ids, keys and faults")
	flags.DurationVar(&f.latency, "latency", 0, "added to every answer")
	flags.StringVar(&f.key, "key", "", "PUBLIC:PRIVATE API key to let in (default: a random one)")
	flags.BoolVar(&f.tls, "tls", false, "serve HTTPS with a certificate of its own")
	flags.StringVar(&f.caFile, "ca-file", "simulator-ca.pem", "with --tls: where to write the authority that signed it")
	flags.IntVar(&f.cloud.projects, "atlas-projects", 0, "also simulate Atlas, with so many projects in three clouds")
	flags.StringVar(&f.cloud.listen, "atlas-listen", "127.0.0.1:0", "with --atlas-projects: its address (default: a free port)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if f.caFile, err = filepath.Abs(f.caFile); err != nil { // as a target's spec must name it
			return fmt.Errorf("--ca-file: %w", err)
		}
		return e.simulate(cmd.Context(), f)
	}
	return cmd
}

// simulate goes on until ctx ends.
func (e *env) simulate(ctx context.Context, f simulateFlags) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	server, err := simulator.Start(ctx, cfg)
	if err != nil {
		return err
	}
	e.printSimulated(server, f)
	closeCloud, err := e.simulateCloud(ctx, f.cloud)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	<-server.Done() // with the context, or by itself
	return errors.Join(server.Close(), closeCloud())
}

func (f simulateFlags) config() (simulator.Config, error) {
	cfg := simulator.Config{Addr: f.listen, Latency: f.latency, TLS: f.tls}
	if f.tls {
		cfg.CAFile = f.caFile
	}
	if f.units < 1 || f.estate.Projects < 0 || f.cloud.projects < 0 {
		return cfg, usageErrorf("--units, --projects and --atlas-projects count what there is: give 1 or more")
	}
	cfg.Estate = simulator.EstateOf(f.units)
	if f.estate.Projects > 0 {
		f.estate.Seed = f.seed
		cfg.Estate = simulator.NewEstate(f.estate)
	}
	if f.key != "" {
		public, private, ok := strings.Cut(f.key, ":")
		if !ok || public == "" || private == "" {
			return cfg, usageErrorf("--key is not of the form PUBLIC:PRIVATE")
		}
		cfg.Auth.Keys = []simulator.APIKey{{Public: public, Private: private}}
	}
	var err error
	cfg.Faults, err = parseFaults(f.faults)
	cfg.Faults.Seed = f.seed
	cfg.Faults.Agents.Takes = keyturn.Duration(f.agents)
	return cfg, err
}

// parseFaults reads "put.errorAfter=0.02" into the field of that name.
func parseFaults(words []string) (simulator.Faults, error) {
	var faults simulator.Faults
	shares := map[string]map[string]float64{}
	for _, word := range words {
		kind, text, _ := strings.Cut(word, "=")
		method, name, _ := strings.Cut(kind, ".")
		share, err := strconv.ParseFloat(text, 64)
		if err != nil || method != "put" && method != "get" && method != "agents" {
			return faults, usageErrorf("--fault %q is not KIND=SHARE, such as put.errorAfter=0.02", word)
		}
		if shares[method] == nil {
			shares[method] = map[string]float64{}
		}
		shares[method][name] = share
	}
	raw, err := json.Marshal(shares)
	if err != nil {
		return faults, fmt.Errorf("reading --fault: %w", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&faults); err != nil {
		return faults, usageErrorf("--fault: there is no such kind (%w); `keyturn simulate --help` lists them", err)
	}
	if err := faults.Validate(); err != nil {
		return faults, usageErrorf("--fault: %w", err)
	}
	return faults, nil
}

// printSimulated prints what is needed to use the estate.
func (e *env) printSimulated(server *simulator.Server, f simulateFlags) {
	e.printf("# Simulated Ops Manager at %s with %s. Ctrl-C ends it.\n", server.URL, plural(len(server.Estate().Units()), "unit"))
	e.printf("# Keys that really changed: %s/simulator/truth\n", server.URL)
	e.printf("# Give the server its API key, then apply what follows:\n")
	e.printf("#   export OM_PUBLIC_KEY=%s OM_PRIVATE_KEY=%s\n", server.PublicKey, server.PrivateKey)
	tls := ""
	if f.tls {
		tls = fmt.Sprintf("\n  tls: {caFile: %q}", f.caFile)
	}
	e.printf(`apiVersion: keyturn/v1
kind: Target
name: simulated
spec:
  system: ops-manager
  url: %s
  credentials: {publicKey: "env:OM_PUBLIC_KEY", privateKey: "env:OM_PRIVATE_KEY"}
  limits: {concurrency: 64}%s
---
apiVersion: keyturn/v1
kind: Policy
name: simulated
spec:
  target: simulated
`, server.URL, tls)
}
