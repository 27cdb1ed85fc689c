package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/internal/simulator/cloud"
)

const (
	cloudTarget = "simulated-atlas"
	cloudPolicy = "demo-atlas"
	// cloudEvery is a divisor of 60: Atlas takes its clusters through each change.
	cloudEvery = 20
)

// openCloud starts a small Atlas, whose projects keep their keys in three clouds.
func (d *demo) openCloud(ctx context.Context) error {
	var err error
	d.cloud, err = cloud.Start(ctx, cloud.Config{Projects: 2, Dir: d.dir, Atlas: atlas.Config{
		Latency: 20 * time.Millisecond, ValidAfter: 300 * time.Millisecond, ClustersAfter: 200 * time.Millisecond, UpdatingFor: time.Second,
		Faults: atlas.Faults{Seed: 1, PATCH: atlas.Rates{ResetAfter: 0.1, ErrorBefore: 0.05}, GET: atlas.Rates{ErrorBefore: 0.005}},
	}})
	if err != nil {
		return fmt.Errorf("starting the demo's Atlas: %w", err)
	}
	return nil
}

// cloudResources is what the demo applies for it.
func (d *demo) cloudResources() (string, error) {
	for name, secret := range d.cloud.Secrets() {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(secret), 0o600); err != nil {
			return "", fmt.Errorf("writing the demo's credentials: %w", err)
		}
	}
	target := d.cloud.Target(cloudTarget, func(secret string) string { return "file:" + filepath.Join(d.dir, secret) })
	return target + fmt.Sprintf(`---
apiVersion: keyturn/v1
kind: Policy
name: %s
spec:
  target: %s
  schedule: {cron: "*/%d * * * * *", timezone: UTC}
`, cloudPolicy, cloudTarget, cloudEvery), nil
}
