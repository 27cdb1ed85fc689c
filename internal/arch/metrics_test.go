package arch_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestMetrics holds the documents to the metrics that the code has, and the
// code to those that are documented.
func TestMetrics(t *testing.T) {
	t.Parallel()
	registered := metricsIn(t, regexp.MustCompile(`"(keyturn_[a-z_]*[a-z])"`), func(name string) bool {
		return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
	})
	documented := metricsIn(t, regexp.MustCompile("`(keyturn_[a-z_]+)"), func(name string) bool {
		return name == "docs/operations.md"
	})
	named := metricsIn(t, regexp.MustCompile(`\b(keyturn_[a-z_]+)\b`), func(name string) bool {
		return name == "deployments/prometheus/alerts.yml" || strings.HasPrefix(name, "docs/") || name == "README.md"
	})
	if len(registered) < 10 {
		t.Fatalf("found %d metrics in the code, want all of them: %v", len(registered), registered)
	}
	for name := range named {
		if !registered[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("the documents or alert rules name %s, which the code does not have", name)
		}
	}
	for name := range registered {
		if !documented[name] {
			t.Errorf("docs/operations.md does not mention %s", name)
		}
	}
}

func metricsIn(t *testing.T, pattern *regexp.Regexp, wanted func(name string) bool) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	repository := os.DirFS(root)
	err := fs.WalkDir(repository, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !wanted(name) {
			return err
		}
		content, err := fs.ReadFile(repository, name)
		for _, match := range pattern.FindAllStringSubmatch(string(content), -1) {
			found[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
