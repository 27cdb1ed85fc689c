package main

import (
	"strings"
	"unicode/utf8"
)

// table is text in columns. Widths are in runes.
type table struct {
	head []string
	rows [][]string
	// shrink are the columns that give way, in this order, when the screen is too narrow.
	shrink []int
	// state is the column that is coloured by its word; negative: none.
	state int
}

const (
	columnGap   = 2
	narrowest   = 8 // to which a column shrinks
	noStateTint = -1
)

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// printTable writes the table; a table without rows writes what empty says.
func (e *env) printTable(t *table, empty string) {
	if len(t.rows) == 0 {
		e.notef("%s", empty)
		return
	}
	s := e.screenOf(e.stdout)
	widths := t.widths(s.width)
	var out strings.Builder
	t.line(&out, t.head, widths, func(_ int, cell string) string { return s.paint(bold, cell) })
	for _, row := range t.rows {
		t.line(&out, row, widths, func(column int, cell string) string {
			if column != t.state {
				return cell
			}
			return s.paint(stateColour(strings.TrimRight(cell, " ")), cell)
		})
	}
	e.printf("%s", out.String())
}

// emptyText is what a listing says that is empty: a listing that something narrows says nothing of what it left out.
func emptyText(things, all string, narrowedBy ...string) string {
	if firstOf(narrowedBy...) != "" {
		return "no " + things + " match"
	}
	return all
}

// widths are those of the widest cells, less what the screen has no room for.
func (t *table) widths(screen int) []int {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if screen == 0 {
		return widths
	}
	total := columnGap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for _, column := range t.shrink {
		if total <= screen {
			break
		}
		least := min(widths[column], max(narrowest, utf8.RuneCountInString(t.head[column])))
		less := min(total-screen, widths[column]-least)
		widths[column] -= less
		total -= less
	}
	return widths
}

func (t *table) line(out *strings.Builder, cells []string, widths []int, paint func(column int, cell string) string) {
	for len(cells) > 0 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1] // no blanks at the end of a line
	}
	for i, cell := range cells {
		cell = shorten(cell, widths[i])
		if i < len(cells)-1 {
			cell += strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		}
		out.WriteString(paint(i, cell))
		if i < len(cells)-1 {
			out.WriteString(strings.Repeat(" ", columnGap))
		}
	}
	out.WriteByte('\n')
}

// shorten cuts the middle out of a text that is too wide: names and ids differ at their ends.
func shorten(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	if width < 5 {
		return string(runes[:width])
	}
	head := width / 2
	return string(runes[:head]) + "…" + string(runes[len(runes)-(width-head-1):])
}
