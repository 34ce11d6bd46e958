package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/varvefs/varve/mvcc"
)

func (m *Model) policyPage(width int) string {
	h := m.shown
	last := h.Last()
	st := &last.Stats.Store
	l := &st.Losses
	mode := last.Stats.Policy
	if mode == "" {
		mode = "only a mount reports it"
	}
	lines := []string{
		"mode                " + mode,
		fmt.Sprintf("switches            %d so far%s", st.Switches, lastSwitch(h)),
		"",
		"Inputs",
		row("  conflicts a commit", figure2(l.ConflictRate),
			h.values(func(p *Point) float64 { return p.Stats.Store.Losses.ConflictRate }), width),
		row("  of them merged", share(l.MergeSuccess, 1),
			h.values(func(p *Point) float64 { return p.Stats.Store.Losses.MergeSuccess }), width),
		row("  cost of an abort", timeFigure(l.AbortCost), nil, width),
		row("  cost of a merge", timeFigure(l.MergeCost), nil, width),
		row("  cost of a wait", timeFigure(l.WaitCost), nil, width),
		"",
		"Expected loss a commit",
		lossRow(h, "  strict", mvcc.Strict, width),
		lossRow(h, "  merge", mvcc.Merge, width),
		lossRow(h, "  wait", mvcc.Wait, width),
		"",
		"Measured between commits (- : not measured)",
		fmt.Sprintf("  under merge %s, strict %s, wait %s", timeFigure(l.Pace[0]), timeFigure(l.Pace[1]),
			timeFigure(l.Pace[2])),
	}
	return strings.Join(lines, "\n")
}

// lossRow is the expected loss under a policy over time.
func lossRow(h History, label string, p mvcc.Policy, width int) string {
	return row(label, timeFigure(h.Last().Stats.Store.Losses.Of(p)),
		h.values(func(at *Point) float64 { return at.Stats.Store.Losses.Of(p) }), width)
}

// lastSwitch says when the samples show the last switch.
func lastSwitch(h History) string {
	for i := len(h) - 1; i > 0; i-- {
		if h[i].Rates.Switches > 0 {
			ago := h.Last().Time.Sub(h[i].Time).Round(time.Second)
			return fmt.Sprintf(", the last one %v ago", ago)
		}
	}
	return ""
}

// figure2 is a number to two digits.
func figure2(f float64) string { return fmt.Sprintf("%.2g", f) }
