package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/internal/simulator/cloud"
)

// simulateCloud runs a simulated Atlas, if it is asked for, and prints what is needed to use it.
func (e *env) simulateCloud(ctx context.Context, f cloudFlags) (closeAll func() error, err error) {
	if f.projects == 0 {
		return func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "keyturn-simulate-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the simulated vault's certificate: %w", err)
	}
	c, err := cloud.Start(ctx, cloud.Config{
		Listen: f.listen, Projects: f.projects, Dir: dir,
		Atlas: atlas.Config{ValidAfter: time.Second, ClustersAfter: time.Second, UpdatingFor: 2 * time.Second},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	e.printf("---\n# Simulated Atlas at %s with %s and their keys in three clouds.\n", c.Atlas.URL, plural(f.projects, "project"))
	e.printf("# Keys that really changed: %s/simulator/truth; every PATCH that came in: %s/simulator/patches\n", c.Atlas.URL, c.Atlas.URL)
	e.printf("# Give the server its secrets, too:\n")
	secrets := c.Secrets()
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		e.printf("#   export %s=%s\n", name, secrets[name])
	}
	e.printf("%s", c.Target("simulated-atlas", func(secret string) string { return "env:" + secret }))
	e.printf(`---
apiVersion: keyturn/v1
kind: Policy
name: simulated-atlas
spec:
  target: simulated-atlas
`)
	return func() error { return errors.Join(c.Close(), os.RemoveAll(dir)) }, nil
}
