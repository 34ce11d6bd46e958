package ext4

import (
	"fmt"
	"slices"
	"testing"

	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestDescribeRange: bytes of the blocks at fixed places have the names of their fields.
func TestDescribeRange(t *testing.T) {
	m := openMem(t, "groups")
	s := m.Superblock()
	desc, err := m.base.GroupDesc(3)
	if err != nil {
		t.Fatal(err)
	}
	at, offset := s.DescBlock(3)
	table, err := m.base.inodeTable(3)
	if err != nil {
		t.Fatal(err)
	}
	size := uint32(s.InodeSize)
	first := 3*s.InodesPerGroup + 1
	for _, c := range []struct {
		n           block.Number
		off, length uint32
		want        []string
	}{
		{table, disk.OffMtime, 4, []string{"mtime of inode " + fmt.Sprint(first)}},
		{table, size + disk.OffCtime, 8, []string{"ctime of inode " + fmt.Sprint(first+1),
			"mtime of inode " + fmt.Sprint(first+1)}},
		{table, size - 4, 8, []string{"attributes of inode " + fmt.Sprint(first), "mode of inode " + fmt.Sprint(first+1),
			"uid of inode " + fmt.Sprint(first+1)}},
		{desc.BlockBitmap, 2, 1, []string{"blocks " + fmt.Sprint(1+3*1024+16) + " to " + fmt.Sprint(1+3*1024+23)}},
		{desc.InodeBitmap, 0, 2, []string{"inodes " + fmt.Sprint(first) + " to " + fmt.Sprint(first+15)}},
		{at, uint32(offset) + 0xc, 2, []string{"free blocks count of group 3"}},
		{8000, 0x10, 4, []string{"bytes 16 to 19"}},
	} {
		if got := m.DescribeRange(c.n, c.off, c.length); !slices.Equal(got, c.want) {
			t.Errorf("block %d, %d bytes at %d: %q, want %q", c.n, c.length, c.off, got, c.want)
		}
	}
}
