// Package cloud simulates Atlas together with the three key management services that its projects keep their keys in:
// what `keyturn demo` and `keyturn simulate` show, and tests turn keys against.
package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/internal/simulator/kms/aws"
	"github.com/keyturn/keyturn/internal/simulator/kms/azure"
	"github.com/keyturn/keyturn/internal/simulator/kms/gcp"
)

// Where the keys are.
const (
	region   = "eu-west-1"
	vaultKey = "atlas"
	ringKey  = "projects/demo/locations/europe-west1/keyRings/atlas/cryptoKeys/atlas-"
)

// Config says what is simulated.
type Config struct {
	Listen   string // address of Atlas; empty: a free port
	Projects int    // each with a key in all three services; 0: 2
	// Dir is a folder for the certificate of the authority that the simulated vault needs. It must be absolute.
	Dir string
	// Clusters are more clusters of every project.
	Clusters []atlas.Cluster
	// Atlas is how Atlas behaves. Projects and Keys are made here.
	Atlas atlas.Config
	// KeysBorn is when the first keys were made; zero: 100 days ago.
	KeysBorn time.Time
}

// Cloud is all of it, running.
type Cloud struct {
	Atlas *atlas.Server
	AWS   *aws.KMS
	Azure *azure.KMS
	GCP   *gcp.KMS

	awsURL, gcpURL string
	vault          *azure.Server
	caFile         string
	servers        []*http.Server
	serving        sync.WaitGroup
}

// Start begins to listen, until Close.
func Start(ctx context.Context, cfg Config) (_ *Cloud, err error) {
	c := &Cloud{AWS: aws.New(aws.Config{}), Azure: azure.New(azure.Config{}), GCP: gcp.New(gcp.Config{}), caFile: filepath.Join(cfg.Dir, "simulated-vault-ca.pem")}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.awsURL, err = c.serve(ctx, c.AWS); err != nil {
		return nil, err
	}
	if c.gcpURL, err = c.serve(ctx, c.GCP); err != nil {
		return nil, err
	}
	if c.vault, err = azure.Listen(ctx, "127.0.0.1:0", c.Azure); err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.caFile, c.vault.CAPEM, 0o600); err != nil {
		return nil, fmt.Errorf("writing the simulated vault's certificate: %w", err)
	}
	born := cfg.KeysBorn
	if born.IsZero() {
		born = time.Now().Add(-100 * 24 * time.Hour)
	}
	cfg.Atlas.Keys = c.check
	for n := range cmp.Or(cfg.Projects, 2) {
		p := c.project(n, born)
		p.Clusters = append(p.Clusters, cfg.Clusters...)
		cfg.Atlas.Projects = append(cfg.Atlas.Projects, p)
	}
	c.Atlas, err = atlas.Start(ctx, cfg.Listen, cfg.Atlas)
	return c, err
}

func (c *Cloud) serve(ctx context.Context, h http.Handler) (url string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listening for a simulated key service: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	c.servers = append(c.servers, server)
	c.serving.Go(func() { _ = server.Serve(listener) }) // ends with Close; before, calls are refused, which says enough
	return "http://" + listener.Addr().String(), nil
}

// Close ends all of it.
func (c *Cloud) Close() error {
	var errs []error
	if c.Atlas != nil {
		errs = append(errs, c.Atlas.Close())
	}
	for _, s := range c.servers {
		errs = append(errs, s.Close())
	}
	if c.vault != nil {
		c.vault.Close()
	}
	c.serving.Wait()
	return errors.Join(errs...)
}

// project makes a project with a key of its own in each service.
func (c *Cloud) project(n int, born time.Time) atlas.Project {
	names := []string{"payments", "catalogue", "people", "orders", "billing"}
	name := fmt.Sprintf("project-%d", n)
	if n < len(names) {
		name = names[n]
	}
	key := c.AWS.Add(region, aws.Key{CreatedAt: born, Description: "of Atlas project " + name})
	return atlas.Project{
		ID: fmt.Sprintf("5f10000000000000%08x", n+1), Name: name,
		Providers: []atlas.Provider{
			{ID: atlas.AWS, Key: key.ARN, Region: strings.ToUpper(strings.ReplaceAll(region, "-", "_"))},
			{ID: atlas.Azure, Key: c.Azure.Add(fmt.Sprintf("%s-%d", vaultKey, n), azure.Version{CreatedAt: born}), Fields: map[string]string{
				"azureEnvironment": "AZURE", "clientID": azure.Client, "tenantID": azure.Tenant, "keyVaultName": "keyturn",
				"subscriptionID": "99999999-2222-3333-4444-555555555555", "resourceGroupName": "atlas",
			}},
			{ID: atlas.GCP, Key: c.GCP.Add(fmt.Sprintf("%s%d", ringKey, n), born)},
		},
		Clusters: []atlas.Cluster{
			{Name: name + "-a", Provider: atlas.AWS}, {Name: name + "-b", Provider: atlas.Azure, Sharded: true}, {Name: name + "-c", Provider: atlas.GCP},
		},
	}
}

// check is what Atlas finds out about a key.
func (c *Cloud) check(provider, key, region string) string {
	var ok bool
	var state string
	codes := map[string]string{}
	switch provider {
	case atlas.AWS:
		parts := strings.Split(key, ":")
		if len(parts) == 6 && parts[3] != strings.ToLower(strings.ReplaceAll(region, "_", "-")) {
			return "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND"
		}
		ok, state = c.AWS.Usable(key)
		codes = map[string]string{
			"NotFound": "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND", "PendingDeletion": "AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_DELETION",
			"PendingImport": "AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_IMPORT", "": "AWS_KMS_CUSTOMER_MASTER_KEY_NOT_ENABLED",
		}
	case atlas.Azure:
		ok, state = c.Azure.Usable(key)
		codes = map[string]string{
			"KeyNotFound": "AZURE_KEY_VAULT_KEY_NOT_FOUND", "expired": "AZURE_KEY_VAULT_KEY_EXPIRED",
			"not active yet": "AZURE_KEY_VAULT_KEY_NOT_ACTIVE", "": "AZURE_KEY_VAULT_KEY_NOT_ENABLED",
		}
	case atlas.GCP:
		ok, state = c.GCP.Usable(key)
		codes = map[string]string{
			"NOT_FOUND": "GOOGLE_CLOUD_KMS_KEY_VERSION_NOT_FOUND", "PENDING_GENERATION": "GOOGLE_CLOUD_KMS_KEY_VERSION_PENDING_GENERATION",
			"DESTROYED": "GOOGLE_CLOUD_KMS_KEY_VERSION_DESTROYED", "DESTROY_SCHEDULED": "GOOGLE_CLOUD_KMS_KEY_VERSION_DESTROY_SCHEDULED",
			"": "GOOGLE_CLOUD_KMS_KEY_VERSION_DISABLED",
		}
	}
	if ok {
		return ""
	}
	return cmp.Or(codes[state], codes[""])
}

// Secrets returns what a server needs to work with it, by the names that Target refers to them with.
func (c *Cloud) Secrets() map[string]string {
	id, secret, _, _ := c.Atlas.Credentials()
	return map[string]string{
		"ATLAS_CLIENT_ID": id, "ATLAS_CLIENT_SECRET": secret,
		"ATLAS_AWS_KEY_ID": "AKIASIMULATED", "ATLAS_AWS_KEY": "simulated-aws-secret", "ATLAS_AZURE_SECRET": "client-secret",
	}
}

// Target returns the resource of a target that uses it. Ref writes a reference to a secret.
func (c *Cloud) Target(name string, ref func(secret string) string) string {
	return fmt.Sprintf(`apiVersion: keyturn/v1
kind: Target
name: %s
spec:
  system: atlas
  url: %s
  credentials: {clientId: %q, clientSecret: %q}
  timeouts: {request: 5s, settle: 1s, verify: 10s}
  kms:
    aws: {accessKeyId: %q, secretAccessKey: %q, endpoint: %q}
    azure: {tenantId: %s, clientId: %s, clientSecret: %q, endpoint: %q, authority: %q, caFile: %q}
    gcp: {endpoint: %q}
`, name, c.Atlas.URL, ref("ATLAS_CLIENT_ID"), ref("ATLAS_CLIENT_SECRET"),
		ref("ATLAS_AWS_KEY_ID"), ref("ATLAS_AWS_KEY"), c.awsURL,
		azure.Tenant, azure.Client, ref("ATLAS_AZURE_SECRET"), c.vault.URL, c.vault.URL, c.caFile, c.gcpURL)
}
