package volume_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestLinks_Most does steps at the greatest numbers of links, with directories that may have more of them and others,
// and the kernel does the same: errors, and the links after each step.
func TestLinks_Most(t *testing.T) {
	oracle.NeedRoot(t)
	oracle.Need(t, "debugfs")
	for name, c := range map[string]struct {
		features string
		files    int
	}{
		"countless":    {"dir_nlink", 30},
		"no dir_nlink": {"^dir_nlink", 30},
		"no tree":      {"dir_nlink", 0},
		"no dir_index": {"dir_nlink,^dir_index", 30},
	} {
		t.Run(name, func(t *testing.T) {
			path := mkfs(t, "16M", "-t", "ext4", "-b", "1024", "-O", c.features)
			fillLinks(t, path, c.files)
			other := oracle.Copy(t, path)
			ours := linksOfVarve(t, path)
			theirs := linksOfKernel(t, other)
			if !slices.Equal(ours, theirs) {
				for i := range ours {
					t.Errorf("varve: %s; the kernel: %s", ours[i], theirs[i])
				}
			}
		})
	}
}

// linkSteps are link, mkdir, rename (replacing or not), exchange and rmdir, by two names.
var linkSteps = []string{
	"link f f1", "link f f2", "mkdir d/s1", "mkdir d/s2", "mkdir d/s3", "rename o/a d/n", "rename o/b d/s1",
	"exchange o/c d/s2", "exchange o/f d/s2", "exchange o/e d/f", "exchange o/g d/e", "rename o/h d/n2", "rmdir d/s1",
	"rename d/s2 o/n", "mkdir d/s4", "mkdir d/s5", "rename d/s4 d/s5", "mkdir d/s6", "mkdir d/s7",
}

// fillLinks makes the directories d and o, and has d and the file f say that they have nearly as many links as can be.
func fillLinks(t *testing.T, path string, files int) {
	t.Helper()
	w := open(t, path, volume.WriteOptions{})
	d, o := mkdir(t, w, ext4.Root, "d"), mkdir(t, w, ext4.Root, "o")
	mkfile(t, w, ext4.Root, "f", nil)
	mkfile(t, w, o, "f", nil)
	mkfile(t, w, d, "f", nil)
	mkfile(t, w, d, "e", nil)
	for _, name := range []string{"a", "b", "c", "e", "g", "h"} {
		mkdir(t, w, o, name)
	}
	for i := range files {
		mkfile(t, w, d, fmt.Sprint(strings.Repeat("n", 200), i), nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "debugfs", "-w", "-R", "set_inode_field d links_count 64998", path)
	oracle.MustRun(t, "debugfs", "-w", "-R", "set_inode_field f links_count 64999", path)
}

func linksOfKernel(t *testing.T, path string) (out []string) {
	t.Helper()
	dir, unmount := oracle.MountKernel(t, path, "rw")
	defer unmount()
	for _, step := range linkSteps {
		args := strings.Fields(step)
		var err error
		a := filepath.Join(dir, args[1])
		b := filepath.Join(dir, args[len(args)-1])
		switch args[0] {
		case "link":
			err = unix.Link(a, b)
		case "mkdir":
			err = unix.Mkdir(a, 0o755)
		case "rmdir":
			err = unix.Rmdir(a)
		case "rename":
			err = unix.Rename(a, b)
		case "exchange":
			err = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
		}
		var links []uint64
		for _, name := range []string{"f", "d", "o"} {
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(dir, name), &st); err != nil {
				t.Fatal(err)
			}
			links = append(links, uint64(st.Nlink))
		}
		out = append(out, fmt.Sprint(step, " ", err == nil, errors.Is(err, unix.EMLINK), links))
	}
	return out
}

func linksOfVarve(t *testing.T, path string) (out []string) {
	t.Helper()
	w := open(t, path, volume.WriteOptions{})
	node := func(name string) ext4.Node {
		n, err := statPath(w, name)
		if err != nil {
			t.Fatal(err)
		}
		return ext4.NodeOf(&n)
	}
	in := func(name string) (ext4.Node, string) { return node(filepath.Dir(name)), filepath.Base(name) }
	for _, step := range linkSteps {
		args := strings.Fields(step)
		from, a := in(args[1])
		to, b := in(args[len(args)-1])
		var err error
		switch args[0] {
		case "link":
			_, err = w.Link(root, node(args[1]), to, b)
		case "mkdir":
			_, err = w.Create(root, from, a, ext4.CreateOptions{Mode: disk.ModeDir | 0o755})
		case "rmdir":
			err = w.EvictRemoved(w.Rmdir(root, from, a))
		case "rename":
			err = w.EvictRemoved(w.Rename(root, from, a, to, b, 0))
		case "exchange":
			_, err = w.Rename(root, from, a, to, b, ext4.RenameExchange)
		}
		var links []uint64
		for _, name := range []string{"f", "d", "o"} {
			n, err := statPath(w, name)
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, uint64(n.Links))
		}
		out = append(out, fmt.Sprint(step, " ", err == nil, errors.Is(err, ext4.ErrManyLinks), links))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// statPath is the inode of a path, as the newest snapshot has it.
func statPath(w *volume.Writable, path string) (out ext4.Inode, err error) {
	err = w.View(func(fs *ext4.FS) error {
		n, err := fs.Resolve(path, false)
		if err == nil {
			out = *n
		}
		return err
	})
	return out, err
}
