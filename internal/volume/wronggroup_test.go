package volume_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// wrongGroups are changes of the descriptor of group 1: of the fields at these offsets.
var wrongGroups = map[string]func(g0, g1 disk.GroupDesc, s *disk.Superblock) (at int, to block.Number){
	"block bitmap in the other group's inode table": func(g0, _ disk.GroupDesc, _ *disk.Superblock) (int, block.Number) {
		return 0, g0.InodeTable + 3
	},
	"inode bitmap on the block bitmap": func(_, g1 disk.GroupDesc, _ *disk.Superblock) (int, block.Number) {
		return 4, g1.BlockBitmap
	},
	"inode table on the descriptors": func(disk.GroupDesc, disk.GroupDesc, *disk.Superblock) (int, block.Number) {
		return 8, 2
	},
	"inode table on the other one": func(g0, _ disk.GroupDesc, _ *disk.Superblock) (int, block.Number) {
		return 8, g0.InodeTable - 1
	},
	"inode bitmap behind the end": func(_, _ disk.GroupDesc, s *disk.Superblock) (int, block.Number) {
		return 4, s.Blocks
	},
	"inode table across the end": func(_, _ disk.GroupDesc, s *disk.Superblock) (int, block.Number) {
		return 8, s.Blocks - 2
	},
}

// damageGroup changes a field of the descriptor of group 1, and seals it.
func damageGroup(t *testing.T, path, name string) {
	t.Helper()
	f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	fs := must[*ext4.FS](t)(ext4.Open(f, ext4.Options{}))
	s := fs.Superblock()
	n, off := s.DescBlock(1)
	p := make([]byte, s.DescSize)
	place := s.BlockSize.Offset(n) + int64(off)
	must[int](t)(f.ReadAt(p, place))
	if change := wrongGroups[name]; change != nil {
		at, to := change(must[disk.GroupDesc](t)(fs.GroupDesc(0)), must[disk.GroupDesc](t)(fs.GroupDesc(1)), s)
		binary.LittleEndian.PutUint32(p[at:], uint32(to))
		s.SealGroupDesc(1, p)
	} else {
		p[0x1e] ^= 0x40 // the checksum
	}
	must[int](t)(f.WriteAt(p, place))
}

// TestGroups_Wrong: a file system with a wrong group descriptor is not opened for writing, and not changed; nor does
// the kernel mount it so.
func TestGroups_Wrong(t *testing.T) {
	names := []string{"wrong checksum"}
	for name := range wrongGroups {
		names = append(names, name)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			path := mkfs(t, "24M", "-t", "ext4", "-b", "1024", "-J", "size=1")
			damageGroup(t, path, name)
			before := must[[]byte](t)(os.ReadFile(path))
			w, err := volume.OpenWritable(volume.Spec{Image: path}, volume.WriteOptions{})
			if err == nil {
				_ = w.Abandon()
			}
			if !errors.Is(err, ondisk.ErrCorrupt) {
				t.Errorf("opened for writing: %v", err)
			}
			if !bytes.Equal(before, must[[]byte](t)(os.ReadFile(path))) {
				t.Error("the image was changed")
			}
			if os.Geteuid() == 0 {
				device, detach := oracle.Loop(t, path)
				defer detach()
				dir := t.TempDir()
				if exec.Command("mount", "-t", "ext4", device, dir).Run() == nil {
					oracle.MustRun(t, "umount", dir)
					t.Error("the kernel mounts it")
				}
			}
		})
	}
}
