package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Same compares two trees, contents and all.
func Same(a, b State) error {
	if x, y := a.shape(), b.shape(); x != y {
		return fmt.Errorf("trees differ:\n%s\nand\n%s", onlyIn(x, y), onlyIn(y, x))
	}
	for p, n := range a {
		if !bytes.Equal(n.Data, b[p].Data) {
			return fmt.Errorf("%s differs at byte %d", p, firstDiff(n.Data, b[p].Data))
		}
	}
	return nil
}

// onlyIn lists the lines of one text that another one does not have.
func onlyIn(text, other string) string {
	has := map[string]bool{}
	for line := range strings.Lines(other) {
		has[line] = true
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !has[line] {
			b.WriteString(line)
		}
	}
	return b.String()
}

// LiveTree reads the tree of a file system that is open for writing.
func LiveTree(w *volume.Writable) (s State, err error) {
	err = w.View(func(fs *ext4.FS) error {
		s, err = Tree(fs)
		return err
	})
	return s, err
}

func imageTree(path string) (State, error) {
	v, err := volume.Open(volume.Spec{Image: path})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return Tree(v.FS)
}

// Tree reads the tree of a file system, without lost+found.
func Tree(fs *ext4.FS) (State, error) {
	root, err := fs.Inode(ext4.RootIno)
	if err != nil {
		return nil, err
	}
	s := State{"": {Kind: 'd'}}
	return s, s.read(root, "")
}

func (s State) read(dir *ext4.Inode, path string) error {
	type entry struct {
		name string
		ino  ext4.Ino
	}
	var entries []entry
	if err := dir.ReadDir(0,
		func(e ext4.Dirent) bool { entries = append(entries, entry{string(e.Name), e.Ino}); return true }); err != nil {
		return err
	}
	for _, e := range entries {
		if e.name == "." || e.name == ".." || path == "" && e.name == "lost+found" {
			continue
		}
		n, err := dir.Child(e.name, e.ino)
		if err != nil {
			return err
		}
		node, err := nodeOf(n)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", path, e.name, err)
		}
		s[path+"/"+e.name] = node
		if n.IsDir() {
			if err := s.read(n, path+"/"+e.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func nodeOf(n *ext4.Inode) (*Node, error) {
	out := &Node{ID: int(n.Ino), Kind: 'f', Links: int(n.Links), Mode: n.Mode &^ disk.ModeType, Owner: n.UID}
	attrs, err := n.Xattrs()
	if err != nil {
		return nil, err
	}
	for _, a := range attrs {
		v, err := a.Value()
		if err != nil {
			return nil, err
		}
		if out.Xattrs == nil {
			out.Xattrs = map[string]string{}
		}
		out.Xattrs[a.Name] = string(v)
	}
	switch n.Mode & disk.ModeType {
	case disk.ModeDir:
		out.Kind = 'd'
	case disk.ModeSymlink:
		out.Kind = 'l'
		target, err := n.Readlink()
		out.Data = []byte(target)
		return out, err
	default:
		out.Data = make([]byte, n.Size)
		if _, err := n.ReadAt(out.Data, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	return out, nil
}
