package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func newUtab(t *testing.T) utab {
	t.Helper()
	dir := t.TempDir()
	helper := filepath.Join(dir, "helper")
	if err := os.WriteFile(helper, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return utab{path: filepath.Join(dir, "utab"), helper: helper}
}

// TestUtab_Enter enters a mount once, and removes it and nothing else (rule 6).
func TestUtab_Enter(t *testing.T) {
	u := newUtab(t)
	other := "SRC=/x TARGET=/mnt/other ROOT=/ OPTS=uhelper=other\n"
	if err := os.WriteFile(u.path, []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	for range 2 { // the second one takes the place of the first
		if _, err := u.enter("/disk image", filepath.Join(parent, "a b")); err != nil {
			t.Fatal(err)
		}
	}
	forget, err := u.enter("/disk image", filepath.Join(parent, "a b"))
	if err != nil {
		t.Fatal(err)
	}
	want := other + `SRC=/disk\040image TARGET=` + parent + `/a\040b ROOT=/ OPTS=uhelper=fuse.varve` + "\n"
	if p, err := os.ReadFile(u.path); err != nil || string(p) != want {
		t.Errorf("%q, %v; expected %q", p, err, want)
	}
	forget()
	if p, err := os.ReadFile(u.path); err != nil || string(p) != other {
		t.Errorf("%q is left, %v; expected %q", p, err, other)
	}
}

// TestUtab_Absent: without the helper, or without libmount's folder, nothing is written.
func TestUtab_Absent(t *testing.T) {
	u := newUtab(t)
	for _, u := range []utab{{u.path, u.helper + ".missing"},
		{filepath.Join(filepath.Dir(u.path), "missing", "utab"), u.helper}} {
		forget, err := u.enter("/disk", "/mnt")
		if err != nil {
			t.Errorf("%+v: %v", u, err)
		}
		forget()
		if _, err := os.Stat(u.path); err == nil {
			t.Errorf("%s was written", u.path)
		}
	}
}

// TestUtab_Concurrent: daemons that enter their mounts at the same time lose no entry.
func TestUtab_Concurrent(t *testing.T) {
	u := newUtab(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			target := "TARGET=/mnt/" + strings.Repeat("x", i+1) + " "
			if err := u.replace(target, "SRC=/d "+target+"ROOT=/\n"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p, err := os.ReadFile(u.path); err != nil || strings.Count(string(p), "\n") != 20 {
		t.Errorf("%v\n%s", err, p)
	}
}
