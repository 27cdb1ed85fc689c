package resource

import (
	"fmt"
	"maps"
	"slices"

	"github.com/keyturn/keyturn"
)

// CrossCheck checks what no document can be blamed for alone: every policy that
// will be there names a target that will be there, and no resource is wanted twice.
// Its error is of type Errors.
func CrossCheck(have []keyturn.Resource, want []Document, prune bool) error {
	errs := duplicates(want)
	there := make(map[string]bool)  // targets after the apply
	pruned := make(map[string]bool) // targets that go
	for _, d := range want {
		if d.Kind == keyturn.KindTarget {
			there[d.Name] = true
		}
	}
	for _, r := range have {
		if r.Kind == keyturn.KindTarget && !there[r.Name] {
			if prune {
				pruned[r.Name] = true
			} else {
				there[r.Name] = true
			}
		}
	}
	for _, d := range want {
		if d.Kind != keyturn.KindPolicy {
			continue
		}
		p, err := Policy(d)
		if err != nil {
			return err
		}
		if !there[p.Target] {
			errs = append(errs, Error{
				File: d.File, Line: d.Line, Column: 1, Path: "spec.target",
				Message: missingTarget(d.Name, p.Target, there, pruned[p.Target]),
			})
		}
	}
	hooks, err := crossCheckHooks(have, want, prune)
	if err != nil {
		return err
	}
	return append(errs, hooks...).asError()
}

func missingTarget(policy, target string, there map[string]bool, pruned bool) string {
	message := fmt.Sprintf("policy %s names target %s, which ", policy, target)
	if pruned {
		return message + "would be pruned: add the target to the files, or apply without pruning"
	}
	if len(there) == 0 {
		return message + "does not exist: there is no target yet"
	}
	return message + "does not exist: " + choose(target, slices.Sorted(maps.Keys(there)))
}

// CheckRemoval refuses to remove a target that a policy names.
func CheckRemoval(have []keyturn.Resource, kind keyturn.ResourceKind, name string) error {
	if kind != keyturn.KindTarget {
		return nil
	}
	for _, r := range have {
		if r.Kind != keyturn.KindPolicy {
			continue
		}
		p, err := PolicyOf(r)
		if err != nil {
			return err
		}
		if p.Target == name {
			return fmt.Errorf("target %s can't be removed: policy %s names it: %w", name, p.Name, keyturn.ErrConflict)
		}
	}
	return nil
}
