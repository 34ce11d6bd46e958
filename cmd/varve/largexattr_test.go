package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// largeXattrs sets and reads attributes of a file, a directory, a symlink and a device with values about the lengths
// where something changes, up to more than there can be, and fills a file until nothing more has room. It returns what
// each call answered.
func largeXattrs(dir string) (out []string) {
	note := func(what string, err error) { out = append(out, fmt.Sprintf("%s: %v", what, err)) }
	at := func(name string) string { return filepath.Join(dir, name) }
	note("file", os.WriteFile(at("file"), []byte("contents"), 0o644))
	note("dir", os.Mkdir(at("dir"), 0o755))
	note("symlink", os.Symlink("target", at("symlink")))
	note("device", unix.Mknod(at("device"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))))
	room := make([]byte, 70000)
	for _, name := range []string{"file", "dir", "symlink", "device"} {
		for i, length := range []int{0, 1, 4036, 4040, 4041, 5000, 65536, 65537, 100, 65535} {
			value := bytes.Repeat([]byte{byte('a' + i)}, length)
			for _, attr := range []string{"trusted.one", fmt.Sprint("trusted.", i)} {
				what := fmt.Sprintf("%s of %s, %d bytes", attr, name, length)
				note("set "+what, unix.Lsetxattr(at(name), attr, value, 0))
				note("create "+what, unix.Lsetxattr(at(name), attr, value, unix.XATTR_CREATE))
				n, err := unix.Lgetxattr(at(name), attr, room)
				note(fmt.Sprintf("get %s: %d, its value %v", what, n, bytes.Equal(room[:max(n, 0)], value)), err)
				_, err = unix.Lgetxattr(at(name), attr, room[:4000])
				note("get little of "+what, err)
			}
		}
		note("replace none", unix.Lsetxattr(at(name), "trusted.none", make([]byte, 9000), unix.XATTR_REPLACE))
	}
	count, err := 0, error(nil)
	for ; err == nil && count < 1000; count++ {
		attr := fmt.Sprintf("user.%s%d", strings.Repeat("n", 100), count)
		err = unix.Setxattr(at("file"), attr, bytes.Repeat([]byte{byte(count)}, 5000), 0)
	}
	note(fmt.Sprintf("%d long names", count), err)
	note("remove", unix.Removexattr(at("file"), "trusted.one"))
	note("remove again", unix.Removexattr(at("file"), "trusted.one"))
	return out
}

// TestRW_LargeXattrs: attributes of up to 64 KiB through a mount answer as on the kernel's, by either server of
// requests, and are there afterwards.
func TestRW_LargeXattrs(t *testing.T) {
	oracle.NeedRoot(t)
	form := []string{"-b", "4096", "-O", "ea_inode", "-J", "size=16"}
	kernel, _ := oracle.MountKernel(t, rwImage(t, "64M", form...), "rw,user_xattr")
	want := largeXattrs(kernel)
	for _, m := range []rwMode{
		{"default", form, "rw", false},
		{"data=journal" + syncfsOption(), form, "rw,data=journal" + syncfsOption(), false},
		{"overlay", form, "overlay=OVERLAY", false},
	} {
		t.Run(m.name, func(t *testing.T) {
			image := rwImage(t, "64M", m.mkfs...)
			dir, unmount := m.mount(t, image)
			got := largeXattrs(dir)
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Errorf("varve: %q, the kernel: %q", got[min(i, len(got)-1)], want[i])
				}
			}
			unmount()
			oracle.Clean(t, image)
			read, release := oracle.MountKernel(t, image, "ro,user_xattr")
			theirs, ours := oracle.Tree(t, kernel), oracle.Tree(t, read)
			oracle.Compare(t, "the kernel's", theirs, "varve's", ours, "times", "blocks")
			value := make([]byte, 70000)
			if n, err := unix.Getxattr(filepath.Join(read, "file"), "trusted.6", value); n != 65536 || err != nil {
				t.Errorf("the kernel reads %d bytes of a value of 65,536: %v", n, err)
			}
			if !strings.Contains(strings.Join(want, "\n"), unix.E2BIG.Error()) {
				t.Error("no value was too long")
			}
			release()
		})
	}
}
