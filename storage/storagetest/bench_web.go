package storagetest

import (
	"testing"

	"github.com/keyturn/keyturn"
)

// BenchmarkPages measures what the pages cost the database with 20,000 units: the sum of everything, the
// first look at a rotation of all of them, and one of the looks that follow each second. newStore returns a
// store with the database's own clock.
func BenchmarkPages(b *testing.B, newStore func(b *testing.B) Store) {
	b.Helper()
	f := &fixture{Store: newStore(b), t: b, clock: &Clock{}}
	f.estate()
	units := makeUnits("om", "p1", benchUnits)
	r, _ := f.running("quarterly", units...)
	for from := 0; from < len(units); from += 1000 {
		seen := make([]keyturn.Observation, 0, 1000)
		for _, u := range units[from : from+1000] {
			seen = append(seen, keyturn.Observation{Unit: u.ID, KeyID: "key-of-" + u.ID})
		}
		_, err := f.Observe(f.ctx(), seen)
		f.ok(err)
	}
	b.Run("Overview", func(b *testing.B) {
		for b.Loop() {
			o, err := f.Overview(b.Context())
			if err != nil || len(o.Targets) != 1 || o.Targets[0].Units != benchUnits || o.Targets[0].Unknown != 0 {
				b.Fatalf("overview is %+v, %v", o, err)
			}
		}
	})
	b.Run("RotationCells", func(b *testing.B) {
		for b.Loop() {
			cells, err := f.RotationCells(b.Context(), r.ID)
			if err != nil || len(cells) != benchUnits {
				b.Fatalf("%d cells, %v", len(cells), err)
			}
		}
	})
	b.Run("RotationChanges", func(b *testing.B) {
		now, err := f.Now(f.ctx())
		f.ok(err)
		for b.Loop() {
			if _, err := f.RotationChanges(b.Context(), r.ID, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
