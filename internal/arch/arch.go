// Package arch holds the rules of docs/decisions and CONTRIBUTING.md that a
// machine can hold: which package may import which, that links in the documents
// lead somewhere, and that the metrics are documented.
package arch

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path that the imports of this module begin with.
const Module = "github.com/keyturn/keyturn"

// File is a Go file and what it imports.
type File struct {
	Path    string // slash-separated, from the root of the module
	Imports []string
}

// Dir is the folder of the file: "." for the root package.
func (f File) Dir() string { return path.Dir(f.Path) }

// IsTest reports whether the file is only built for tests.
func (f File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// GoFiles reads the imports of every Go file of a module. Folders that the go
// command ignores are left out.
func GoFiles(module fs.FS) ([]File, error) {
	var files []File
	err := walk(module, ".go", func(name string, content []byte) error {
		parsed, err := parser.ParseFile(token.NewFileSet(), name, content, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("reading the imports of %s: %w", name, err)
		}
		file := File{Path: name}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("reading the imports of %s: %w", name, err)
			}
			file.Imports = append(file.Imports, imported)
		}
		files = append(files, file)
		return nil
	})
	return files, err
}

// walk calls visit with every file that ends in suffix.
func walk(root fs.FS, suffix string, visit func(name string, content []byte) error) error {
	return fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && isIgnored(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, suffix) {
			return nil
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return visit(name, content)
	})
}

func isIgnored(folder string) bool {
	return strings.HasPrefix(folder, ".") || strings.HasPrefix(folder, "_") ||
		slices.Contains([]string{"testdata", "vendor", "bin", "keyturn-data"}, folder)
}
