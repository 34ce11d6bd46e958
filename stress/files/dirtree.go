package files

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DirTree reads the tree below a directory, as State has it, without lost+found.
func DirTree(dir string) (State, error) {
	s := State{"": {Kind: 'd'}}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, dir)
		switch {
		case err != nil:
			return err
		case rel == "":
			return nil
		case rel == "/lost+found":
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		n := &Node{ID: int(st.Ino), Kind: 'f', Links: int(st.Nlink), Mode: uint16(st.Mode &^ unix.S_IFMT), Owner: st.Uid}
		switch {
		case e.IsDir():
			n.Kind = 'd'
		case e.Type()&fs.ModeSymlink != 0:
			n.Kind = 'l'
			target, err := os.Readlink(path)
			n.Data = []byte(target)
			s[rel] = n
			return err
		default:
			if n.Data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		s[rel] = n
		return n.readXattrs(path)
	})
	return s, err
}

func (n *Node) readXattrs(path string) error {
	names := make([]byte, 64<<10)
	k, err := unix.Llistxattr(path, names)
	if err != nil || k == 0 {
		return err
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:k]), "\x00"), "\x00") {
		v, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return err
		}
		if n.Xattrs == nil {
			n.Xattrs = map[string]string{}
		}
		n.Xattrs[name] = string(value[:v])
	}
	return nil
}
