package top

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/table"
	tea "charm.land/bubbletea/v2"
)

// column is one of a grid. Columns of numbers stand at the right, and sort from the highest down.
type column struct {
	title  string
	width  int // 0: what is left
	number bool
}

// cell is a text, and the number that it is sorted by in a column of numbers.
type cell struct {
	text string
	by   float64
}

// grid is a table that can be sorted and filtered.
type grid struct {
	columns []column
	sorted  int
	reverse bool
	filter  string
	rows    [][]cell
	table   table.Model
}

func newGrid(sorted int, columns ...column) *grid {
	g := &grid{columns: columns, sorted: sorted}
	keys := table.KeyMap{
		LineUp: keyUp, LineDown: keyDown,
		PageUp:   key.NewBinding(key.WithKeys("pgup")),
		PageDown: key.NewBinding(key.WithKeys("pgdown")),
		GotoTop:  key.NewBinding(key.WithKeys("home")), GotoBottom: key.NewBinding(key.WithKeys("end")),
	}
	g.table = table.New(table.WithKeyMap(keys), table.WithFocused(true), table.WithStyles(tableStyles))
	g.layOut(80)
	return g
}

func (g *grid) set(rows [][]cell) {
	g.rows = rows
	g.arrange()
}

func (g *grid) move(msg tea.Msg) { g.table, _ = g.table.Update(msg) }

func (g *grid) sortNext() {
	g.sorted, g.reverse = (g.sorted+1)%len(g.columns), false
	g.arrange()
}

func (g *grid) turn() {
	g.reverse = !g.reverse
	g.arrange()
}

func (g *grid) setFilter(text string) {
	g.filter = text
	g.arrange()
}

// arrange hands the rows that pass the filter to the table, sorted.
func (g *grid) arrange() {
	rows := [][]cell{}
	for _, r := range g.rows {
		if g.filter == "" || slices.ContainsFunc(r, func(c cell) bool {
			return strings.Contains(strings.ToLower(c.text), strings.ToLower(g.filter))
		}) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b []cell) int {
		order := strings.Compare(a[g.sorted].text, b[g.sorted].text)
		if x, y := a[g.sorted].by, b[g.sorted].by; g.columns[g.sorted].number && x > y {
			order = -1
		} else if g.columns[g.sorted].number {
			order = 1
			if x == y {
				return 0
			}
		}
		if g.reverse {
			return -order
		}
		return order
	})
	out := make([]table.Row, len(rows))
	for i, r := range rows {
		for j, c := range r {
			out[i] = append(out[i], g.columns[j].align(c.text))
		}
	}
	at := g.table.Cursor()
	g.table.SetRows(out)
	if at < 0 && len(out) > 0 { // the table was empty
		g.table.SetCursor(0)
	}
}

// align puts numbers at the right.
func (c column) align(text string) string {
	if pad := c.width - len([]rune(text)); c.number && pad > 0 {
		return strings.Repeat(" ", pad) + text
	}
	return text
}

// layOut gives the columns their titles and widths.
func (g *grid) layOut(width int) {
	rest := width
	for _, c := range g.columns {
		rest -= c.width + 1
	}
	columns := make([]table.Column, len(g.columns))
	for i, c := range g.columns {
		mark := ""
		if i == g.sorted {
			mark = "▾"
			if g.reverse != !c.number {
				mark = "▴"
			}
		}
		columns[i] = table.Column{Title: c.align(c.title + mark), Width: c.width}
		if c.width == 0 {
			columns[i].Width = max(rest, 8)
		}
	}
	g.table.SetColumns(columns)
	g.table.SetWidth(width)
}

// view draws the table in so many cells.
func (g *grid) view(width, height int) string {
	g.layOut(width)
	g.table.SetHeight(max(height, 2))
	return g.table.View()
}
