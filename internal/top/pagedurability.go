package top

import (
	"fmt"
	"strings"

	"github.com/varvefs/varve/mvcc"
)

func (m *Model) durabilityPage(width int) string {
	h := m.shown
	last := h.Last()
	st := &last.Stats.Store
	times := h.rates(func(r *Rates) float64 { return r.FlushTime })
	for i := range h {
		if h[i].Rates.Flushes == 0 {
			times[i] = -1
		}
	}
	written := none
	now := h.now()
	if now.Seconds > 0 {
		written = bytesFigure(now.LogBytes)
	}
	lines := []string{
		row("commits not durable", whole(float64(notDurable(st))),
			h.values(func(p *Point) float64 { return float64(notDurable(&p.Stats.Store)) }), width),
		h.rateRow("epochs flushed/s", width, func(r *Rates) float64 { return r.Flushes }),
		row("time of a flush", timeFigure(now.FlushTime), times, width),
		row("log written/s", written, h.rates(func(r *Rates) float64 { return r.LogBytes }), width),
		row("journal full", share(st.Pressure, 1),
			h.values(func(p *Point) float64 { return p.Stats.Store.Pressure }), width),
		h.rateRow("held back/s", width, func(r *Rates) float64 { return r.HeldBack }),
		h.rateRow("versions freed/s", width, func(r *Rates) float64 { return r.Collected }),
		"",
		"journal          " + bar(st.Pressure, 40) + " " + share(st.Pressure, 1),
		"back-pressure    " + stepText(st),
		"writers          " + heldText(st),
		"oldest snapshot  " + holderText(st),
		"",
		fmt.Sprintf("commits          %d visible, %d durable", st.Published, st.Durable),
		fmt.Sprintf("epochs           %d flushed, %s each on average", st.Flushes, averageFlush(st)),
		fmt.Sprintf("versions         %d blocks; %d old versions, %s; %d clean blocks cached", st.Chains, st.History,
			bytesFigure(float64(st.HistoryBytes)), st.CleanBlocks),
	}
	return strings.Join(lines, "\n")
}

// stepText is the step of back-pressure, and what takes it.
func stepText(st *mvcc.Stats) string {
	does, ok := map[string]string{"none": "writers go on freely", "flushing": "epochs are flushed early",
		"slowing": "writers are slowed", "waiting": "writers wait for room"}[st.BackPressure]
	switch {
	case !ok && st.BackPressure == "":
		return none
	case !ok:
		return st.BackPressure
	case st.BackPressure == "none":
		return "none: " + does
	case st.Pressure >= 0.4: // below it no step stands for the journal
		return fmt.Sprintf("%s: %s, by the journal", st.BackPressure, does)
	}
	return fmt.Sprintf("%s: %s, by %s of old versions in memory", st.BackPressure, does,
		bytesFigure(float64(st.HistoryBytes)))
}

func heldText(st *mvcc.Stats) string {
	return fmt.Sprintf("%d held back now, %d times so far", st.Waiting, st.HeldBack)
}

// holderText names who keeps old versions. A store names it while writers wait.
func holderText(st *mvcc.Stats) string {
	if st.WaitingFor == "" {
		return "named while writers wait for room"
	}
	return "that of " + st.WaitingFor
}

func averageFlush(st *mvcc.Stats) string {
	if st.Flushes == 0 {
		return none
	}
	return timeFigure(st.FlushSeconds / float64(st.Flushes))
}
