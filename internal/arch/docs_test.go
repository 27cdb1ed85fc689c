package arch_test

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/keyturn/keyturn/internal/arch"
)

func TestBrokenLinks(t *testing.T) {
	t.Parallel()

	t.Run("are none in this repository", func(t *testing.T) {
		t.Parallel()
		broken, err := arch.BrokenLinks(os.DirFS(root))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range broken {
			t.Error(link)
		}
	})

	t.Run("are found, and those that lead out are left alone", func(t *testing.T) {
		t.Parallel()
		broken, err := arch.BrokenLinks(fstest.MapFS{
			"docs/nats.md": {Data: []byte("# Nats\n## Dead letters, and why\n")},
			"README.md": {Data: []byte("[a](docs/nats.md) [b](docs/nats.md#dead-letters-and-why) [c](docs) [d](https://example.com/x)\n" +
				"[e](#top-of-it)\n# Top of it\n```\n[f](gone-but-code.md)\n```\n[g](docs/gone.md)\n[h](docs/nats.md#gone)\n`[i](gone-but-code.md)`")},
			"docs/up.md": {Data: []byte("[j](../README.md) [k](../../outside.md)")},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"README.md: docs/gone.md does not exist",
			"README.md: docs/nats.md#gone: no such heading",
			"docs/up.md: ../../outside.md does not exist",
		}
		if len(broken) != len(want) {
			t.Fatalf("got %q, want %q", broken, want)
		}
		for i := range want {
			if broken[i] != want[i] {
				t.Errorf("got %q, want %q", broken[i], want[i])
			}
		}
	})
}
