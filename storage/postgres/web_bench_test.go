package postgres_test

import (
	"testing"

	"github.com/keyturn/keyturn/storage/storagetest"
)

func BenchmarkPages(b *testing.B) {
	storagetest.BenchmarkPages(b, func(b *testing.B) storagetest.Store { return newStore(b, nil) })
}
