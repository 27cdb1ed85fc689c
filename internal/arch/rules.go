package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Violations returns one line for each import that points the wrong way.
//
// Imports point inward: cmd → {scheduler, worker, storage, internal} → the root
// package. Test files may use whatever they need to stand something up, but for
// the root package's, which stay free of adapters like the package itself.
func Violations(files []File) []string {
	var found []string
	for _, file := range files {
		for _, imported := range file.Imports {
			if why := violation(file, imported); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", file.Path, imported, why))
			}
		}
	}
	return found
}

func violation(file File, imported string) string {
	from := file.Dir()
	to, ours := within(imported, Module)
	if ours && inside(to, "cmd") {
		return "nothing imports the commands"
	}
	if file.IsTest() || isWiring(from) {
		return ""
	}
	if !ours {
		return externalViolation(from, imported)
	}
	return internalViolation(from, to)
}

// isWiring reports whether the folder may put anything together with anything.
func isWiring(dir string) bool {
	return isOneOf(dir, []string{"cmd", "internal/app", "internal/demo", "bench"})
}

// core are the libraries beyond the standard library that the packages without
// adapters may use. Everything else that they need comes through an interface.
func core() map[string][]string {
	return map[string][]string{
		".":         {},
		"scheduler": {"github.com/prometheus/client_golang/prometheus", "github.com/robfig/cron/v3", "github.com/teambition/rrule-go", "go.uber.org/zap", "golang.org/x/sync"},
		"worker":    {"github.com/prometheus/client_golang/prometheus", "go.uber.org/zap", "golang.org/x/sync", "golang.org/x/time"},
	}
}

// owners are the libraries that only the folders named may import.
func owners() map[string][]string {
	return map[string][]string{
		"github.com/nats-io":        {"internal/bus"},
		"github.com/jackc/pgx":      {"storage"},
		"modernc.org/sqlite":        {"storage"},
		"database/sql":              {"storage"},
		"github.com/chromedp":       {"internal/web/webtest"},
		"github.com/coreos/go-oidc": {"internal/web"},
		"github.com/pressly/goose":  {"storage"},
		"github.com/danielgtaylor":  {"internal/api"},
		"github.com/spf13":          {},
		"github.com/knadh/koanf":    {},
		"github.com/go-task":        {},
		"github.com/stretchr":       {},
		"github.com/sirupsen":       {},
		"golang.org/x/exp":          {},
		"github.com/robfig/cron/v3": {"scheduler"},
		"github.com/teambition":     {"scheduler"},
		"github.com/aws":            {"worker/kms/aws"},
		"github.com/Azure":          {"worker/kms/azure"},
		"cloud.google.com/go":       {"worker/kms/gcp"},
		"google.golang.org":         {"worker/kms/gcp"},
		"github.com/googleapis":     {"worker/kms/gcp"},
	}
}

func externalViolation(from, imported string) string {
	if from == "." && imported == "database/sql/driver" {
		return "" // how the standard library lets a type say how it is stored
	}
	if allowed, ok := core()[from]; ok && !isStandard(imported) && !isOneOf(imported, allowed) {
		return "this package imports the standard library" + orOneOf(allowed) + "; put the library behind an interface"
	}
	for library, folders := range owners() {
		if inside(imported, library) && !isOneOf(from, folders) {
			return "only" + orWiring(folders) + " may"
		}
	}
	return ""
}

func internalViolation(from, to string) string {
	if from == "." {
		return "the root package imports the standard library only"
	}
	if (from == "worker" || from == "scheduler") && to != "." {
		return from + " imports the root package only; declare the interface you need"
	}
	source, target := adapter(from), adapter(to)
	if target == "internal/simulator" && source != target {
		return "only commands and tests use the simulated estate"
	}
	if source != "" && target != "" && source != target {
		return "adapters never import each other"
	}
	return ""
}

// adapter returns the adapter that a folder belongs to; "" if it belongs to
// none: the contract of databases, a Postgres for tests, the digest transport,
// the fence around changes and what HTTP APIs have in common are there for several adapters.
func adapter(dir string) string {
	for _, root := range []string{"internal/api", "internal/bus", "internal/client", "internal/simulator", "internal/web"} {
		if inside(dir, root) {
			return root
		}
	}
	for _, parent := range []string{"worker", "storage"} {
		rest, ok := within(dir, parent)
		name, _, _ := strings.Cut(rest, "/")
		if ok && rest != "." && !slices.Contains([]string{"storagetest", "pgtest", "digest", "fence", "rest"}, name) {
			return path.Join(parent, name)
		}
	}
	return ""
}

// inside reports whether p is parent or below it.
func inside(p, parent string) bool {
	_, ok := within(p, parent)
	return ok
}

// within returns the rest of a path below parent, "." for parent itself.
func within(p, parent string) (rest string, ok bool) {
	if p == parent {
		return ".", true
	}
	return strings.CutPrefix(p, parent+"/")
}

func isOneOf(p string, parents []string) bool {
	return slices.ContainsFunc(parents, func(parent string) bool { return inside(p, parent) })
}

// isStandard reports whether an import path is the standard library's: those
// have no dot in their first element.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func orOneOf(libraries []string) string {
	if len(libraries) == 0 {
		return " only"
	}
	return ", " + strings.Join(libraries, ", ") + " only"
}

func orWiring(folders []string) string {
	if len(folders) == 0 {
		return " commands and wiring"
	}
	return " " + strings.Join(folders, ", ")
}
