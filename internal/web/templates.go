package web

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"strings"
)

//go:embed templates/*.tmpl
var templateFiles embed.FS

// templates are the pages' templates: each file of templates/ that is no part is parsed with the layout
// and the parts, so that pages can't take each other's names.
type templates struct {
	pages map[string]*template.Template
}

// isPart reports whether a file holds what all pages may use.
func isPart(name string) bool { return name == "layout" || name == "parts" }

func loadTemplates(assets *assets) (*templates, error) {
	base := template.New("").Funcs(functions(assets))
	if _, err := base.ParseFS(templateFiles, "templates/layout.tmpl", "templates/parts.tmpl"); err != nil {
		return nil, fmt.Errorf("reading the layout: %w", err)
	}
	files, err := fs.Glob(templateFiles, "templates/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("listing templates: %w", err)
	}
	out := &templates{pages: map[string]*template.Template{}}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".tmpl")
		if isPart(name) {
			continue
		}
		page, err := base.Clone()
		if err == nil {
			_, err = page.ParseFS(templateFiles, file)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the template %s: %w", name, err)
		}
		out.pages[name] = page
	}
	return out, nil
}

// execute writes a page, or only its fragment. The page's template gets the shell: its data is .Data.
func (t *templates) execute(w io.Writer, page shell, part bool) error {
	tmpl, ok := t.pages[page.Template]
	if !ok {
		return fmt.Errorf("there is no template %s", page.Template)
	}
	if !part {
		return tmpl.ExecuteTemplate(w, "layout", page)
	}
	name := page.Fragment
	if name == "" {
		name = "content"
	}
	return tmpl.ExecuteTemplate(w, name, page)
}

// fragment writes one template of a page, with its own data.
func (t *templates) fragment(w io.Writer, page, name string, data any) error {
	tmpl, ok := t.pages[page]
	if !ok {
		return fmt.Errorf("there is no template %s", page)
	}
	return tmpl.ExecuteTemplate(w, name, data)
}
