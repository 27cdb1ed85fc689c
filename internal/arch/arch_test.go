package arch_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/keyturn/keyturn/internal/arch"
)

const root = "../.."

func TestGoFiles(t *testing.T) {
	t.Parallel()

	t.Run("point their imports inward", func(t *testing.T) {
		t.Parallel()
		files, err := arch.GoFiles(os.DirFS(root))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) < 10 {
			t.Fatalf("found %d Go files below %s, want the whole module", len(files), root)
		}
		for _, violation := range arch.Violations(files) {
			t.Error(violation)
		}
	})

	t.Run("are read where the go command reads them", func(t *testing.T) {
		t.Parallel()
		files, err := arch.GoFiles(fstest.MapFS{
			"unit.go":              {Data: []byte("package keyturn\n\nimport (\n\t\"time\"\n)\n")},
			"worker/testdata/a.go": {Data: []byte("not Go")},
			".hidden/a.go":         {Data: []byte("not Go")},
			"worker/readme.txt":    {Data: []byte("not Go")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 1 || files[0].Path != "unit.go" || files[0].Dir() != "." || strings.Join(files[0].Imports, " ") != "time" {
			t.Errorf("got %+v, want unit.go importing time", files)
		}
	})
}

func TestViolations(t *testing.T) {
	t.Parallel()

	tests := []struct {
		file, imports string
		want          string // part of the violation; empty: allowed
	}{
		{"unit.go", "strings", ""},
		{"id.go", "database/sql/driver", ""},
		{"unit.go", "database/sql", "only storage may"},
		{"unit.go", "go.uber.org/zap", "standard library"},
		{"unit.go", arch.Module + "/worker", "standard library only"},
		{"worker/rotator.go", "go.uber.org/zap", ""},
		{"worker/rotator.go", arch.Module, ""},
		{"worker/rotator.go", "github.com/nats-io/nats.go", "behind an interface"},
		{"worker/rotator.go", arch.Module + "/internal/bus", "declare the interface"},
		{"worker/rotator.go", arch.Module + "/scheduler", "declare the interface"},
		{"worker/opsmanager/client.go", arch.Module + "/worker/opsmanager/digest", ""},
		{"worker/opsmanager/client.go", arch.Module + "/worker", ""},
		{"worker/opsmanager/client.go", arch.Module + "/storage/postgres", "never import each other"},
		{"scheduler/slot.go", "github.com/robfig/cron/v3", ""},
		{"scheduler/slot.go", arch.Module + "/storage/sqlite", "declare the interface"},
		{"storage/sqlite/open.go", "modernc.org/sqlite", ""},
		{"storage/sqlite/open.go", "database/sql", ""},
		{"storage/sqlite/open.go", arch.Module + "/storage/postgres", "never import each other"},
		{"storage/sqlite/open.go", arch.Module + "/sql", ""},
		{"storage/postgres/open.go", "github.com/jackc/pgx/v5/pgxpool", ""},
		{"internal/bus/bus.go", "github.com/nats-io/nats-server/v2/server", ""},
		{"internal/bus/bus.go", "github.com/jackc/pgx/v5", "only storage may"},
		{"internal/bus/bus.go", arch.Module + "/worker", ""},
		{"internal/api/server.go", "github.com/nats-io/nats.go", "only internal/bus may"},
		{"internal/api/server.go", arch.Module + "/internal/bus", "never import each other"},
		{"internal/api/server.go", arch.Module + "/internal/simulator", "only commands and tests"},
		{"internal/api/server_test.go", arch.Module + "/internal/simulator", ""},
		{"internal/api/server_test.go", arch.Module + "/cmd/keyturn", "nothing imports the commands"},
		{"cmd/keyturn/serve.go", arch.Module + "/storage/postgres", ""},
		{"cmd/keyturn/serve.go", "github.com/spf13/cobra", ""},
		{"internal/api/server.go", "github.com/spf13/cobra", "only commands and wiring may"},
		{"internal/app/config.go", "github.com/knadh/koanf/v2", ""},
		{"bench/bench.go", arch.Module + "/internal/simulator", ""},
	}
	for _, tt := range tests {
		t.Run(tt.file+" imports "+tt.imports, func(t *testing.T) {
			t.Parallel()
			got := arch.Violations([]arch.File{{Path: tt.file, Imports: []string{tt.imports}}})
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("got %q, want no violation", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("got %q, want one violation with %q", got, tt.want)
			}
		})
	}
}
