package keyturn

import (
	"hash/fnv"
	"time"
)

// TooSoon is why a task is skipped whose unit was turned within the policy's minInterval.
const TooSoon = "turned too recently: the policy's minInterval has not passed since a task turned this unit"

// Spread returns a time from 0 up to within that depends on nothing but the two names: the units of a
// policy are spread evenly, and each keeps its place.
func Spread(policy, unit string, within time.Duration) time.Duration {
	if within <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(policy)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(unit))
	return time.Duration(mix(h.Sum64()) % uint64(within)) //nolint:gosec // less than within, which is positive
}

// mix spreads what differs in the last bytes of a name over all bits: FNV alone leaves neighbours close.
// It is the finalizer of SplitMix64, https://prng.di.unimi.it/splitmix64.c
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
