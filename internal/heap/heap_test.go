package heap

import "testing"

func TestLimitFor(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for name, tt := range map[string]struct{ inUse, want uint64 }{
		"a heap that was never collected has the size": {0, 72 * mb},
		"a small one has the size":                     {20 * mb, 72 * mb},
		"one of two thirds has it, too":                {48 * mb, 72 * mb},
		"a larger one has more":                        {60 * mb, 108 * mb},
		"one of the size doubles":                      {72 * mb, 144 * mb},
		"one above the size also":                      {100 * mb, 200 * mb},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := limitFor(72*mb, tt.inUse); got != tt.want {
				t.Errorf("limitFor(72 MB, %d) = %d, want %d", tt.inUse, got, tt.want)
			}
		})
	}
}
