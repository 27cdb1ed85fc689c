package resource

import (
	"fmt"
	"slices"
	"strings"
)

// isSecret reports whether the value at path is meant for a reference to a
// secret, and so might be the secret itself by mistake.
func isSecret(path []string) bool {
	if len(path) < 2 || path[0] != "spec" {
		return false
	}
	switch path[1] {
	case "credentials", "secret", "previousSecret", "headers", "proxy":
		return true
	case "email":
		return len(path) == 3 && path[2] == "password"
	case "kms":
		return len(path) < 4 || slices.Contains([]string{"accessKeyId", "secretAccessKey", "sessionToken", "clientSecret", "credentialsJson"}, path[3])
	default:
		return false
	}
}

func literalSecret(value any) string {
	if text, _ := value.(string); strings.HasPrefix(text, "file:") {
		return "the path must be absolute: write file:/absolute/path"
	}
	if text, _ := value.(string); strings.HasPrefix(text, "env:") {
		return "the name of the variable can't be used: write env:NAME with letters, digits and _"
	}
	return "a secret itself must not be written here, where it would be stored: write env:NAME or file:/absolute/path"
}

// fieldName is a field's name as an error may show it. Beside secrets only what
// looks like a name is shown: "privateKey:hunter2" without a space is all name.
func fieldName(path []string, name string) string {
	plain := name != "" && len(name) <= 40
	for _, c := range name {
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
	}
	switch {
	case plain:
		return name
	case isSecret(path):
		return "(not shown)"
	default:
		return fmt.Sprintf("%.60q", name)
	}
}

// show writes a value into an error, shortened.
func show(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("%.80q", v)
	case nil:
		return "(empty)"
	case map[string]any:
		return "(a set of fields)"
	case []any:
		return "(a list)"
	default:
		return fmt.Sprintf("%.80s", fmt.Sprint(v))
	}
}

// choose suggests the one of known that text was probably meant to be, or lists them all.
func choose(text string, known []string) string {
	best, distance := "", 1+len(text)/3
	for _, k := range known {
		if d := editDistance(strings.ToLower(text), strings.ToLower(k)); d <= distance && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best != "" && text != "" {
		return "did you mean " + best + "?"
	}
	if len(known) == 0 {
		return "nothing is known here"
	}
	return "known are " + strings.Join(slices.Clone(known), ", ")
}

// editDistance counts the insertions, deletions and replacements, and swaps of
// neighbours, that make a into b. Long words count as far apart.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// lookup returns the value at path; nil if there is none.
func lookup(value any, path []string) any {
	for _, p := range path {
		switch v := value.(type) {
		case map[string]any:
			value = v[p]
		case []any:
			var i int
			if _, err := fmt.Sscan(p, &i); err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}
