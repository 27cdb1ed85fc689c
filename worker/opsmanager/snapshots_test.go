package opsmanager_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

var _ worker.SnapshotLister = (*opsmanager.Client)(nil)

func part(clusterID, replicaSet, key string) object {
	return object{
		"clusterId": clusterID, "replicaSetName": replicaSet, "typeName": "REPLICA_SET", "encryptionEnabled": key != "",
		"masterKeyUUID": key, "mongodVersion": "6.0.4", "dataSizeBytes": 17,
	}
}

func snapshot(id, created string, more object, parts ...object) object {
	s := object{"id": id, "created": object{"date": created, "increment": 1}, "complete": true, "parts": parts}
	for k, v := range more {
		s[k] = v
	}
	return s
}

// snapshots lists what the client says of a unit.
func snapshots(t *testing.T, c *opsmanager.Client, cluster string) ([]keyturn.Snapshot, error) {
	t.Helper()
	var found []keyturn.Snapshot
	err := c.Snapshots(t.Context(), "om."+projectID+"."+cluster, func(s keyturn.Snapshot) bool {
		found = append(found, s)
		return true
	})
	return found, err
}

func describe(all []keyturn.Snapshot) string {
	lines := make([]string, 0, len(all))
	for _, s := range all {
		line := s.ID + " " + s.KeyID + " " + s.CreatedAt.Format("2006-01-02T15:04:05Z07:00")
		if s.ExpiresAt != nil {
			line += " until " + s.ExpiresAt.Format("2006-01-02")
		}
		lines = append(lines, line+fmt.Sprintf(" %t %t", s.Complete, s.Keep))
	}
	return strings.Join(lines, "\n")
}

func TestSnapshots_AreThoseOfTheUnit(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	f.lists[projectPath+"/clusters/p/snapshots"] = []object{
		snapshot("a", "2026-01-01T00:00:00Z", object{"expires": "2026-02-01T00:00:00Z"}, part("s0", "shannon-0", "k0"), part("", "shannon-1", "k1"), part("cs", "shannon-config", "kc")),
		snapshot("b", "2026-01-02T00:00:00.123Z", object{"doNotDelete": true, "complete": false}, part("s0", "shannon-0", "k0b"), part("s1", "shannon-1", "")),
	}
	f.lists[projectPath+"/clusters/rs/snapshots"] = []object{
		snapshot("c", "2026-01-03T01:00:00+01:00", nil, object{"typeName": "REPLICA_SET", "masterKeyUUID": "kr"}),
		snapshot("d", "2026-01-04T00:00:00Z", nil, object{"typeName": "REPLICA_SET", "replicaSetName": "liffey"}), // does not say
	}
	c := f.client(t)
	for cluster, want := range map[string]string{
		"s0": "a k0 2026-01-01T00:00:00Z until 2026-02-01 true false\nb k0b 2026-01-02T00:00:00Z false true",
		"s1": "a k1 2026-01-01T00:00:00Z until 2026-02-01 true false",
		"cs": "a kc 2026-01-01T00:00:00Z until 2026-02-01 true false",
		"rs": "c kr 2026-01-03T00:00:00Z true false\nd  2026-01-04T00:00:00Z true false",
	} {
		found, err := snapshots(t, c, cluster)
		if err != nil || describe(found) != want {
			t.Errorf("%s: %v\n%s, want\n%s", cluster, err, describe(found), want)
		}
		for _, s := range found {
			if s.Unit != "om."+projectID+"."+cluster || s.ClusterName == "" {
				t.Errorf("%+v", s)
			}
		}
	}
	if n := f.seen()["GET "+projectPath+"/clusters/p/snapshots"]; n != 1 {
		t.Errorf("the snapshots of one sharded cluster were asked for %d times", n)
	}
	if n := f.seen()["GET "+projectPath+"/clusters"]; n != 1 {
		t.Errorf("the clusters were asked for %d times", n)
	}
}

func TestSnapshots_WalksPagesAndStopsWhenTold(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	f.most = 100
	var all []object
	for i := range 250 {
		all = append(all, snapshot(fmt.Sprintf("s%03d", i), "2026-01-01T00:00:00Z", nil, part("rs", "liffey", "k")))
	}
	f.lists[projectPath+"/clusters/rs/snapshots"] = all
	c := f.client(t)
	found, err := snapshots(t, c, "rs")
	if err != nil || len(found) != 250 {
		t.Errorf("%d snapshots, %v", len(found), err)
	}
	n := 0
	err = c.Snapshots(t.Context(), "om."+projectID+".rs", func(keyturn.Snapshot) bool { n++; return n < 7 })
	if err != nil || n != 7 {
		t.Errorf("went on until %d, %v", n, err)
	}
}

func TestSnapshots_OfWhatIsNotBackedUpAreNone(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	c := f.client(t)
	for _, cluster := range []string{"s0", "rs"} {
		if found, err := snapshots(t, c, cluster); err != nil || len(found) > 0 {
			t.Errorf("%s: %v, %v", cluster, found, err)
		}
	}
}

func TestSnapshots_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	path := projectPath + "/clusters/rs/snapshots"
	c := f.client(t)
	_, err := snapshots(t, c, "gone")
	want{permanent, false, "not_found", 0, "listing the snapshots of unit om." + projectID + ".gone"}.check(t, "a unit that is gone", err)
	f.on("GET "+path, http.StatusServiceUnavailable, "")
	_, err = snapshots(t, c, "rs")
	want{transient, true, "http_503", 0, "503"}.check(t, "an outage", err)
	f.on("GET "+path, http.StatusUnauthorized, `{"error":401,"errorCode":"USER_UNAUTHORIZED","reason":"Unauthorized"}`)
	_, err = snapshots(t, c, "rs")
	want{permanent, false, "not_permitted", 0, "lacks the role"}.check(t, "no role", err)
	for _, bad := range []object{snapshot("x", "yesterday", nil, part("rs", "liffey", "k")), snapshot("x", "2026-01-01T00:00:00Z", object{"expires": "later"}, part("rs", "liffey", "k"))} {
		f.handle("GET "+path, func(w http.ResponseWriter, r *http.Request) { f.page(w, r, slices.Clone([]object{bad})) })
		_, err = snapshots(t, c, "rs")
		want{permanent, false, "bad_snapshot", 0, "snapshot x does not say"}.check(t, "a date", err)
	}
	if err := c.Snapshots(t.Context(), "other."+projectID+".rs", nil); kindOf(err) != permanent {
		t.Errorf("another target's unit: %v", err)
	}
}
