package storm_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/crash"
	"github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/internal/simulator/cloud"
)

// TestCrashPointsOfAtlas kills a server at every step of a turn in Atlas, where a key is made in a cloud before the
// change and clusters go through it afterwards. Each task has one key made, and Atlas is changed once.
func TestCrashPointsOfAtlas(t *testing.T) {
	t.Parallel()
	points := slices.DeleteFunc(crash.Names(), func(point string) bool {
		return !slices.ContainsFunc([]string{"system.Prepare", "store.Intend", "maker.", "store.Amend", "system.Apply", "confirmer.", "store.Finish."}, func(begin string) bool {
			return strings.HasPrefix(point, begin)
		}) || !strings.HasPrefix(point, *crashAt)
	})
	next := make(chan string, len(points))
	for _, point := range points {
		next <- point
	}
	close(next)
	for lane := range min(4, len(points)) {
		t.Run(fmt.Sprintf("lane%d", lane), func(t *testing.T) {
			t.Parallel()
			l := newAtlasLane(t)
			for point := range next {
				if l.die(point); t.Failed() {
					return
				}
			}
		})
	}
}

type atlasLane struct {
	world
	server *server
	cloud  *cloud.Cloud
}

func newAtlasLane(t *testing.T) *atlasLane {
	t.Helper()
	c, err := cloud.Start(t.Context(), cloud.Config{Projects: 1, Dir: t.TempDir(), Atlas: atlas.Config{Latency: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &atlasLane{world: world{t: t}, cloud: c}
	set := map[string]string{"KEYTURN_TEST_WAITS": shortWaits, "KEYTURN_DATA_DIR": filepath.Join(t.TempDir(), "data")}
	l.server = newServer(t, "server", set)
	l.server.begin()
	l.connect([]string{l.server.url}, filepath.Join(set["KEYTURN_DATA_DIR"], "admin-token"))
	dir := t.TempDir()
	for name, secret := range c.Secrets() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target := c.Target("atlas", func(secret string) string { return "file:" + filepath.Join(dir, secret) })
	target = strings.Replace(target, "{request: 5s, settle: 1s, verify: 10s}", shortTimeouts, 1)
	_, err = l.front().Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{
		Name: "atlas.yaml", Content: target + "---\napiVersion: keyturn/v1\nkind: Policy\nname: keys\nspec: {target: atlas}\n",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// die makes the server die at a point of a rotation, starts it again, and compares what it says with what happened.
func (l *atlasLane) die(point string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Minute)
	defer cancel()
	before := len(l.cloud.Atlas.Truth())
	life := l.server.process
	l.server.arm(point + " 1")
	if err := l.ask(ctx, "keys"); err != nil {
		l.t.Fatal(err)
	}
	if err := life.died(ctx, 45*time.Second); err != nil {
		l.t.Fatalf("at %s: %v", point, err)
	}
	l.server.begin()
	if !within(ctx, 90*time.Second, l.settled) {
		l.t.Errorf("after dying at %s: the rotation did not end", point)
	}
	rotation, err := l.front().Rotation(ctx, l.asked[len(l.asked)-1])
	if err != nil {
		l.t.Fatal(err)
	}
	tasks, err := l.front().Tasks(ctx, rotation.ID.String())
	if err != nil {
		l.t.Fatal(err)
	}
	changes := l.cloud.Atlas.Truth()[before:]
	if len(tasks) != 3 || len(changes) != 3 {
		l.t.Errorf("after dying at %s: %d tasks, %d changes, want 3 and 3: %+v", point, len(tasks), len(changes), changes)
	}
	for _, task := range tasks {
		l.check(point, task)
	}
}

// check: the task succeeded, with the one key that was made for it.
func (l *atlasLane) check(point string, task keyturn.Task) {
	l.t.Helper()
	_, project, provider, err := keyturn.SplitUnitID(task.Unit)
	if err != nil {
		l.t.Fatal(err)
	}
	if now := l.cloud.Atlas.Key(project, provider); task.State != keyturn.TaskSucceeded || task.KeyAfter != now {
		l.t.Errorf("after dying at %s: %s %s (%s), key %s, Atlas uses %s", point, task.Unit, task.State, task.Reason, task.KeyAfter, now)
	}
	rotations := len(l.asked)
	made := 0
	switch provider {
	case "aws":
		made = len(l.cloud.AWS.Keys())
		if keys := l.cloud.AWS.MadeFor(task.ID); len(keys) != 1 {
			l.t.Errorf("after dying at %s: %d keys of AWS were made for one task: %v", point, len(keys), keys)
		}
	case "azure":
		made = len(l.cloud.Azure.Versions("atlas-0"))
	case "gcp":
		made = len(l.cloud.GCP.Versions("projects/demo/locations/europe-west1/keyRings/atlas/cryptoKeys/atlas-0"))
	}
	if made != rotations+1 {
		l.t.Errorf("after dying at %s: %d keys of %s after %d rotations", point, made, provider, rotations)
	}
}
