package top

import "charm.land/bubbles/v2/key"

var (
	keyQuit    = key.NewBinding(key.WithKeys("q", "ctrl+c"), key.WithHelp("q", "quit"))
	keyHelp    = key.NewBinding(key.WithKeys("?"), key.WithHelp("?", "help"))
	keyPages   = key.NewBinding(key.WithKeys("1", "2", "3", "4"), key.WithHelp("1-4", "page"))
	keyNext    = key.NewBinding(key.WithKeys("tab"), key.WithHelp("tab", "next page"))
	keyBack    = key.NewBinding(key.WithKeys("shift+tab"), key.WithHelp("shift+tab", "page before"))
	keyPause   = key.NewBinding(key.WithKeys("space"), key.WithHelp("space", "pause"))
	keyFreeze  = key.NewBinding(key.WithKeys("f"), key.WithHelp("f", "freeze"))
	keySort    = key.NewBinding(key.WithKeys("s"), key.WithHelp("s", "sort"))
	keyReverse = key.NewBinding(key.WithKeys("r"), key.WithHelp("r", "reverse"))
	keyFilter  = key.NewBinding(key.WithKeys("/"), key.WithHelp("/", "filter"))
	keyClear   = key.NewBinding(key.WithKeys("esc"), key.WithHelp("esc", "no filter"))
	keyUp      = key.NewBinding(key.WithKeys("up", "k"), key.WithHelp("up/k", "row above"))
	keyDown    = key.NewBinding(key.WithKeys("down", "j"), key.WithHelp("down/j", "row below"))
)

// keyMap is what help shows.
type keyMap struct{}

// ShortHelp follows help.KeyMap.
func (keyMap) ShortHelp() []key.Binding {
	return []key.Binding{keyPages, keyPause, keyFreeze, keySort, keyFilter, keyHelp, keyQuit}
}

// FullHelp follows help.KeyMap.
func (keyMap) FullHelp() [][]key.Binding {
	return [][]key.Binding{
		{keyPages, keyNext, keyBack, keyPause, keyFreeze, keyHelp, keyQuit},
		{keySort, keyReverse, keyFilter, keyClear, keyUp, keyDown},
	}
}
