package opsmanager

import (
	"strings"
	"testing"
	"time"
	"unsafe"
)

// partOf reports whether s lies in the memory of text.
func partOf(s, text string) bool {
	from, begin := uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(unsafe.Pointer(unsafe.StringData(text))) //nolint:gosec // G103: only compared
	return s != "" && from >= begin && from < begin+uintptr(len(text))
}

func TestKeeper_CutsStringsLoose(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", keptChunk+1)
	text := "one two two" + long
	var k keeper
	wanted := []string{"", "one", "two", "two", "", long, "one", long[:keptChunk-3], "two"}
	var kept []string
	for _, s := range wanted {
		at := strings.Index(text, s)
		kept = append(kept, k.own(text[at:at+len(s)]), k.common(text[at:at+len(s)]))
	}
	for i, got := range kept {
		if got != wanted[i/2] {
			t.Errorf("%d: kept %d bytes, want %d", i, len(got), len(wanted[i/2]))
		}
		if partOf(got, text) {
			t.Errorf("%d: %.10q is still part of the text", i, got)
		}
	}
}

func TestKeeper_KeepsWhatIsCommonOnce(t *testing.T) {
	t.Parallel()
	var k keeper
	for _, s := range []string{"4.0", "4.2", "4.0", "4.2"} {
		first, again := k.common(s), k.common(s)
		if first != s || unsafe.StringData(first) != unsafe.StringData(again) { //nolint:gosec // G103: only compared
			t.Errorf("%q became %q, and is kept more than once", s, again)
		}
	}
	for i := range 3 * fewKept {
		if s := strings.Repeat("5", i); k.common(s) != s || len(k.few) > fewKept {
			t.Errorf("%q became something else, or %d are looked through", s, len(k.few))
		}
	}
}

// Each plan reads the same ids from a new text: none of them may keep it.
func TestWays_DoNotKeepTheTextThatTheyWereReadFrom(t *testing.T) {
	t.Parallel()
	var w ways
	for round, found := range []way{wayBackup, wayBackup, wayAutomation, wayBackup} {
		text := strings.Repeat("projectclusterother", 100)
		project, cluster, other := text[:7], text[7:14], text[14:19]
		w.learn(project, map[string]route{cluster: {way: found}, other: {way: wayBackup}}, time.Unix(int64(round), 0))
		w.needs(project, true)
		for name, l := range w.byProject {
			for id := range l.byUnit {
				if partOf(name, text) || partOf(id, text) {
					t.Errorf("round %d: %s of %s is part of the text", round, id, name)
				}
			}
		}
		if got, _ := w.known(project, cluster, time.Unix(int64(round), 0)); got != found {
			t.Errorf("round %d: the way is %q, want %q", round, got, found)
		}
	}
}
