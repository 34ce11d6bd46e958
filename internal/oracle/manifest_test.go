package oracle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// heard is a test that notes its failures.
type heard struct {
	testing.TB
	failures []string
}

func (h *heard) Helper() {}

func (h *heard) Errorf(format string, args ...any) {
	h.failures = append(h.failures, fmt.Sprintf(format, args...))
}

func (h *heard) Fatalf(format string, args ...any) {
	h.Errorf(format, args...)
	panic(h)
}

func compare(t *testing.T, want, got Manifest, skip ...string) (failures []string) {
	h := &heard{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(h) {
			panic(r)
		}
		failures = h.failures
	}()
	Compare(h, "kernel", want, "varve", got, skip...)
	return h.failures
}

// TestCompare_Rejects has a difference in each direction and in each field that can be skipped.
func TestCompare_Rejects(t *testing.T) {
	full := Node{Mode: 1, Size: 5, Blocks: 8, Atime: "1", Mtime: "2", Ctime: "3", Xattrs: "x", SHA256: "y"}
	base := Manifest{".": full}
	if f := compare(t, base, Manifest{".": full}); len(f) != 0 {
		t.Errorf("equal manifests: %q", f)
	}
	if f := compare(t, Manifest{}, Manifest{}); len(f) != 1 {
		t.Errorf("an empty manifest passes: %q", f)
	}
	if f := compare(t, base, Manifest{".": full, "b": full}); len(f) != 1 || !strings.Contains(f[0], "b: in varve") {
		t.Errorf("a name too many: %q", f)
	}
	if f := compare(t, Manifest{".": full, "b": full}, base); len(f) != 1 || !strings.Contains(f[0], "b: in kernel") {
		t.Errorf("a missing name: %q", f)
	}
	for field, change := range map[string]func(*Node){
		"blocks":   func(n *Node) { n.Blocks++ },
		"times":    func(n *Node) { n.Mtime = "9" },
		"ctime":    func(n *Node) { n.Ctime = "9" },
		"xattrs":   func(n *Node) { n.Xattrs = "" },
		"contents": func(n *Node) { n.SHA256 = "" },
	} {
		other := full
		change(&other)
		if f := compare(t, base, Manifest{".": other}); len(f) != 1 {
			t.Errorf("another %s passes: %q", field, f)
		}
		if f := compare(t, base, Manifest{".": other}, field); len(f) != 0 {
			t.Errorf("%s is compared although it is skipped: %q", field, f)
		}
		other.Size++
		if f := compare(t, base, Manifest{".": other}, field); len(f) != 1 {
			t.Errorf("another size passes where %s is skipped: %q", field, f)
		}
	}
	many := Manifest{}
	for i := range 20 {
		many[fmt.Sprint(i)] = full
	}
	if f := compare(t, many, base); len(f) != 6 || f[5] != "and more" {
		t.Errorf("20 differences: %q", f)
	}
}

func TestTreeOf_Files(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("abc"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	at := unix.NsecToTimespec(1_700_000_000_000_000_007)
	if err := unix.UtimesNano(filepath.Join(dir, "file"), []unix.Timespec{at, at}); err != nil {
		t.Fatal(err)
	}
	m, failed := TreeOf(dir)
	if len(m) != 3 || len(failed) != 0 {
		t.Fatalf("%v, %v", m, failed)
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if f := m["file"]; f.Mode != unix.S_IFREG|0o640 || f.Size != 3 || f.SHA256 != abc ||
		f.Mtime != "1700000000.000000007" {
		t.Errorf("file: %+v", f)
	}
	if l := m["link"]; l.Target != "file" || l.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("link: %+v", l)
	}
}

// TestJoinSorted_Long shows that values that differ late stay different in short form.
func TestJoinSorted_Long(t *testing.T) {
	if got := joinSorted([]string{"b=1", "a=2"}); got != "a=2 b=1" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("x", 500)
	one, two := joinSorted([]string{long + "1"}), joinSorted([]string{long + "2"})
	if one == two || len(one) > 400 {
		t.Errorf("%d bytes; equal: %v", len(one), one == two)
	}
}

// TestRows_Names checks the plan: names are different, so that subtests and failures name one row.
func TestRows_Names(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rows {
		if r.Name == "" || seen[r.Name] {
			t.Errorf("the row %q is there twice", r.Name)
		}
		seen[r.Name] = true
	}
}
