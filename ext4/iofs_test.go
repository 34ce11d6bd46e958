package ext4

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"strings"
	"testing"
	"testing/fstest"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// filledFS is a file system with files, directories and a symlink, and with special in it one of each other kind, too.
func filledFS(t *testing.T, special bool) *FS {
	m := openMem(t, "1k")
	m.mkfile(Root, "small", []byte("contents"))
	m.mkfile(Root, "empty", nil)
	deep := m.mkdir(m.mkdir(Root, "dir"), "deep")
	m.mkfile(deep, "large", bytes.Repeat([]byte("0123456789abcdef"), 5000))
	m.make(Root, "link", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: "dir/deep/large"})
	if special {
		m.addSpecial()
	}
	m.check()
	return m.sealed()
}

func (m *memFS) addSpecial() {
	m.make(Root, "dangling", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("n/", 100)})
	m.make(Root, "fifo", CreateOptions{Mode: disk.ModeFIFO | 0o600})
	m.make(Root, "device", CreateOptions{Mode: disk.ModeChar | 0o600, Major: 1, Minor: 3})
}

// TestIOFS: the view keeps all the promises of io/fs, as testing/fstest checks them, also below a directory.
func TestIOFS(t *testing.T) {
	v := filledFS(t, false).IOFS()
	if err := fstest.TestFS(v, "small", "empty", "dir/deep/large"); err != nil {
		t.Error(err)
	}
	sub, err := v.Sub("dir")
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(sub, "deep/large"); err != nil {
		t.Error(err)
	}
	if got, err := iofs.ReadFile(v, "link"); err != nil || len(got) != 80000 {
		t.Errorf("by the symlink: %d bytes, %v", len(got), err)
	}
	if got, err := v.ReadLink("link"); err != nil || got != "dir/deep/large" {
		t.Errorf("a symlink to %q, %v", got, err)
	}
}

// TestIOFS_Kinds: how files of each kind are described.
func TestIOFS_Kinds(t *testing.T) {
	v := filledFS(t, true).IOFS()
	for name, want := range map[string]iofs.FileMode{
		"small":  0o644,
		"dir":    iofs.ModeDir | 0o755,
		"link":   iofs.ModeSymlink | 0o777,
		"fifo":   iofs.ModeNamedPipe | 0o600,
		"device": iofs.ModeDevice | iofs.ModeCharDevice | 0o600,
	} {
		info, err := v.Lstat(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.Mode().Type() != want.Type() || info.IsDir() != want.IsDir() || info.Name() != name {
			t.Errorf("%s is %v, expected %v", name, info, want)
		}
		n, ok := info.Sys().(*Inode)
		if !ok || FileMode(n.Mode) != info.Mode() {
			t.Errorf("%s: its inode is %v", name, info.Sys())
		}
	}
}

// TestIOFS_Errors: each refusal is a PathError of its operation, and answers to the errors of io/fs as well as to ours.
func TestIOFS_Errors(t *testing.T) {
	v := filledFS(t, true).IOFS()
	for _, c := range []struct {
		op, name string
		do       func(name string) error
		standard error
		own      error
	}{
		{"open", "none", func(n string) error { _, err := v.Open(n); return err }, iofs.ErrNotExist, ErrNotExist},
		{"open", "/small", func(n string) error { _, err := v.Open(n); return err }, iofs.ErrInvalid, nil},
		{"open", "small/x", func(n string) error { _, err := v.Open(n); return err }, iofs.ErrNotExist, ErrNotDir},
		{"open", "dangling", func(n string) error { _, err := v.Open(n); return err }, iofs.ErrNotExist, ErrNotExist},
		{"stat", strings.Repeat("n", 256), func(n string) error { _, err := v.Stat(n); return err },
			iofs.ErrNotExist, ErrTooLong},
		{"lstat", "..", func(n string) error { _, err := v.Lstat(n); return err }, iofs.ErrInvalid, nil},
		{"readlink", "small", func(n string) error { _, err := v.ReadLink(n); return err }, iofs.ErrInvalid, nil},
		{"readlink", "none", func(n string) error { _, err := v.ReadLink(n); return err }, iofs.ErrNotExist, ErrNotExist},
		{"readdir", "small", func(n string) error { _, err := v.ReadDir(n); return err }, nil, ErrNotDir},
		{"sub", "small", func(n string) error { _, err := v.Sub(n); return err }, iofs.ErrNotExist, ErrNotDir},
		{"read", "dir", func(n string) error { _, err := v.ReadFile(n); return err }, nil, nil},
	} {
		err := c.do(c.name)
		var path *iofs.PathError
		if !errors.As(err, &path) || path.Op != c.op {
			t.Errorf("%s %.20s: %v", c.op, c.name, err)
			continue
		}
		if c.standard != nil && !errors.Is(err, c.standard) || c.own != nil && !errors.Is(err, c.own) {
			t.Errorf("%s %.20s: %v, expected %v and %v", c.op, c.name, err, c.standard, c.own)
		}
	}
}
