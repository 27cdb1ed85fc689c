package sqlite_test

import (
	"testing"

	"github.com/keyturn/keyturn/storage/storagetest"
)

func BenchmarkPages(b *testing.B) {
	storagetest.BenchmarkPages(b, func(b *testing.B) storagetest.Store { return contract{Store: open(b, nil)} })
}
