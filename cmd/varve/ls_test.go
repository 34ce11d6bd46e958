package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// TestLs lists directories, files as themselves, and what a symlink leads to.
func TestLs(t *testing.T) {
	image := smallImage(t)
	checkCommands(t, []commandCase{
		{[]string{"ls", image, "/hello"}, exitOK, "hello\n", ""},
		{[]string{"ls", image, "dir/sub/.."}, exitOK, "inner\nsub\n", ""},
		{[]string{"ls", "-l", image, "link"}, exitOK, " 13 ", ""},
		{[]string{"ls", "-la", image, "/dir"}, exitOK, "drwxr-xr-x", ""},
		{[]string{"ls", image, "/missing"}, exitNotFound, "", "does not exist"},
		{[]string{"ls", image, "/", "more"}, exitUsage, "", "usage: varve ls IMAGE [PATH]"},
	})
	r := command(t, "ls", "-l", image)
	for _, want := range []string{"lrwxrwxrwx", "link -> hello", "-rw-r--r--   1"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q in %s", want, r.Stdout)
		}
	}
	var l listing
	parseJSON(t, &l, "ls", "--json", "-a", image, "/dir")
	if len(l.Entries) != 4 || l.Path != "/dir" || l.Entries[2].Name != "inner" || l.Entries[2].Size != 6 ||
		l.Entries[3].Type != "directory" {
		t.Errorf("%+v", l)
	}
	parseJSON(t, &l, "ls", "--json", image, "/dir/sub/deep")
	if len(l.Entries) != 1 || l.Entries[0].Name != "deep" {
		t.Errorf("a file: %+v", l)
	}
}

// TestLs_Types shows each type of file as ls(1) does.
func TestLs_Types(t *testing.T) {
	oracle.NeedRoot(t)
	image := rwImage(t, "16M")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	oracle.MustRun(t, "mknod", filepath.Join(dir, "char"), "c", "5", "300")
	oracle.MustRun(t, "mknod", filepath.Join(dir, "block"), "b", "7", "1")
	oracle.MustRun(t, "mkfifo", filepath.Join(dir, "fifo"))
	fatal(t, os.WriteFile(filepath.Join(dir, "setuid"), nil, 0o644))
	oracle.MustRun(t, "chmod", "6755", filepath.Join(dir, "setuid"))
	unmount()
	out := command(t, "ls", "-l", image).Stdout
	for name, want := range map[string][2]string{"char": {"crw", "5:300"}, "block": {"brw", "7:1"},
		"fifo": {"prw", " 0 "}, "setuid": {"-rwsr-sr-x", " 0 "}} {
		found := false
		for line := range strings.Lines(out) {
			found = found ||
				strings.HasSuffix(line, " "+name+"\n") && strings.HasPrefix(line, want[0]) &&
					strings.Contains(line, want[1])
		}
		if !found {
			t.Errorf("%s is not shown by %q in\n%s", name, want, out)
		}
	}
}
