package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// verify compares a group's bitmaps with its descriptor, the first time that they are read: nothing has changed them
// since the file system was opened. It compares checksums, and the count of free clusters, which is all that there is
// without checksums (kernel, fs/ext4/mballoc.c: ext4_mb_generate_buddy). Nothing is taken or freed by a bitmap that is
// wrong (kernel, fs/ext4/balloc.c: EXT4_GROUP_INFO_BBITMAP_CORRUPT): a file's blocks would be given to another one, and
// the next checksum would say that all is well. The caller holds gr.mu.
func (a *allocator) verify(g disk.Group, gr *group, now disk.GroupDesc, blocks, inodes []byte) error {
	if gr.counted || mutant.Off(mutant.BitmapSum) {
		return nil
	}
	if free := countClear(blocks, int(a.super.GroupClusters(g))); free != gr.freeBlocks {
		gr.badBlocks = true
		a.report("block bitmap", ondisk.Corruptf(fmt.Sprintf("block bitmap of group %d in %v", g, now.BlockBitmap),
			"%d clusters are free, and %d by the group's descriptor", free, gr.freeBlocks))
	}
	if !a.super.HasMetadataCsum() {
		return nil
	}
	d, err := a.base.GroupDesc(g) // as it is at home: in versions the sums are not valid
	if err != nil {
		return err
	}
	if now.Flags&disk.GroupBlockUninit == 0 &&
		a.wrongChecksum(g, "block", d.BlockBitmap, d.BlockBitmapCsum, a.super.BlockBitmapSum(blocks)) {
		gr.badBlocks = true
	}
	gr.badInodes = now.Flags&disk.GroupInodeUninit == 0 &&
		a.wrongChecksum(g, "inode", d.InodeBitmap, d.InodeBitmapCsum, a.super.InodeBitmapSum(inodes))
	return nil
}

// report records damage beside the transaction that found it.
func (a *allocator) report(what string, found error) {
	if a.damaged != nil {
		go a.damaged(what, found)
	}
}

// wrongChecksum reports whether a bitmap's checksum is wrong, and records the damage.
func (a *allocator) wrongChecksum(g disk.Group, what string, at block.Number, stored, computed uint32) bool {
	if a.super.DescSize < 64 {
		computed &= 0xffff
	}
	if stored == computed {
		return false
	}
	a.report(
		what+" bitmap",
		ondisk.Checksum(fmt.Sprintf("%s bitmap of group %d in %v", what, g, at), stored, computed),
	)
	return true
}

// allInUse makes of a bad bitmap one by which nothing is taken.
func allInUse(p []byte) {
	for i := range p {
		p[i] = 0xff
	}
}

// mayFree reports whether blocks of a group may be freed: by a bad bitmap they stay in use until e2fsck repairs it.
func (a *allocator) mayFree(g disk.Group) (bool, error) {
	gr := &a.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if !gr.counted {
		if _, err := a.load(g); err != nil {
			return false, err
		}
	}
	return !gr.badBlocks, nil
}
