package resource

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn"
)

// Action is what an apply does with a resource.
type Action string

// The actions.
const (
	ActionCreate    Action = "create"
	ActionUpdate    Action = "update"
	ActionDelete    Action = "delete"
	ActionUnchanged Action = "unchanged"
)

// Change is what an apply does with one resource.
type Change struct {
	Kind       keyturn.ResourceKind `json:"kind"`
	Name       string               `json:"name"`
	Action     Action               `json:"action"`
	Lines      []string             `json:"lines,omitempty"` // of the spec as YAML: "+ new", "- old", "  around"; "…" leaves some out
	Generation int64                `json:"generation"`      // that the change is made from; 0: does not exist yet
	Spec       json.RawMessage      `json:"-"`               // nil: delete
}

// Diff says what has to change so that what is there becomes what is wanted:
// creations and updates with targets first, then deletions with targets last.
// With prune, what is not wanted is deleted; without, it is left out.
func Diff(have []keyturn.Resource, want []Document, prune bool) ([]Change, error) {
	stored := make(map[key]keyturn.Resource, len(have))
	for _, r := range have {
		stored[key{r.Kind, r.Name}] = r
	}
	var changes []Change
	for _, d := range want {
		old, exists := stored[key{d.Kind, d.Name}]
		delete(stored, key{d.Kind, d.Name})
		change := Change{Kind: d.Kind, Name: d.Name, Action: ActionCreate, Spec: d.Spec, Generation: old.Generation}
		if exists {
			change.Action = ActionUpdate
		}
		if err := change.compare(old.Spec, d.Spec); err != nil {
			return nil, err
		}
		changes = append(changes, change)
	}
	if prune {
		for k, old := range stored {
			change := Change{Kind: k.kind, Name: k.name, Action: ActionDelete, Generation: old.Generation}
			if err := change.compare(old.Spec, nil); err != nil {
				return nil, err
			}
			changes = append(changes, change)
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.turn(), b.turn()), strings.Compare(a.Name, b.Name))
	})
	return changes, nil
}

// turn orders changes so that a policy's target is there as long as the policy is.
func (c Change) turn() int {
	order := slices.Index([]keyturn.ResourceKind{keyturn.KindTarget, keyturn.KindPolicy, keyturn.KindWebhook, keyturn.KindSilence}, c.Kind)
	if c.Action == ActionDelete {
		return 10 - order
	}
	return order
}

func (c *Change) compare(before, after json.RawMessage) error {
	oldLines, oldText, err := lines(before)
	if err != nil {
		return fmt.Errorf("comparing %s %s: %w", c.Kind, c.Name, err)
	}
	newLines, newText, err := lines(after)
	if err != nil {
		return fmt.Errorf("comparing %s %s: %w", c.Kind, c.Name, err)
	}
	if c.Action == ActionUpdate && oldText == newText {
		c.Action = ActionUnchanged
		return nil
	}
	c.Lines = shorten(diffLines(oldLines, newLines))
	return nil
}

// lines returns a spec as lines of YAML, and in the form that equal specs share.
func lines(spec json.RawMessage) (yaml []string, text string, err error) {
	if spec == nil {
		return nil, "", nil
	}
	if text, err = canonical(spec); err != nil {
		return nil, "", err
	}
	node, err := specNode(spec)
	if err != nil {
		return nil, "", err
	}
	encoded, err := encodeNode(node)
	if err != nil {
		return nil, "", err
	}
	return strings.Split(strings.TrimSuffix(encoded, "\n"), "\n"), text, nil
}

// maxCompare bounds the table of diffLines; what is longer is shown as all old, all new.
const maxCompare = 4_000_000

// diffLines marks lines as old ("- "), new ("+ ") or both ("  ").
func diffLines(before, after []string) []string {
	var head, tail []string
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		head = append(head, "  "+before[0])
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		tail = append(tail, "  "+before[len(before)-1])
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	slices.Reverse(tail)
	return slices.Concat(head, diffMiddle(before, after), tail)
}

func diffMiddle(before, after []string) []string {
	var out []string
	if len(before)*len(after) > maxCompare {
		for _, l := range before {
			out = append(out, "- "+l)
		}
		before = nil
	}
	common := commonLengths(before, after)
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case i < len(before) && j < len(after) && before[i] == after[j]:
			out = append(out, "  "+before[i])
			i, j = i+1, j+1
		case j == len(after) || i < len(before) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+before[i])
			i++
		default:
			out = append(out, "+ "+after[j])
			j++
		}
	}
	return out
}

// commonLengths is the table of the longest common subsequences of all tails.
func commonLengths(a, b []string) [][]int32 {
	table := make([][]int32, len(a)+1)
	for i := range table {
		table[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

// shorten leaves out what is further than three lines from any change.
func shorten(all []string) []string {
	const around = 3
	keep := make([]bool, len(all))
	for i, l := range all {
		if !strings.HasPrefix(l, "  ") {
			for k := max(0, i-around); k <= min(len(all)-1, i+around); k++ {
				keep[k] = true
			}
		}
	}
	var out []string
	for i, l := range all {
		switch {
		case keep[i]:
			out = append(out, l)
		case i == 0 || keep[i-1]:
			out = append(out, "…")
		}
	}
	return out
}
