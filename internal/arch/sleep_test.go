package arch_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/arch"
)

// TestNobodySleeps holds tests to waiting for conditions: time.Sleep is for
// testing/synctest, where it takes no time.
func TestNobodySleeps(t *testing.T) {
	t.Parallel()
	repository := os.DirFS(root)
	files, err := arch.GoFiles(repository)
	if err != nil {
		t.Fatal(err)
	}
	sleeps, tests := regexp.MustCompile(`\btime\.Sleep\(`), 0
	for _, file := range files {
		if !file.IsTest() {
			continue
		}
		tests++
		content, err := fs.ReadFile(repository, file.Path)
		if err != nil {
			t.Fatal(err)
		}
		if sleeps.Match(content) && !strings.Contains(string(content), `"testing/synctest"`) {
			t.Errorf("%s sleeps outside of testing/synctest: wait for the condition", file.Path)
		}
	}
	if tests == 0 {
		t.Fatal("found no test files")
	}
}
