package top

import (
	"charm.land/bubbles/v2/help"
	"charm.land/bubbles/v2/table"
	"charm.land/lipgloss/v2"
)

// Styles use the 16 colours that each terminal has, as its user chose them. bubbletea leaves them out where the
// terminal has none, and with NO_COLOR.
var (
	styleTitle   = lipgloss.NewStyle().Bold(true)
	stylePage    = lipgloss.NewStyle().Reverse(true)
	styleSpark   = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	styleLess    = lipgloss.NewStyle().Faint(true)
	styleMessage = lipgloss.NewStyle().Foreground(lipgloss.Green)
	styleWarning = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)

	cellStyle   = lipgloss.NewStyle().PaddingRight(1)
	tableStyles = table.Styles{Header: cellStyle.Bold(true), Cell: cellStyle, Selected: lipgloss.NewStyle().Reverse(true)}
)

func newHelp() help.Model {
	h := help.New()
	h.Styles = help.Styles{ShortDesc: styleLess, FullDesc: styleLess, ShortSeparator: styleLess,
		FullSeparator: styleLess, Ellipsis: styleLess, ShortKey: styleTitle, FullKey: styleTitle}
	return h
}
