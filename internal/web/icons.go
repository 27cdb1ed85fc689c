package web

import "html/template"

// icon draws one of the site's icons: 16 units wide, in the colour of the text, hidden from screen readers,
// because a word always stands beside it.
func icon(name string) template.HTML {
	paths := map[string]string{
		"home":   `<path d="M2.5 7.5 8 3l5.5 4.5V13h-4V9.5h-3V13h-4z"/>`,
		"turn":   `<path d="M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3"/>`,
		"grid":   `<path d="M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5h-4.5zM9 9h4.5v4.5H9z"/>`,
		"cal":    `<path d="M2.5 4h11v9.5h-11zM2.5 7h11M5.5 2.5V5M10.5 2.5V5"/>`,
		"list":   `<path d="M6 4h7.5M6 8h7.5M6 12h7.5M2.5 4h.5M2.5 8h.5M2.5 12h.5"/>`,
		"bell":   `<path d="M3.5 11.5c1-1 1-2.5 1-4a3.5 3.5 0 0 1 7 0c0 1.500 0 3 1 4zM6.500 13.500h3"/>`,
		"hook":   `<path d="M8 2.5v6.500a2.750 2.750 0 1 1-5 1.500M6 4.500l2-2 2 2"/>`,
		"target": `<circle cx="8" cy="8" r="5.500"/><circle cx="8" cy="8" r="2"/>`,
		"book":   `<path d="M3 3h7a2.500 2.500 0 0 1 2.500 2.500V13.500H5.500A2.500 2.500 0 0 1 3 11z M5.500 6.500h4M5.500 9.500h4"/>`,
		"key":    `<circle cx="5.500" cy="8" r="3"/><path d="M8.500 8H14v2.500M11.500 8v2"/>`,
		"check":  `<path d="m3 8.500 3.500 3.500L13 4.500"/>`,
		"clock":  `<circle cx="8" cy="8" r="5.500"/><path d="M8 5v3.500l2 1.500"/>`,
		"warn":   `<path d="M8 2.500 14 13.500H2zM8 6.500v3.500M8 11.800v.2"/>`,
		"bad":    `<path d="M5.500 2.500h5l3 3v5l-3 3h-5l-3-3v-5zM8 5v3.800M8 10.800v.2"/>`,
		"pause":  `<path d="M5.500 3.500v9M10.500 3.500v9"/>`,
		"skip":   `<path d="M3 4l5 4-5 4zM9 4l4 4-4 4z"/>`,
		"stop":   `<path d="M4 4h8v8H4z"/>`,
		"out":    `<path d="M6.500 3H3v10h3.500M10 5l3 3-3 3M6.500 8H13"/>`,
		"half":   `<circle cx="8" cy="8" r="5.500"/><path d="M8 2.500v11A5.500 5.500 0 0 0 8 2.500z" fill="currentColor"/>`,
		"next":   `<path d="m6 3.500 4.500 4.500L6 12.500"/>`,
	}
	if paths[name] == "" {
		return ""
	}
	return template.HTML(`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false" fill="none" ` + //nolint:gosec // the texts above
		`stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round">` + paths[name] + `</svg>`)
}
