package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// The lines of a screen: title, pages, message, a page, keys.
const (
	linesAbove = 3
	linesBelow = 1
)

// View follows tea.Model.
func (m *Model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "varve top " + m.name
	return v
}

// screen draws exactly as many lines as the terminal has, none wider than it.
func (m *Model) screen() string {
	height := max(m.height-linesAbove-linesBelow, 1)
	body := strings.Split(m.body(m.width, height), "\n")
	for len(body) < height {
		body = append(body, "")
	}
	lines := append([]string{m.title(), m.tabs(), m.notice()}, body[:height]...)
	lines = append(lines, m.footer())
	return lipgloss.NewStyle().MaxWidth(m.width).MaxHeight(m.height).Render(strings.Join(lines, "\n"))
}

func (m *Model) title() string {
	left, right := "varve top  "+m.name, ""
	if p := m.shown.Last(); p != nil {
		if p.Stats.Image != "" {
			left += "  " + p.Stats.Image
		}
		right = p.Time.Format("15:04:05")
	}
	if m.paused {
		right += "  paused"
	}
	room := max(m.width-lipgloss.Width(right)-2, 0)
	left = lipgloss.NewStyle().MaxWidth(room).Render(left)
	return styleTitle.Render(left + strings.Repeat(" ", max(room-lipgloss.Width(left), 0)) + "  " + right)
}

func (m *Model) tabs() string {
	var b strings.Builder
	for p, name := range pageNames {
		text := fmt.Sprintf(" %d %s ", p+1, name)
		if page(p) == m.page {
			text = stylePage.Render(fmt.Sprintf("[%d %s]", p+1, name))
		}
		b.WriteString(text + " ")
	}
	return b.String()
}

// notice is the line of messages: what was frozen, that no more changes are taken, or what the answer lacks.
func (m *Model) notice() string {
	p := m.shown.Last()
	switch {
	case m.message != "":
		return styleMessage.Render(m.message)
	case p == nil:
		return ""
	case p.Stats.Failed != "":
		return styleWarning.Render("takes no more changes: " + p.Stats.Failed)
	case p.Note != "":
		return styleWarning.Render(p.Note)
	}
	return ""
}

func (m *Model) footer() string {
	g := m.grid()
	if m.filtering {
		return "filter: " + g.filter + "_   (enter: keep, esc: none)"
	}
	h := m.help
	h.SetWidth(m.width)
	if g != nil && g.filter != "" {
		return "filter: " + g.filter + "   " + h.ShortHelpView(keyMap{}.ShortHelp()[1:])
	}
	return h.View(keyMap{})
}

func (m *Model) body(width, height int) string {
	switch {
	case m.showHelp:
		return helpText + "\n\n" + m.help.FullHelpView(keyMap{}.FullHelp())
	case m.shown.Last() == nil:
		return "waiting for the first answer"
	}
	switch m.page {
	case pageRates:
		return m.ratesPage(width, height)
	case pageDurability:
		return m.durabilityPage(width)
	case pageHot:
		return m.hotPage(width, height)
	}
	return m.policyPage(width)
}

const helpText = `A sample is taken every 250 ms. Graphs have the last 120 samples, 30 s, the
newest at the right, and are as high as the most of them. Rates are events a
second during the last second; "-" stands for what is not known.

conflict   a commit that found a newer version of a block that it changes
merge      a conflict that a proof solves: both changes stand
abort      an attempt that lost, and is run again
wait       in the queue of a block, before the transaction begins to change it`

// row is a label, a value, and a graph of the last values.
func row(label, value string, values []float64, width int) string {
	line := fmt.Sprintf("%-19s %12s", label, value)
	if values == nil {
		return line
	}
	return line + "  " + styleSpark.Render(spark(values, min(historySize, width-35)))
}

// values takes a figure of each point. Points without rates have none.
func (h History) values(of func(*Point) float64) []float64 {
	out := make([]float64, len(h))
	for i := range h {
		out[i] = of(&h[i])
	}
	return out
}

// rates takes a rate of each point, -1 where there is none.
func (h History) rates(of func(*Rates) float64) []float64 {
	return h.values(func(p *Point) float64 {
		if p.Rates.Seconds == 0 {
			return -1
		}
		return of(&p.Rates)
	})
}

// rateRow is a row of a rate.
func (h History) rateRow(label string, width int, of func(*Rates) float64) string {
	value := none
	if now := h.now(); now.Seconds > 0 {
		value = figure(of(&now))
	}
	return row(label, value, h.rates(of), width)
}
