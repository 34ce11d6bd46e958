package demo

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// TestDemo runs the whole demo by the real program.
func TestDemo(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	var out bytes.Buffer
	d := Demo{Program: program.Path(t), Dir: t.TempDir(), Out: &out}
	if err := d.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"a write is refused", "the image is as it was", "policy merge",
		"every acknowledged file is there", "e2fsck -fn finds nothing wrong", "done in"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if d.files != 2000 || d.links != 40 {
		t.Errorf("%d files and %d symlinks were compared", d.files, d.links)
	}
	if left := program.DaemonsOf(t, d.path("mnt")); len(left) != 0 {
		t.Errorf("%v still runs", left)
	}
}

// trees makes a source and a copy of it, as a mount would show it.
func trees(t *testing.T) *Demo {
	t.Helper()
	d := &Demo{Dir: t.TempDir(), Out: io.Discard}
	for _, top := range []string{"source", "mnt"} {
		if err := os.MkdirAll(filepath.Join(d.path(top), "dir"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.path(top), "dir/file"), []byte("contents"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("file", filepath.Join(d.path(top), "dir/link")); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestCompareTrees_Rejects: a mount that differs in a byte, a target or a name is rejected.
func TestCompareTrees_Rejects(t *testing.T) {
	d := trees(t)
	if err := d.compareTrees(); err != nil || d.files != 1 || d.links != 1 || d.bytes != 8 {
		t.Fatalf("equal trees: %v, %+v", err, d)
	}
	for what, damage := range map[string]func(dir string) error{
		"a byte":       func(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), []byte("Contents"), 0o644) },
		"a length":     func(dir string) error { return os.Truncate(filepath.Join(dir, "file"), 3) },
		"a lost file":  func(dir string) error { return os.Remove(filepath.Join(dir, "file")) },
		"an own file":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "more"), nil, 0o644) },
		"a lost link":  func(dir string) error { return os.Remove(filepath.Join(dir, "link")) },
		"a wrong link": func(dir string) error { return replaceLink(filepath.Join(dir, "link")) },
	} {
		d := trees(t)
		if err := damage(filepath.Join(d.path("mnt"), "dir")); err != nil {
			t.Fatal(err)
		}
		if err := d.compareTrees(); err == nil {
			t.Errorf("%s: the trees count as equal", what)
		}
	}
}

func replaceLink(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink("elsewhere", path)
}
