package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
)

// TestRW_Chattr: chattr sets the time of change, as stat(2) shows it at once, and lsattr -v shows the generation.
func TestRW_Chattr(t *testing.T) {
	oracle.Need(t, "chattr", "lsattr")
	dir, unmount := mountImage(t, rwImage(t, "16M"), "--rw")
	defer unmount()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	changed := func() unix.Timespec {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ctim
	}
	before := changed()
	time.Sleep(20 * time.Millisecond)
	oracle.MustRun(t, "chattr", "+d", path)
	if after := changed(); after.Nano() <= before.Nano() {
		t.Errorf("chattr left the time of change at %v", after)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.IoctlGetInt(int(f.Fd()), 0x80087601); err != nil { // FS_IOC_GETVERSION
		t.Errorf("the generation: %v", err)
	}
}

// TestRW_TimeOptions: the options of times and synchronous changes are heeded.
func TestRW_TimeOptions(t *testing.T) {
	dir, unmount := mountImage(t, rwImage(t, "16M"), "--rw", "-o",
		"strictatime,lazytime,sync,dirsync,errors=remount-ro")
	defer unmount()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if r := varve(t, "mount", "--rw", rwImage(t, "16M"), t.TempDir(), "-o", "errors=sometimes"); r.Code != exitUsage {
		t.Errorf("errors=sometimes: %+v", r)
	}
}

// TestRW_ChattrOnce: a request that sets flags and project is one operation.
func TestRW_ChattrOnce(t *testing.T) {
	oracle.Need(t, "chattr", "lsattr")
	dir, _ := mountImage(t, rwImage(t, "16M", "-O", "project", "-I", "256"), "--rw")
	path := filepath.Join(dir, "file")
	fatal(t, os.WriteFile(path, []byte("x"), 0o644))
	operations := func() int64 {
		m, err := daemon.AskStats(dir)
		fatal(t, err)
		for _, o := range m.Operations {
			if o.Name == "setattr" {
				return o.Done
			}
		}
		t.Fatal("no count of setattr")
		return 0
	}
	before := operations()
	oracle.MustRun(t, "chattr", "-p", "7", path)
	if got := operations() - before; got != 2 { // chattr requests FS_IOC_FSSETXATTR, then FS_IOC_SETFLAGS
		t.Errorf("%d operations, expected 2", got)
	}
	if out := oracle.MustRun(t, "lsattr", "-p", path); !strings.HasPrefix(strings.TrimSpace(out), "7 ") {
		t.Errorf("lsattr says %q", out)
	}
}
