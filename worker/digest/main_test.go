package digest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

var testTime = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
