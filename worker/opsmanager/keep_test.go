package opsmanager

import (
	"strings"
	"testing"
	"unsafe"
)

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
		from, begin := uintptr(unsafe.Pointer(unsafe.StringData(got))), uintptr(unsafe.Pointer(unsafe.StringData(text))) //nolint:gosec // G103: only compared
		if got != "" && from >= begin && from < begin+uintptr(len(text)) {
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
