package web

import (
	"html/template"

	"github.com/keyturn/keyturn/internal/fleet"
)

// swatch draws a level as the map does: a colour, and a pattern for who can't tell the colours apart.
func swatch(level fleet.Level) template.HTML {
	marks := map[fleet.Level]string{
		fleet.Warn:     `<path class="mark" d="M3.500 10.500 10.500 3.500"/>`,
		fleet.Old:      `<path class="mark" d="M2 8.500 8.500 2M5.500 12 12 5.500"/>`,
		fleet.Critical: `<path class="mark" d="M4 4l6 6M10 4l-6 6"/>`,
		fleet.Unknown:  `<path class="mark" d="M1 7 7 1M1 13 13 1M7 13l6-6"/>`,
	}
	return template.HTML(`<svg class="swatch lv-` + level.String() + `" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true" focusable="false">` + //nolint:gosec // the texts above
		`<rect class="fill" width="14" height="14" rx="2"/>` + marks[level] + `</svg>`)
}

// swatchMark draws what the map adds to a cell.
func swatchMark(name string) template.HTML {
	marks := map[string]string{
		"fixed":  `<rect class="hole" x="4" y="4" width="6" height="6"/>`,
		"open":   `<rect class="ring" x="1" y="1" width="12" height="12" rx="2"/>`,
		"parked": `<rect class="ring parked" x="1" y="1" width="12" height="12" rx="2"/><path class="bars" d="M5.500 4.500v5M8.500 4.500v5"/>`,
	}
	return template.HTML(`<svg class="swatch lv-aging" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true" focusable="false">` + //nolint:gosec // the texts above
		`<rect class="fill" width="14" height="14" rx="2"/>` + marks[name] + `</svg>`)
}

// taskWords are the states of tasks that the fleet can be narrowed to.
func taskWords() map[string]string {
	return map[string]string{"pending": "waits for its turn", "intended": "turning", "parked": "waits for a person"}
}
