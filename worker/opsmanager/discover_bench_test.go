package opsmanager_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
)

// BenchmarkDiscover measures a plan of 5,000 units in 25 projects, together with the simulator. As for a rotation in the
// night, no connection is open and no nonce known.
func BenchmarkDiscover(b *testing.B) {
	for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run(fmt.Sprintf("latency=%v", latency), func(b *testing.B) {
			const units = 5000
			sim, _ := startSimulator(b, simulator.Config{Estate: simulator.EstateOf(units), Latency: latency})
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				c := clientOf(b, sim)
				found, err := c.Discover(b.Context(), keyturn.Selection{})
				if err != nil || len(found) != units {
					b.Fatal(len(found), err)
				}
				c.Close()
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/units/1e3, "cpu-µs/unit")
		})
	}
}

// cpu is how much time the cores have given to this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
