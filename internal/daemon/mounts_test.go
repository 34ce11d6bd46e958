package daemon

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEscape: what is written into the tables of mounts is what is read from them.
func TestEscape(t *testing.T) {
	for _, path := range []string{"/plain", "/with blank", "/tab\tand\nline", `/back\slash\040`} {
		escaped := escape(path)
		if strings.ContainsAny(escaped, " \t\n") || unescape(escaped) != path {
			t.Errorf("%q is written as %q, and read as %q", path, escaped, unescape(escaped))
		}
	}
	if got := unescape(`/end\04`); got != `/end\04` {
		t.Errorf("an escape that is cut short: %q", got)
	}
}

const table = `22 28 0:21 / /proc rw,nosuid - proc proc rw
40 28 0:50 / /mnt\040a rw,nosuid,nodev shared:7 master:3 - fuse.varve /disk.img rw,user_id=1000,group_id=1000
41 28 0:51 / /mnt\040a ro - fuseblk.varve /dev/loop0 ro,user_id=0
42 28 bad / /broken rw - fuse.varve x rw
short line
43 28 0:52 / /noseparator rw a b c d
`

// TestFindIn reads the kernel's table: the topmost mount counts, and lines that are none are passed over.
func TestFindIn(t *testing.T) {
	at := func(dir string) *Info { return findIn(table, func(i *Info) bool { return i.Dir == dir }) }
	if i := at("/mnt a"); i == nil || i.Type != "fuseblk.varve" || i.Dev != unix.Mkdev(0, 51) || i.Owner != 0 ||
		!i.Ours() ||
		!i.ReadOnly {
		t.Errorf("%+v", i)
	}
	i := findIn(table, func(i *Info) bool { return i.Dev == unix.Mkdev(0, 50) })
	if i == nil || i.Owner != 1000 || !i.Ours() || i.ReadOnly {
		t.Errorf("the mount below: %+v", i)
	}
	if i := at("/proc"); i == nil || i.Ours() {
		t.Errorf("%+v", i)
	}
	if i := at("/noseparator"); i == nil || i.Type != "" || i.Ours() {
		t.Errorf("%+v", i)
	}
	for _, none := range []string{"/broken", "/missing", ""} {
		if i := at(none); i != nil {
			t.Errorf("%q: %+v", none, i)
		}
	}
}

// TestFindOurs: directories that varve did not mount are refused by name, for all that asks a daemon.
func TestFindOurs(t *testing.T) {
	dir := t.TempDir()
	_, stats := AskStats(dir)
	for name, err := range map[string]error{"stats": stats, "sync": Sync(dir), "sync of /proc": Sync("/proc")} {
		if err == nil || !strings.Contains(err.Error(), "is no mount of varve's") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if i, err := FindMount("/proc"); err != nil || i == nil || i.Type != "proc" || !mounted(i.Dev) {
		t.Errorf("%+v, %v", i, err)
	}
	if mounted(unix.Mkdev(4000, 1)) {
		t.Error("a device that is mounted nowhere is mounted")
	}
}
