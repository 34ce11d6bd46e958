package volume_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestSymlink_LargeAttribute reads short symlinks of the kernel's of which an attribute lies in an inode of its own:
// their count of blocks has the value's, and their targets lie in their inodes nevertheless.
func TestSymlink_LargeAttribute(t *testing.T) {
	for _, features := range []string{"ea_inode", "ea_inode,inline_data"} {
		path := mkfs(t, "16M", "-t", "ext4", "-O", features)
		dir, unmount := oracle.MountKernel(t, path, "user_xattr")
		value := bytes.Repeat([]byte("value "), 600)
		link := filepath.Join(dir, "link")
		if err := unix.Symlink("target", link); err != nil {
			t.Fatal(err)
		}
		if err := unix.Lsetxattr(link, "trusted.large", value, 0); err != nil {
			t.Fatal(err)
		}
		unmount()
		v, err := volume.Open(volume.Spec{Image: path})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		n, err := v.Resolve("/link", false)
		if err != nil {
			t.Fatal(err)
		}
		if target, err := n.Readlink(); err != nil || target != "target" {
			t.Errorf("%s: %q, %v", features, target, err)
		}
		if got, err := n.Xattr("trusted.large"); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%s: %d bytes of an attribute, %v", features, len(got), err)
		}
		clean(t, path)
	}
}
