//go:build !linux

package bench_test

import (
	"testing"
	"time"
)

// spent is only known on Linux.
func spent(*testing.B) (own, below time.Duration) { return 0, 0 }
