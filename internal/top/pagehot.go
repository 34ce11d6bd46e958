package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/varvefs/varve/internal/daemon"
)

func (m *Model) hotPage(width, height int) string {
	st := m.shown.Last().Stats
	kinds := kindLines(st.Kinds, max(height/2-1, 3))
	if len(st.Hot) == 0 && len(m.hot.rows) == 0 {
		return "No conflicts were seen yet (one in sixteen is counted by block).\n\n" + strings.Join(kinds, "\n")
	}
	top := m.hot.view(width, height-len(kinds)-1)
	return top + "\n\n" + strings.Join(kinds, "\n")
}

// hotRows are the rows of blocks with most conflicts.
func hotRows(h History) (rows [][]cell) {
	h = h.since()
	before := map[uint64]uint64{}
	for _, b := range h[0].Stats.Hot {
		before[b.Block] = b.Conflicts
	}
	for _, b := range h.Last().Stats.Hot {
		what := b.What
		if what == "" {
			what = none
		}
		grown := b.Conflicts - min(before[b.Block], b.Conflicts)
		rows = append(rows, []cell{{fmt.Sprint(b.Block), float64(b.Block)}, {text: what}, count(b.Conflicts), count(grown)})
	}
	return rows
}

// kindLines are the conflicts by kind of block, the kinds with most first.
func kindLines(kinds []daemon.KindConflicts, most int) []string {
	if kinds == nil {
		return []string{"Only a mount names blocks, and counts conflicts by kind of block."}
	}
	kinds = slices.Clone(kinds)
	all := func(k daemon.KindConflicts) int64 { return k.Merges + k.Aborts + k.Waits }
	slices.SortStableFunc(kinds, func(a, b daemon.KindConflicts) int { return cmp.Compare(all(b), all(a)) })
	lines := []string{styleTitle.Render(fmt.Sprintf("%-24s %8s %8s %8s %8s %8s %9s", "kind of block", "merges", "aborts",
		"waits", "merged", "waited", "time"))}
	for i, k := range kinds {
		if i == most-1 && len(kinds) > most {
			return append(lines, fmt.Sprintf("... and %d kinds more", len(kinds)-i))
		}
		lines = append(lines, fmt.Sprintf("%-24s %8s %8s %8s %8s %8s %9s", k.Kind, whole(float64(k.Merges)),
			whole(float64(k.Aborts)), whole(float64(k.Waits)), share(float64(k.Merges), float64(all(k))),
			share(float64(k.Waits), float64(all(k))), timeFigure(time.Duration(k.Waited).Seconds())))
	}
	return lines
}
