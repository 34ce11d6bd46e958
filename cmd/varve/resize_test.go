package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// TestResize makes an image larger by each form of a size, and refuses what is none.
func TestResize(t *testing.T) {
	image := oracle.NewImage(t, 16<<20, "-b", "1024")
	checkCommands(t, []commandCase{
		{[]string{"resize"}, exitUsage, "", "usage: varve resize IMAGE [SIZE]"},
		{[]string{"resize", image, "big"}, exitUsage, "", "is no size"},
		{[]string{"resize", image, "-5"}, exitUsage, "", ""},
		{[]string{"resize", image, "0"}, exitUsage, "", "is no size"},
		{[]string{"resize", image, "8M"}, exitSystem, "", "use resize2fs"},
		{[]string{"resize", image + "x", "8M"}, exitSystem, "", "no such file"},
		{[]string{"resize", image, "99999999T"}, exitSystem, "", "invalid argument"},
		{[]string{"resize", image}, exitOK, "has already 16384 blocks of 1024 bytes", ""},
		{[]string{"resize", image, "20M"}, exitOK, "has now 20480 blocks of 1024 bytes", ""},
		{[]string{"resize", image, "24577"}, exitOK, "has now 24577 blocks", ""},
		{[]string{"resize", image, "51200s"}, exitOK, "has now 25600 blocks", ""},
		{[]string{"resize", image, "32768k"}, exitOK, "has now 32768 blocks", ""},
	})
	if err := os.Truncate(image, 48<<20); err != nil {
		t.Fatal(err)
	}
	r := command(t, "resize", "--json", image)
	var got resizeReport
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil || got.Before != 32768 || got.Blocks != 49152 {
		t.Errorf("%v: %+v", err, r)
	}
	oracle.Clean(t, image)
}

// TestResize_InUse refuses images that a mount has.
func TestResize_InUse(t *testing.T) {
	oracle.NeedFUSE(t)
	image := oracle.NewImage(t, 16<<20)
	for _, args := range [][]string{{"--rw"}, {}} {
		dir := t.TempDir()
		must(t, append(append([]string{"mount"}, args...), image, dir)...)
		if r := varve(t, "resize", image, "32M"); r.Code != exitSystem || !strings.Contains(r.Stderr, "in use") {
			t.Errorf("mounted with %v: %+v", args, r)
		}
		must(t, "umount", dir)
	}
	if os.Geteuid() == 0 {
		_, unmount := oracle.MountKernel(t, image, "ro")
		if r := varve(t, "resize", image, "32M"); r.Code != exitSystem || !strings.Contains(r.Stderr, "mounted at") {
			t.Errorf("mounted by the kernel: %+v", r)
		}
		unmount()
	}
	oracle.Clean(t, image)
}

// TestResize_Partition: a file system fills its partition, and no more.
func TestResize_Partition(t *testing.T) {
	oracle.Need(t, "sfdisk")
	inner := oracle.NewImage(t, 8<<20, "-b", "1024")
	p, err := os.ReadFile(inner)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "disk")
	whole := make([]byte, 40<<20)
	copy(whole[1<<20:], p)
	if err := os.WriteFile(image, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "sh", "-c", "printf '2048,40960,L\n' | sfdisk -q --force --no-reread --no-tell-kernel "+image)
	checkCommands(t, []commandCase{
		{[]string{"resize", "--part", "1", image, "30M"}, exitSystem, "", "make it larger first"},
		{[]string{"resize", "--part", "1", image}, exitOK, "20480 blocks", ""},
	})
	part, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(out, part[1<<20:21<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, out)
	if len(part) != 40<<20 {
		t.Errorf("the disk has %d bytes", len(part))
	}
}
