package ext4_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
)

// TestProvablyNoXattrs_OneIsEnough: one attribute anywhere, in an inode or in a block, or one inode that cannot be
// read, and there is no proof. On the proof rests that the kernel never asks for an attribute again.
func TestProvablyNoXattrs_OneIsEnough(t *testing.T) {
	for _, mkfs := range [][]string{nil, {"-t", "ext2", "-I", "128"}, {"-O", "^metadata_csum,uninit_bg"}} {
		for _, size := range []int{0, 1, 900} { // none, in the inode where that has room, in a block
			source := t.TempDir()
			for i := range 300 {
				fatal(
					t,
					os.WriteFile(filepath.Join(source, strings.Repeat("f", i%50)+string(rune('A'+i%26))), nil, 0o644),
				)
			}
			if size > 0 {
				fatal(t, os.WriteFile(filepath.Join(source, "last"), nil, 0o644))
				fatal(
					t,
					unix.Setxattr(filepath.Join(source, "last"), "user.note", []byte(strings.Repeat("v", size)), 0),
				)
			}
			fsys := openImage(t, oracle.NewImage(t, 16<<20, append(mkfs, "-d", source)...), ext4.Options{})
			if got := fsys.ProvablyNoXattrs(); got != (size == 0) {
				t.Errorf("mkfs %v, an attribute of %d bytes: proof is %v", mkfs, size, got)
			}
		}
	}
	p, err := os.ReadFile(oracle.NewImage(t, 16<<20))
	fatal(t, err)
	fsys, err := ext4.Open(blockcache.Memory(p), ext4.Options{})
	fatal(t, err)
	desc, err := fsys.GroupDesc(0)
	fatal(t, err)
	p[fsys.Superblock().BlockSize.Offset(desc.InodeTable)+256+0x50] ^= 1 // the root's inode, against its checksum
	if fsys.ProvablyNoXattrs() {
		t.Error("a proof in spite of an inode that cannot be read")
	}
}
