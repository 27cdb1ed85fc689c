package resource_test

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/resource"
)

func BenchmarkParse(b *testing.B) {
	one := []byte(policy("  schedule: {cron: \"0 2 * * *\"}\n"))
	many := []byte(strings.Repeat(string(one)+"---\n", 1000))
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if _, err := resource.Parse("f", one, resource.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("1000 with errors", func(b *testing.B) { // the same name a thousand times
		for b.Loop() {
			if _, err := resource.Parse("f", many, resource.Options{}); err == nil {
				b.Fatal("no error")
			}
		}
	})
}
