package top

import (
	"strings"

	"github.com/varvefs/varve/ext4"
)

func (m *Model) ratesPage(width, height int) string {
	h := m.shown
	lines := []string{
		h.rateRow("operations/s", width, func(r *Rates) float64 { return r.Operations }),
		h.rateRow("commits/s", width, func(r *Rates) float64 { return r.Commits }),
		h.rateRow("conflicts/s", width, func(r *Rates) float64 { return r.Conflicts }),
		h.rateRow("merges/s", width, func(r *Rates) float64 { return r.Merges }),
		h.rateRow("aborts/s", width, func(r *Rates) float64 { return r.Aborts }),
		h.rateRow("waits/s", width, func(r *Rates) float64 { return r.Waits }),
		"",
	}
	if h.Last().Stats.Operations == nil {
		lines[0] = row("operations/s", none, nil, width)
		return strings.Join(append(lines, "Only a mount counts operations."), "\n")
	}
	return strings.Join(append(lines, m.operations.view(width, height-len(lines))), "\n")
}

// operationRows are the rows of operations that were called.
func operationRows(h History) (rows [][]cell) {
	last := h.Last()
	h = h.since()
	first := &h[max(0, len(h)-1-nowSamples)]
	before := map[string]ext4.OpStats{}
	for _, o := range first.Stats.Operations {
		before[o.Name] = o
	}
	seconds := last.Time.Sub(first.Time).Seconds()
	for _, o := range last.Stats.Operations {
		if o.Done+o.Failed == 0 {
			continue
		}
		now := cell{none, -1}
		if seconds > 0 {
			b := before[o.Name]
			rate := float64(o.Done+o.Failed-b.Done-b.Failed) / seconds
			now = cell{figure(rate), rate}
		}
		rows = append(rows, []cell{{text: o.Name}, now, count(o.Done), count(o.Failed), count(o.Merged), count(o.Aborts),
			{timeFigure(o.Waited.Seconds()), o.Waited.Seconds()}})
	}
	return rows
}

// count is a cell of a whole number.
func count[N int64 | uint64](n N) cell { return cell{whole(float64(n)), float64(n)} }
