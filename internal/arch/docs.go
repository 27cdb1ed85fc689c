package arch

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// BrokenLinks returns one line for each relative link in a Markdown file whose
// file, folder or heading does not exist.
func BrokenLinks(repository fs.FS) ([]string, error) {
	pages := map[string]string{}
	err := walk(repository, ".md", func(name string, content []byte) error {
		pages[name] = withoutCode(string(content))
		return nil
	})
	if err != nil {
		return nil, err
	}
	var broken []string
	err = walk(repository, ".md", func(name string, _ []byte) error {
		for _, link := range links(pages[name]) {
			if why := checkLink(repository, pages, name, link); why != "" {
				broken = append(broken, fmt.Sprintf("%s: %s%s", name, link, why))
			}
		}
		return nil
	})
	return broken, err
}

func checkLink(repository fs.FS, pages map[string]string, page, link string) string {
	file, heading, _ := strings.Cut(link, "#")
	to := page
	if file != "" {
		to = path.Join(path.Dir(page), file)
		if _, err := fs.Stat(repository, to); err != nil {
			return " does not exist"
		}
	}
	if heading != "" && !hasHeading(pages[to], heading) {
		return ": no such heading"
	}
	return ""
}

// links returns the relative links of a page.
func links(page string) []string {
	var found []string
	for _, match := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(match[1], "://") && !strings.HasPrefix(match[1], "mailto:") {
			found = append(found, match[1])
		}
	}
	return found
}

func hasHeading(page, anchor string) bool {
	for line := range strings.Lines(page) {
		if title := strings.TrimLeft(line, "#"); title != line && slug(title) == anchor {
			return true
		}
	}
	return false
}

// slug makes a heading's anchor as GitHub does: lower case, spaces to hyphens,
// punctuation left out.
func slug(title string) string {
	lower := strings.ToLower(strings.TrimSpace(title))
	kept := regexp.MustCompile(`[^\p{L}\p{N}\s_-]`).ReplaceAllString(lower, "")
	return strings.ReplaceAll(kept, " ", "-")
}

// withoutCode removes fenced blocks and code spans but keeps the text of headings' spans.
func withoutCode(page string) string {
	page = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(page, "")
	return regexp.MustCompile("`([^`\n]*)`").ReplaceAllStringFunc(page, func(span string) string {
		return regexp.MustCompile(`[\[\]()]`).ReplaceAllString(strings.Trim(span, "`"), "")
	})
}
