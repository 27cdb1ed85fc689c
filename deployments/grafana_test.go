package deployments_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func TestGrafana(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("grafana/keyturn.json")
	if err != nil {
		t.Fatal(err)
	}
	var board dashboard
	if err := json.Unmarshal(content, &board); err != nil {
		t.Fatal(err)
	}

	t.Run("asks only for metrics that there are", func(t *testing.T) {
		t.Parallel()
		page, err := os.ReadFile("../docs/operations.md")
		if err != nil {
			t.Fatal(err)
		}
		// The documentation names each metric of the program, which a test of internal/arch sees to.
		metric := regexp.MustCompile(`keyturn_[a-z_]+`)
		asked := 0
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				for _, name := range metric.FindAllString(target.Expr, -1) {
					asked++
					base := name
					for _, suffix := range []string{"_bucket", "_sum", "_count"} {
						base = strings.TrimSuffix(base, suffix)
					}
					if !strings.Contains(string(page), "`"+base+"`") && !strings.Contains(string(page), "`"+base+"{") {
						t.Errorf("panel %q asks for %s, which docs/operations.md does not know", panel.Title, name)
					}
				}
			}
		}
		if asked < len(board.Panels) {
			t.Errorf("%d panels ask for %d metrics", len(board.Panels), asked)
		}
	})

	t.Run("draws no panel over another", func(t *testing.T) {
		t.Parallel()
		taken, ids := map[[2]int]string{}, map[int]bool{}
		for _, panel := range board.Panels {
			if ids[panel.ID] {
				t.Errorf("two panels have the id %d", panel.ID)
			}
			ids[panel.ID] = true
			g := panel.GridPos
			if g.W < 1 || g.H < 1 || g.X+g.W > 24 {
				t.Errorf("panel %q is outside the grid of 24 columns: %+v", panel.Title, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("panels %q and %q overlap", panel.Title, other)
					}
					taken[[2]int{x, y}] = panel.Title
				}
			}
		}
	})
}
