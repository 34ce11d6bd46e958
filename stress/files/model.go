package files

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varvefs/varve/blockcache"
)

// Node is a file, directory or symlink of a model. Its bytes are never changed in place, so that states share them.
type Node struct {
	ID     int
	Kind   byte   // 'f', 'd' or 'l'
	Data   []byte // contents, or a symlink's target
	Links  int
	Mode   uint16 // permissions
	Owner  uint32
	Xattrs map[string]string
}

// State is a tree: its nodes by path. The root is "".
type State map[string]*Node

// Model is what the file system must hold after each operation.
type Model struct {
	States []State // States[i]: after operation i; States[0] is the empty file system
	nextID int
}

// NewModel is a model of an empty file system.
func NewModel() *Model {
	return &Model{States: []State{{"": {Kind: 'd'}}}, nextID: 1}
}

// Now is the newest state.
func (m *Model) Now() State { return m.States[len(m.States)-1] }

// step adds a state: the newest one, changed.
func (m *Model) step(change func(State)) {
	s := maps.Clone(m.Now())
	change(s)
	m.States = append(m.States, s)
}

// alter gives a node's new form to all of its names.
func (s State) alter(path string, change func(*Node)) {
	old := s[path]
	n := *old
	n.Xattrs = maps.Clone(n.Xattrs)
	change(&n)
	for p, o := range s {
		if o.ID == old.ID {
			s[p] = &n
		}
	}
}

// under lists the paths below a directory.
func (s State) under(dir string) []string {
	var out []string
	for p := range s {
		if strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// remove takes a name away.
func (s State) remove(path string) {
	if s[path].Kind == 'f' && s[path].Links > 1 {
		s.alter(path, func(n *Node) { n.Links-- })
	}
	delete(s, path)
}

// paths lists what has a kind among those given.
func (s State) paths(kinds string) []string {
	var out []string
	for p, n := range s {
		if strings.IndexByte(kinds, n.Kind) >= 0 && (p != "" || kinds == "d") {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// shape is all of a state but the contents of files.
func (s State) shape() string {
	var b strings.Builder
	ids := map[int]int{}
	for _, p := range slices.Sorted(maps.Keys(s)) {
		n := s[p]
		fmt.Fprintf(&b, "%q %c", p, n.Kind)
		switch n.Kind {
		case 'f':
			if ids[n.ID] == 0 {
				ids[n.ID] = len(ids) + 1
			}
			fmt.Fprintf(&b, " %d bytes, %d links, #%d", len(n.Data), n.Links, ids[n.ID])
		case 'l':
			fmt.Fprintf(&b, " to %q", n.Data)
		}
		if p != "" {
			fmt.Fprintf(&b, " %o of %d", n.Mode, n.Owner)
		}
		for _, k := range slices.Sorted(maps.Keys(n.Xattrs)) {
			fmt.Fprintf(&b, " %s=%q", k, n.Xattrs[k])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Allows says whether a tree may be what a crash left, where the operations up to durable were promised and those up
// to now had begun: the state after one of them. If file data is not journalled, a sector that was written in place
// may also show what later operations wrote there, or what was there since the operations that were promised (W6).
func (m *Model) Allows(got State, durable, now int, journalled bool) error {
	now = min(now, len(m.States)-1)
	shape := got.shape()
	var why error
	for k := now; k >= durable; k-- {
		if m.States[k].shape() != shape {
			continue
		}
		if why = m.contents(got, durable, k, now, journalled); why == nil {
			return nil
		}
	}
	if why != nil {
		return why
	}
	return fmt.Errorf("no state from %d (durable) to %d has this tree:\n%s\nafter %d:\n%s\nafter %d:\n%s", durable, now,
		shape, durable,
		m.States[durable].shape(), now, m.States[now].shape())
}

// contents compares the files of a tree with state k.
func (m *Model) contents(got State, durable, k, now int, journalled bool) error {
	for path, n := range m.States[k] {
		if n.Kind != 'f' || bytes.Equal(got[path].Data, n.Data) {
			continue
		}
		if journalled {
			return fmt.Errorf("after operation %d, %s: contents differ at byte %d", k, path, firstDiff(got[path].Data, n.Data))
		}
		later := m.lives(n.ID, k, now)
		for i, c := range later {
			later[i] = c[:min(len(c), len(n.Data))] // what they wrote behind the end does not show
		}
		for at := 0; at < len(n.Data); at += blockcache.Sector {
			if g := sectorAt(got[path].Data, at); !allowed(g, later, at) && !allowed(g, m.before(n, durable, k, at), at) {
				return fmt.Errorf("after operation %d, %s: bytes from %d on (%.16q) were never there", k, path, at,
					sectorAt(got[path].Data, at))
			}
		}
	}
	return nil
}

func firstDiff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// lives lists the contents that a file had from operation k on.
func (m *Model) lives(id, k, now int) [][]byte {
	var out [][]byte
	for ; k <= now; k++ {
		for _, n := range m.States[k] {
			if n.ID == id {
				if len(out) == 0 || !bytes.Equal(out[len(out)-1], n.Data) {
					out = append(out, n.Data)
				}
				break
			}
		}
	}
	return out
}

// before lists the contents that a file had before operation k, back to the promised ones, as long as all that it has
// of a sector was there already: what made the file longer, or was cut off and came again, is ordered. Zeros behind a
// former end are there with the file's size; they do not depend on what is before them.
func (m *Model) before(n *Node, durable, k, at int) (out [][]byte) {
	end := min(at+blockcache.Sector, len(n.Data))
	for k--; k >= durable; k-- {
		c := m.lives(n.ID, k, k)
		if len(c) == 0 || len(c[0]) <= at {
			break
		}
		if had := len(c[0]); had < end {
			if bytes.ContainsFunc(n.Data[had:end], func(r rune) bool { return r != 0 }) {
				break
			}
			end = had
		}
		if end < min(at+blockcache.Sector, len(n.Data)) {
			out = append(out, c[0][:end])
		} else {
			out = append(out, c[0][:min(len(c[0]), len(n.Data))])
		}
	}
	return out
}

// sectorAt is a sector of a file, with zeros behind its end.
func sectorAt(p []byte, at int) []byte {
	out := make([]byte, blockcache.Sector)
	if at < len(p) {
		copy(out, p[at:])
	}
	return out
}

func allowed(got []byte, contents [][]byte, at int) bool {
	for _, c := range contents {
		if bytes.Equal(got, sectorAt(c, at)) {
			return true
		}
	}
	return false
}
