package web_test

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/fleet"
)

// TestOverviewFiguresLeadToWhatTheyCount follows each figure to the map.
func TestOverviewFiguresLeadToWhatTheyCount(t *testing.T) {
	t.Parallel()
	s := newSite(t, 800, openSQLite)
	page := s.get("/", false).Body.String()
	found := regexp.MustCompile(`<a href="/fleet([^"]*)">(\d+)`).FindAllStringSubmatch(page, -1)
	for _, want := range []string{"?older=90d", "?older=365d", "?level=unknown"} {
		if !strings.Contains(page, `"/fleet`+want+`"`) {
			t.Errorf("no figure leads to %s", want)
		}
	}
	counts := map[string]int{}
	for _, m := range found {
		counted, err := strconv.Atoi(m[2])
		s.ok(err)
		var e fleet.Encoded
		s.ok(json.Unmarshal(s.get("/fleet/cells.json"+m[1], false).Body.Bytes(), &e))
		if len(e.Levels) != counted || counted == 0 || counted == 800 {
			t.Errorf("%s shows %d keys, and the overview counts %d", m[1], len(e.Levels), counted)
		}
		counts[m[1]] = counted
	}
	if counts["?older=90d"] <= counts["?older=365d"] {
		t.Errorf("the counts are %v", counts)
	}
	if all := s.get("/fleet?older=nonsense&view=table", false).Body.String(); !strings.Contains(all, "of 800") {
		t.Error("nonsense narrows the fleet")
	}
	if own := s.get("/fleet?older=30d", false).Body.String(); !strings.Contains(own, "<option selected>30d</option>") {
		t.Error("another age is lost when the filter is used")
	}
}
