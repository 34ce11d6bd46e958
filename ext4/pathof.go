package ext4

import (
	"fmt"
	"path"
	"slices"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// maxDepth bounds the directories above an inode: damage may make a loop of them.
const maxDepth = 10_000

// PathOf is the path of a directory. Its names are looked for in the directories above, entry by entry.
func (fs *FS) PathOf(dir Ino) (string, error) {
	var names []string
	for at := dir; at != RootIno; {
		n, err := fs.Inode(at)
		if err != nil {
			return "", err
		}
		if !n.IsDir() {
			return "", fmt.Errorf("inode %d: %w", at, ErrNotDir)
		}
		parent, err := n.Lookup("..")
		if err != nil {
			return "", fmt.Errorf("inode %d: %w", at, err)
		}
		name, err := parent.NameOf(at)
		if err != nil {
			return "", err
		}
		if names = append(names, name); len(names) > maxDepth {
			return "", fmt.Errorf("inode %d: more than %d directories above it: %w", dir, maxDepth, ErrLoop)
		}
		at = parent.Ino
	}
	slices.Reverse(names)
	return "/" + path.Join(names...), nil
}

// NameOf is a name of an inode in a directory.
func (n *Inode) NameOf(child Ino) (name string, err error) {
	err = n.ReadDir(0, func(d Dirent) bool {
		if d.Ino == child && !d.dots() {
			name = string(d.Name)
		}
		return name == ""
	})
	if err == nil && name == "" {
		err = fmt.Errorf("inode %d in directory %d: %w", child, n.Ino, ErrNotExist)
	}
	return name, err
}

// dots reports whether an entry is that of the directory itself, or of its parent.
func (d *Dirent) dots() bool { return string(d.Name) == "." || string(d.Name) == ".." }

// FindPaths looks for a path of each of some inodes in the whole tree, directories first by breadth, until each has one
// or visit of so many directories is done. Directories that cannot be read are passed over.
func (fs *FS) FindPaths(inodes []Ino, directories int) map[Ino]string {
	want := make(map[Ino]bool, len(inodes))
	for _, ino := range inodes {
		want[ino] = true
	}
	found := make(map[Ino]string, len(want))
	if want[RootIno] {
		found[RootIno] = "/"
	}
	type place struct {
		ino  Ino
		path string
	}
	seen := map[Ino]bool{RootIno: true}
	for queue := []place{{RootIno, "/"}}; len(queue) > 0 && len(found) < len(want) && directories > 0; directories-- {
		at := queue[0]
		queue = queue[1:]
		n, err := fs.Inode(at.ino)
		if err != nil || !n.IsDir() {
			continue
		}
		_ = n.ReadDir(0, func(d Dirent) bool {
			if d.dots() {
				return true
			}
			name := path.Join(at.path, string(d.Name))
			if _, ok := found[d.Ino]; want[d.Ino] && !ok {
				found[d.Ino] = name
			}
			if (d.Type == disk.FileTypeDir || d.Type == disk.FileTypeUnknown) && !seen[d.Ino] {
				seen[d.Ino] = true
				queue = append(queue, place{d.Ino, name})
			}
			return len(found) < len(want)
		})
	}
	return found
}
