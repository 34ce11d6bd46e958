package oracle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
)

// Node is the compared part of a file: all results of stat(2), listxattr(2), readlink(2) and read(2).
type Node struct {
	Mode                uint32
	UID, GID            uint32
	Size, Blocks        uint64
	Links               uint64
	Rdev                uint64
	Atime, Mtime, Ctime string
	Xattrs              string
	Target              string
	SHA256              string
}

// Manifest has a Node for each path, "." for the root.
type Manifest map[string]Node

// Compare fails the test for each path at which the manifests differ. skip names fields that are not compared.
func Compare(t testing.TB, wantName string, want Manifest, gotName string, got Manifest, skip ...string) {
	t.Helper()
	shown := 0
	for _, path := range slices.Sorted(maps.Keys(union(want, got))) {
		w, inWant := want[path]
		g, inGot := got[path]
		for _, field := range skip {
			blank(&w, field)
			blank(&g, field)
		}
		if inWant && inGot && w == g {
			continue
		}
		if shown++; shown > 5 {
			t.Fatalf("and more")
		}
		switch {
		case !inGot:
			t.Errorf("%s: in %s, not in %s", path, wantName, gotName)
		case !inWant:
			t.Errorf("%s: in %s, not in %s", path, gotName, wantName)
		default:
			t.Errorf("%s:\n%8s: %+v\n%8s: %+v", path, wantName, w, gotName, g)
		}
	}
	if len(want) == 0 {
		t.Errorf("%s is empty", wantName)
	}
}

func union(a, b Manifest) map[string]bool {
	out := map[string]bool{}
	for p := range a {
		out[p] = true
	}
	for p := range b {
		out[p] = true
	}
	return out
}

func blank(n *Node, field string) {
	switch field {
	case "blocks":
		n.Blocks = 0
	case "times":
		n.Atime, n.Mtime, n.Ctime = "", "", ""
	case "ctime":
		n.Ctime = ""
	case "xattrs":
		n.Xattrs = ""
	case "contents":
		n.SHA256 = ""
	default:
		panic("no such field: " + field)
	}
}

// Kept is a manifest without what a copy of a tree does not keep: times of access and change, blocks, and the sizes and
// links of directories. It changes m.
func Kept(m Manifest) Manifest {
	for p, n := range m {
		if n.Mode&unix.S_IFMT == unix.S_IFDIR {
			n.Size, n.Links = 0, 0
		}
		n.Atime, n.Ctime, n.Blocks = "", "", 0
		m[p] = n
	}
	return m
}

// Tree reads a mounted tree.
func Tree(t testing.TB, root string) Manifest {
	t.Helper()
	m, failed := TreeOf(root)
	for path, err := range failed {
		t.Fatalf("walk %s: %s: %v", root, path, err)
	}
	return m
}

// TreeOf reads what can be read of a mounted tree, and returns the errors of the rest by path.
func TreeOf(root string) (m Manifest, failed map[string]error) {
	m, failed = Manifest{}, map[string]error{}
	_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		n, nodeErr := nodeOf(path)
		if err = errors.Join(err, nodeErr); err != nil {
			failed[rel] = err
			return nil
		}
		m[rel] = n
		return nil
	})
	return m, failed
}

func nodeOf(path string) (Node, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Node{}, err
	}
	n := Node{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: uint64(st.Size), Blocks: uint64(st.Blocks), Links: uint64(st.Nlink),
		Atime: stamp(st.Atim.Sec, st.Atim.Nsec), Mtime: stamp(st.Mtim.Sec, st.Mtim.Nsec), Ctime: stamp(st.Ctim.Sec,
			st.Ctim.Nsec),
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR || st.Mode&unix.S_IFMT == unix.S_IFBLK {
		n.Rdev = st.Rdev
	}
	var err error
	if n.Xattrs, err = xattrsOf(path); err != nil {
		return n, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		n.Target, err = os.Readlink(path)
	case unix.S_IFREG:
		n.SHA256, err = hashFile(path)
	}
	return n, err
}

func stamp(sec, nsec int64) string { return fmt.Sprintf("%d.%09d", sec, nsec) }

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return hash(f)
}

func hash(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func xattrsOf(path string) (string, error) {
	size, err := unix.Llistxattr(path, nil)
	if err != nil {
		return "", fmt.Errorf("list the attributes of %s: %w", path, err)
	}
	names := make([]byte, size)
	if size, err = unix.Llistxattr(path, names); err != nil {
		return "", err
	}
	var out []string
	for _, name := range strings.Split(strings.TrimSuffix(string(names[:size]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("get %s of %s: %w", name, path, err)
		}
		out = append(out, fmt.Sprintf("%s=%x", name, value[:n]))
	}
	return joinSorted(out), nil
}

// joinSorted keeps long values readable in messages.
func joinSorted(items []string) string {
	sort.Strings(items)
	s := strings.Join(items, " ")
	if len(s) > 400 {
		sum := sha256.Sum256([]byte(s))
		s = s[:300] + "..." + hex.EncodeToString(sum[:])
	}
	return s
}

// View reads a tree through the ext4 API, without a mount.
func View(t testing.TB, fsys *ext4.FS) Manifest {
	t.Helper()
	m, failed := ViewOf(fsys)
	for path, err := range failed {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

// ViewOf reads what can be read of a tree through the ext4 API, and returns the errors of the rest by path.
func ViewOf(fsys *ext4.FS) (m Manifest, failed map[string]error) {
	m, failed = Manifest{}, map[string]error{}
	root, err := fsys.Inode(ext4.RootIno)
	if err != nil {
		failed["."] = err
		return m, failed
	}
	view(m, failed, ".", root)
	return m, failed
}

func view(m Manifest, failed map[string]error, path string, n *ext4.Inode) {
	node, err := viewNode(n)
	if err != nil {
		failed[path] = err
	} else {
		m[path] = node
	}
	if !n.IsDir() {
		return
	}
	var names []string
	err = n.ReadDir(0, func(e ext4.Dirent) bool {
		names = append(names, string(e.Name))
		return true
	})
	if err != nil {
		failed[path] = err
	}
	for _, name := range names {
		if name == "." || name == ".." {
			continue
		}
		child, err := n.Lookup(name)
		if err != nil {
			failed[filepath.Join(path, name)] = err
			continue
		}
		view(m, failed, filepath.Join(path, name), child)
	}
}

func viewNode(n *ext4.Inode) (Node, error) {
	out := Node{
		Mode: uint32(n.Mode), UID: n.UID, GID: n.GID, Size: n.StatSize(), Blocks: n.StatBlocks(), Links: uint64(n.Links),
		Atime: stamp(n.Atime.Unix(), int64(n.Atime.Nanosecond())), Mtime: stamp(n.Mtime.Unix(), int64(n.Mtime.Nanosecond())),
		Ctime: stamp(n.Ctime.Unix(), int64(n.Ctime.Nanosecond())),
	}
	if n.IsDevice() {
		out.Rdev = unix.Mkdev(n.Device())
	}
	attrs, err := n.Xattrs()
	if err != nil {
		return out, err
	}
	var items []string
	for i := range attrs {
		value, err := attrs[i].Value()
		if err != nil {
			return out, err
		}
		items = append(items, fmt.Sprintf("%s=%x", attrs[i].Name, value))
	}
	out.Xattrs = joinSorted(items)
	switch {
	case n.IsSymlink():
		out.Target, err = n.Readlink()
	case n.IsRegular():
		out.SHA256, err = hash(io.NewSectionReader(n, 0, int64(n.Size)))
	}
	return out, err
}

// HashFile returns a file's SHA-256.
func HashFile(t testing.TB, path string) string {
	t.Helper()
	sum, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
