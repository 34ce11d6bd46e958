package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// TestStat shows a symlink, or what it leads to.
func TestStat(t *testing.T) {
	image := smallImage(t)
	checkCommands(t, []commandCase{
		{[]string{"stat", image, "/link"}, exitOK, "Target:", ""},
		{[]string{"stat", image, "/hello"}, exitOK, "13 bytes", ""},
		{[]string{"stat", image, "/"}, exitOK, "2 (generation 0)", ""},
		{[]string{"stat", image, "/none"}, exitNotFound, "", "does not exist"},
		{[]string{"stat", image}, exitUsage, "", "usage: varve stat IMAGE PATH"},
	})
	if r := command(t, "stat", "-L", image, "/link"); !strings.Contains(r.Stdout, "Type:      file") {
		t.Errorf("-L: %+v", r)
	}
}

// TestStat_Kernel compares with stat(2) and getxattr(2) on the kernel's mount.
func TestStat_Kernel(t *testing.T) {
	oracle.NeedRoot(t)
	image := rwImage(t, "16M")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	path := filepath.Join(dir, "file")
	fatal(t, os.WriteFile(path, make([]byte, 5000), 0o640))
	fatal(t, os.Chown(path, 1000, 1001))
	fatal(t, os.Link(path, filepath.Join(dir, "other")))
	fatal(t, unix.Setxattr(path, "user.colour", []byte("green"), 0))
	oracle.MustRun(t, "setfacl", "-m", "u:1000:r", path)
	var want unix.Stat_t
	fatal(t, unix.Stat(path, &want))
	unmount()
	var got struct {
		Version int `json:"schema_version"`
		node
	}
	parseJSON(t, &got, "stat", "--json", image, "/file")
	if got.Version != 1 || uint64(got.Inode) != want.Ino || got.UID != want.Uid || got.GID != want.Gid ||
		got.Size != uint64(want.Size) || got.Blocks != uint64(want.Blocks) ||
		uint64(got.Links) != uint64(want.Nlink) || got.Type != "file" {
		t.Errorf("%+v, by the kernel %+v", got.node, want)
	}
	if at := time.Unix(want.Mtim.Unix()); !got.Mtime.Equal(at) || got.Crtime == nil {
		t.Errorf("times %v, %v; by the kernel %v", got.Mtime, got.Crtime, at)
	}
	if string(got.Xattrs["user.colour"]) != "green" {
		t.Errorf("attributes: %q", got.Xattrs)
	}
	text := command(t, "stat", image, "/file").Stdout
	for _, want := range []string{`user.colour = "green"`, "user::rw-,user:1000:r--,group::r--,mask::r--,other::---",
		"1000:1001"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
