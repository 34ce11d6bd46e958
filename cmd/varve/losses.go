package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/stress"
)

// printLoss prints what the losses of the merge run predict beside what was measured: how much faster merge is than
// strict, and which policy is the fastest. It prints no predicted ratio that the measured rates contradict.
func printLoss(out io.Writer, reports []stress.Report) {
	at := map[string]stress.Report{}
	for _, r := range reports {
		at[r.Policy] = r
	}
	m, ok := at["merge"]
	if !ok || m.Losses.ConflictRate == 0 {
		return
	}
	if s, ok := at["strict"]; ok && s.CommitsPerSecond > 0 && m.CommitsPerSecond > 0 {
		l := m.Losses
		fmt.Fprintf(out, "  merge beside strict: measured %.2f times the commits/s, goodput %.3f and %.3f; "+
			"expected losses %.2f and %.2f us a commit "+
			"(conflicts %.3f a commit, %.0f%% merged, abort %.2f us, merge %.2f us)",
			m.CommitsPerSecond/s.CommitsPerSecond, m.Goodput, s.Goodput, l.Merge*1e6, l.Strict*1e6,
			l.ConflictRate, 100*l.MergeSuccess, l.AbortCost*1e6, l.MergeCost*1e6)
		if ratio, ok := predicted(s, m); ok {
			fmt.Fprintf(out, ", which predict %.2f times\n", ratio)
		} else {
			fmt.Fprintln(out, "; the rates differ by more than these losses, so they predict nothing here")
		}
	}
	if len(at) == 4 {
		fmt.Fprintf(out, "  least expected loss: %s; fastest: %s\n", leastLoss(m.Losses), fastest(reports))
	}
}

// agreement is the factor within which a predicted ratio of rates must be the measured one.
const agreement = 1.25

// predicted is how much faster merge is than strict by the expected losses: the processor time of a commit under merge,
// and the same with strict's loss in place of merge's. ok is false where the measured rates say something else, or
// where commits wait for a device: then losses cost less than they last.
func predicted(s, m stress.Report) (ratio float64, ok bool) {
	if m.Durable {
		return 0, false
	}
	each := float64(min(runtime.GOMAXPROCS(0), m.Writers)) / m.CommitsPerSecond
	ratio = (each - m.Losses.Merge + m.Losses.Strict) / each
	measured := m.CommitsPerSecond / s.CommitsPerSecond
	return ratio, ratio < agreement*measured && measured < agreement*ratio && (ratio >= 1) == (measured >= 1)
}

// leastLoss is the fixed policy with the least expected loss.
func leastLoss(l mvcc.Losses) mvcc.Policy {
	return slices.MinFunc([]mvcc.Policy{mvcc.Merge, mvcc.Strict, mvcc.Wait}, func(a, b mvcc.Policy) int {
		if l.Of(a) < l.Of(b) {
			return -1
		}
		return 1
	})
}

// fastest names the fixed policy that committed most, and the rate of adaptive beside it.
func fastest(reports []stress.Report) string {
	var best, adaptive stress.Report
	for _, r := range reports {
		switch {
		case r.Policy == mvcc.Adaptive.String():
			adaptive = r
		case r.CommitsPerSecond > best.CommitsPerSecond:
			best = r
		}
	}
	return fmt.Sprintf("%s; adaptive has %.2f of its commits/s", best.Policy,
		adaptive.CommitsPerSecond/best.CommitsPerSecond)
}
