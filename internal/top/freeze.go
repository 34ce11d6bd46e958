package top

import (
	"fmt"
	"os"
	"path/filepath"

	tea "charm.land/bubbletea/v2"

	"github.com/varvefs/varve/internal/output"
)

// frozenMsg says where a sample was frozen, or why not.
type frozenMsg string

// frozen is the document of a frozen sample.
type frozen struct {
	SchemaVersion int    `json:"schema_version"`
	Source        string `json:"source"`
	Point
}

// freeze writes a sample to a new file in a directory.
func freeze(dir, source string, p Point) tea.Cmd {
	return func() tea.Msg {
		path, err := writeFrozen(dir, frozen{output.SchemaVersion, source, p})
		if err != nil {
			return frozenMsg(printable(fmt.Sprintf("not frozen: %v", err)))
		}
		return frozenMsg(printable("frozen: " + path))
	}
}

func writeFrozen(dir string, doc frozen) (path string, err error) {
	path = dir + string(filepath.Separator) + "varve-top-" + doc.Time.Format("20060102-150405.000") + ".json"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	err = output.WriteJSON(f, doc)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return path, err
}
