package keyturn

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Day is the length of a day in a Duration such as "90d": 24 hours, whatever
// the time zone does.
const Day = 24 * time.Hour

// Duration is a time.Duration that is written as Go writes it, or in whole
// days ("90d") or weeks ("2w").
type Duration time.Duration

// ParseDuration reads "30s", "5m", "36h", "90d", "2w".
func ParseDuration(s string) (Duration, error) {
	for suffix, unit := range map[string]time.Duration{"d": Day, "w": 7 * Day} {
		digits, ok := strings.CutSuffix(s, suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 32)
		if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
			return 0, fmt.Errorf("%q is not a duration: write a whole number before %q, such as 90d", s, suffix)
		}
		return Duration(time.Duration(n) * unit), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration: write 30s, 5m, 36h, 90d or 2w", s)
	}
	return Duration(d), nil
}

// Std returns the standard library's form.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes whole days as "90d" and everything else as Go does.
func (d Duration) String() string {
	if std := time.Duration(d); std > 0 && std%Day == 0 {
		return strconv.FormatInt(int64(std/Day), 10) + "d"
	}
	return time.Duration(d).String()
}

// MarshalText writes String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
