// Package blockmap draws where on an image the blocks in use are, as one HTML page that needs nothing else.
package blockmap

import (
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/varvefs/varve/internal/survey"
)

// The page has rows of cells. A row is a block group, or several where there are more groups than rows.
const (
	maxRows = 512
	columns = 128
	cellX   = 7 // in pixels
	cellY   = 9
)

// kind is what most of a cell's blocks are.
type kind byte

const (
	free kind = iota
	data
	metadata
	kinds
)

// cell counts the blocks that a cell stands for.
type cell struct {
	blocks    [kinds]int64
	fragments uint64 // pieces of files, other than first ones, that begin here
}

// Map is a picture that is being made.
type Map struct {
	Title string

	blocks  uint64 // of the image
	first   uint64 // block of the first group
	perRow  uint64
	perCell uint64
	cells   []cell
	groups  []row
	each    uint32 // groups in a row
	pieces  uint64
}

// row sums up a row.
type row struct {
	first, last       uint32 // groups
	free, all, pieces uint64
}

// New begins a picture of an image with so many blocks, in groups of so many from the first one on.
func New(title string, first, blocks, perGroup uint64, groups uint32) *Map {
	each := (groups + maxRows - 1) / maxRows
	m := &Map{Title: title, blocks: blocks, first: first, each: max(each, 1)}
	m.perRow = uint64(m.each) * perGroup
	if groups == 1 {
		m.perRow = blocks - first // a short group has a whole row
	}
	m.perCell = max((m.perRow+columns-1)/columns, 1)
	rows := (groups + m.each - 1) / m.each
	m.cells = make([]cell, uint64(rows)*columns)
	m.groups = make([]row, rows)
	return m
}

// Group adds a group: all of it is data at first, but for what is free and its own tables.
func (m *Map) Group(g *survey.Group) {
	r := &m.groups[g.Group/m.each]
	if r.all == 0 {
		r.first = g.Group
	}
	r.last = g.Group
	r.all += g.Blocks.Last - g.Blocks.First + 1
	m.mark(g.Blocks.First, g.Blocks.Last-g.Blocks.First+1, data)
	for _, s := range g.FreeSpans {
		r.free += s.Last - s.First + 1
		m.turn(s.First, s.Last-s.First+1, data, free)
	}
	m.own(g.Blocks.First, g.OwnAtStart)
	m.own(g.BlockBitmap, 1)
	m.own(g.InodeBitmap, 1)
	m.own(g.InodeTable.First, g.InodeTable.Last-g.InodeTable.First+1)
}

// own marks blocks of the file system's own tables. Those of a flexible group lie in another group, which may come
// later.
func (m *Map) own(first, n uint64) { m.turn(first, n, data, metadata) }

// Piece adds a piece of a file. One that is not the file's first is a fragment.
func (m *Map) Piece(start, _ uint64, first bool) {
	if first || start < m.first || start >= m.blocks {
		return
	}
	m.at(start).fragments++
	m.groups[(start-m.first)/m.perRow].pieces++
	m.pieces++
}

func (m *Map) at(b uint64) *cell {
	row, in := (b-m.first)/m.perRow, (b-m.first)%m.perRow
	return &m.cells[row*columns+in/m.perCell]
}

// eachCell calls visit for the cells of a run of blocks, as far as it lies on the image.
func (m *Map) eachCell(first, n uint64, visit func(c *cell, n uint64)) {
	for b, end := max(first, m.first), min(first+n, m.blocks); b < end; {
		in := (b - m.first) % m.perRow
		k := min(end-b, m.perCell-in%m.perCell, m.perRow-in)
		visit(m.at(b), k)
		b += k
	}
}

func (m *Map) mark(first, n uint64, k kind) {
	m.eachCell(first, n, func(c *cell, n uint64) {
		c.blocks[k] += int64(n)
	})
}

// turn makes blocks of one kind those of another.
func (m *Map) turn(first, n uint64, from, to kind) {
	m.eachCell(first, n, func(c *cell, n uint64) {
		c.blocks[from] -= int64(n) // below zero until the group that the tables lie in is added
		c.blocks[to] += int64(n)
	})
}

// colour is a cell's colour: of what most of its blocks are, and of fragments where they begin.
func (c *cell) colour() string {
	most := free
	for k := range kinds {
		if c.blocks[k] > c.blocks[most] {
			most = k
		}
	}
	switch {
	case c.blocks[free]+c.blocks[data]+c.blocks[metadata] <= 0:
		return ""
	case c.fragments > 0:
		return "frag"
	case most == data && c.blocks[free] > 0:
		return "part"
	}
	return [kinds]string{"free", "data", "meta"}[most]
}

// picture is the rows as SVG, neighbours of one colour in one rectangle.
func (m *Map) picture() string {
	var out strings.Builder
	for i, r := range m.groups {
		fmt.Fprintf(&out, "<g><title>%s: %.1f %% in use, %d fragments</title>", r.name(), 100*float64(r.all-r.free)/
			float64(max(r.all, 1)), r.pieces)
		for x := 0; x < columns; {
			colour, n := m.cells[i*columns+x].colour(), 1
			for x+n < columns && m.cells[i*columns+x+n].colour() == colour {
				n++
			}
			if colour != "" {
				fmt.Fprintf(&out, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"/>`, colour, x*cellX, i*cellY,
					n*cellX, cellY-1)
			}
			x += n
		}
		out.WriteString("</g>\n")
	}
	return out.String()
}

func (r row) name() string {
	if r.first == r.last {
		return fmt.Sprintf("group %d", r.first)
	}
	return fmt.Sprintf("groups %d to %d", r.first, r.last)
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title><style>
body{font:14px sans-serif;margin:2em;color:#222;background:#fff}
.free{fill:#e8eef2}.data{fill:#3b7ea1}.part{fill:#9cc3d5}.meta{fill:#e0a03c}.frag{fill:#b5322e}
li{display:inline;margin-right:1.5em}li svg{vertical-align:-1px;margin-right:.4em}
</style></head><body>
<h1>{{.Title}}</h1>
<p>{{.Blocks}} blocks, {{.Groups}} rows of {{.Each}} block groups; a cell stands for {{.PerCell}} blocks.</p>
<ul>
{{range .Legend}}<li><svg width="12" height="12"><rect class="{{.Class}}" width="12" height="12"/></svg>{{.Text}}</li>
{{end}}</ul>
<svg width="{{.Width}}" height="{{.Height}}" role="img" aria-label="blocks by group">
{{.Picture}}</svg>
</body></html>
`))

type legend struct{ Class, Text string }

// counts are the blocks of each kind.
func (m *Map) counts() (out [kinds]int64) {
	for i := range m.cells {
		for k, n := range m.cells[i].blocks {
			out[k] += max(n, 0) // tables of a damaged image may overlap
		}
	}
	return out
}

// Write writes the page.
func (m *Map) Write(w io.Writer) error {
	counts := m.counts()
	return page.Execute(w, map[string]any{
		"Title": m.Title, "Blocks": m.blocks, "Groups": len(m.groups), "Each": m.each, "PerCell": m.perCell,
		"Width": columns * cellX, "Height": len(m.groups) * cellY, "Picture": template.HTML(m.picture()),
		"Legend": []legend{
			{"free", fmt.Sprintf("free: %d blocks", counts[free])},
			{"data", fmt.Sprintf("data: %d blocks", counts[data])}, {"part", "data and free"},
			{"meta", fmt.Sprintf("metadata: %d blocks", counts[metadata])},
			{"frag", fmt.Sprintf("fragments begin here: %d", m.pieces)},
		},
	})
}
