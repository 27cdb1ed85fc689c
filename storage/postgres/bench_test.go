package postgres_test

import (
	"testing"

	"github.com/keyturn/keyturn/storage/storagetest"
)

func BenchmarkStore(b *testing.B) {
	storagetest.Benchmark(b, func(b *testing.B) storagetest.Store { return newStore(b, nil) })
}
