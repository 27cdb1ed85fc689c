package heap

import "testing"

func TestPercentFor(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for name, tt := range map[string]struct {
		use  usage
		want int
	}{
		"a heap that was never collected grows as ever":    {usage{0, mb}, 100},
		"a small one grows by no more than twice its size": {usage{4 * mb, 4 * mb}, 200},
		"a larger one grows to the size":                   {usage{20 * mb, 22 * mb}, 200},
		"one of half the size doubles":                     {usage{32 * mb, 32 * mb}, 100},
		"one of nearly the size grows by a fifth":          {usage{60 * mb, 60 * mb}, 20},
		"one above the size grows by a fifth":              {usage{90 * mb, 90 * mb}, 20},
		"one of twice the size doubles":                    {usage{128 * mb, 128 * mb}, 100},
		"stacks count for the growth, not for the size":    {usage{16 * mb, 24 * mb}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := percentFor(64*mb, tt.use); got != tt.want {
				t.Errorf("percentFor(64 MB, %+v) = %d, want %d", tt.use, got, tt.want)
			}
		})
	}
}
