package top

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"charm.land/bubbles/v2/help"
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// sampleEvery is the time between two samples of the pages.
const sampleEvery = 250 * time.Millisecond

type page int

const (
	pageRates page = iota
	pageDurability
	pageHot
	pagePolicy
	pages
)

var pageNames = [pages]string{"rates", "durability", "hot blocks", "policy"}

// Model is the state of the pages. It follows tea.Model.
type Model struct {
	name string
	ask  tea.Cmd // gives a *Sample or an error
	dir  string  // of frozen samples

	width, height int
	page          page
	live          History
	shown         History // the same, but while paused
	paused        bool
	showHelp      bool
	filtering     bool // keys are the text of a filter
	message       string
	operations    *grid
	hot           *grid
	help          help.Model
	err           error
}

// New is the model of a source. Samples are frozen in a directory.
func New(ctx context.Context, src Source, dir string) *Model {
	ask := func() tea.Msg {
		s, err := src.Ask(ctx)
		if err != nil {
			return err
		}
		return s
	}
	return &Model{name: printable(src.Name), ask: ask, dir: dir, help: newHelp(), width: 80, height: 24,
		operations: newGrid(2, column{"operation", 0, false}, column{"now/s", 8, true}, column{"done", 10, true},
			column{"failed", 8, true}, column{"merged", 8, true}, column{"aborts", 8, true}, column{"waited", 9, true}),
		hot: newGrid(2, column{"block", 12, true}, column{"what", 0, false}, column{"conflicts", 11, true},
			column{"last 30 s", 10, true}),
	}
}

// Err is why the pages ended, nil where a key ended them.
func (m *Model) Err() error { return m.err }

// Init follows tea.Model.
func (m *Model) Init() tea.Cmd {
	if len(m.live) > 0 {
		return nextSample()
	}
	return m.ask
}

type tickMsg struct{}

// nextSample waits until it is time for one.
func nextSample() tea.Cmd { return tea.Tick(sampleEvery, func(time.Time) tea.Msg { return tickMsg{} }) }

// Update follows tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tickMsg:
		return m, m.ask
	case *Sample:
		m.live = m.live.Add(msg)
		if !m.paused {
			m.show()
		}
		return m, nextSample()
	case frozenMsg:
		m.message = string(msg)
	case error:
		m.err = msg
		return m, tea.Quit
	case tea.KeyPressMsg:
		if m.filtering && !key.Matches(msg, ctrlC) {
			m.editFilter(msg)
			return m, nil
		}
		return m, m.press(msg)
	}
	return m, nil
}

// ctrlC ends a filter's input, too.
var ctrlC = key.NewBinding(key.WithKeys("ctrl+c"))

// show brings the tables up to date.
func (m *Model) show() {
	m.shown = m.live
	m.operations.set(operationRows(m.shown))
	m.hot.set(hotRows(m.shown))
}

// grid is the table of the page that is shown, nil where it has none.
func (m *Model) grid() *grid {
	switch m.page {
	case pageRates:
		return m.operations
	case pageHot:
		return m.hot
	}
	return nil
}

func (m *Model) press(msg tea.KeyPressMsg) tea.Cmd {
	m.message = ""
	g := m.grid()
	switch {
	case key.Matches(msg, keyQuit):
		return tea.Quit
	case key.Matches(msg, keyHelp):
		m.showHelp = !m.showHelp
	case key.Matches(msg, keyPages):
		m.page, m.showHelp = page(msg.Code-'1'), false
	case key.Matches(msg, keyNext):
		m.page = (m.page + 1) % pages
	case key.Matches(msg, keyBack):
		m.page = (m.page + pages - 1) % pages
	case key.Matches(msg, keyPause):
		if m.paused = !m.paused; !m.paused {
			m.show()
		}
	case key.Matches(msg, keyFreeze):
		if p := m.shown.Last(); p != nil {
			return freeze(m.dir, m.name, *p)
		}
	case g == nil:
	case key.Matches(msg, keySort):
		g.sortNext()
	case key.Matches(msg, keyReverse):
		g.turn()
	case key.Matches(msg, keyFilter):
		m.filtering = true
	case key.Matches(msg, keyClear):
		g.setFilter("")
	default:
		g.move(msg)
	}
	return nil
}

// editFilter takes a key while a filter is typed.
func (m *Model) editFilter(msg tea.KeyPressMsg) {
	g := m.grid()
	switch msg.String() {
	case "enter":
		m.filtering = false
	case "esc":
		m.filtering = false
		g.setFilter("")
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(g.filter)
		g.setFilter(g.filter[:len(g.filter)-n])
	default:
		if msg.Text != "" && len(g.filter) < 40 {
			g.setFilter(g.filter + strings.ToValidUTF8(msg.Text, ""))
		}
	}
}
