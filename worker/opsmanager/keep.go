package opsmanager

import "strings"

// keptChunk is how much text a keeper makes room for at a time.
const keptChunk = 4 << 10

// keeper cuts strings loose from the long text that they were read from, with few allocations: what it returns is
// part of a chunk that holds nothing else.
type keeper struct {
	chunk *strings.Builder
	last  string
	few   []string
}

// own returns the string as a part of a chunk. What comes twice in a row is kept once.
func (k *keeper) own(s string) string {
	if s == k.last {
		return k.last
	}
	if k.chunk == nil || k.chunk.Cap()-k.chunk.Len() < len(s) {
		k.chunk = new(strings.Builder)
		k.chunk.Grow(max(keptChunk, len(s)))
	}
	from := k.chunk.Len()
	k.chunk.WriteString(s)
	k.last = k.chunk.String()[from:]
	return k.last
}

// fewKept is how many different strings a keeper looks through.
const fewKept = 8

// common returns the string by itself, as what is held when all else of the text is not. Of what most say it keeps one.
func (k *keeper) common(s string) string {
	for _, kept := range k.few {
		if kept == s {
			return kept
		}
	}
	s = strings.Clone(s)
	if len(k.few) < fewKept {
		k.few = append(k.few, s)
	}
	return s
}
