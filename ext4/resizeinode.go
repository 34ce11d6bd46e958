package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// newDescBlock gets the block for descriptors that the first of the new groups needs.
func (p *resizeStep) newDescBlock(g disk.Group) error {
	at, _ := p.now.DescBlock(g)
	if p.now.InMetaGroup(g) {
		p.put(at, p.empty()) // in the group itself
		return nil
	}
	r, err := p.resizeInode()
	if err != nil {
		return err
	}
	if err := r.take(at); err != nil {
		return err
	}
	p.now.ReservedGDTBlocks--
	p.put(at, p.empty())
	return nil
}

// keepForDescs notes where copies of the kept blocks for descriptors lie in new groups.
func (p *resizeStep) keepForDescs(first disk.Group) error {
	var added []disk.Group
	for g := first; g < p.now.Groups(); g++ {
		if p.now.HasSuper(g) && !p.now.InMetaGroup(g) {
			added = append(added, g)
		}
	}
	if len(added) == 0 || p.now.ReservedGDTBlocks == 0 {
		return nil
	}
	r, err := p.resizeInode()
	if err != nil {
		return err
	}
	return r.add(added)
}

// resizeInode is the inode that holds the blocks that are kept for descriptors: each, behind the superblock, is a block
// of pointers to its copies (e2fsprogs, lib/ext2fs/res_gdt.c).
type resizeInode struct {
	*resizeStep
	slot   []byte
	blocks []byte // the kept blocks, by the number of the block of descriptors
	copies uint32 // that each had before the step
}

func (p *resizeStep) resizeInode() (*resizeInode, error) {
	s := p.was
	g, nth, off := s.InodeBlock(resizeIno)
	at, doff := s.DescBlock(g)
	b, err := p.read(at)
	if err != nil {
		return nil, err
	}
	d, err := s.DecodeGroupDesc(g, b[doff:])
	if err != nil {
		return nil, err
	}
	table, err := p.block(d.InodeTable + nth)
	if err != nil {
		return nil, err
	}
	r := &resizeInode{resizeStep: p, slot: table[off : off+int(s.InodeSize)]}
	pointers := block.Number(binary.LittleEndian.Uint32(r.slot[0x5c:])) // i_block[13]
	if !s.Contains(pointers, 1) {
		return nil, ondisk.Corruptf("resize inode", "has no block of pointers: check the image with e2fsck")
	}
	if r.blocks, err = p.block(pointers); err != nil {
		return nil, err
	}
	for g := disk.Group(1); g < s.Groups(); g++ {
		if s.HasSuper(g) {
			r.copies++
		}
	}
	return r, nil
}

// kept is the place of the pointer to a kept block, which is for descriptors from group n times the block's number on.
func (r *resizeInode) kept(at block.Number) ([]byte, error) {
	n := at - block.Number(disk.SuperblockOffset/uint32(r.now.BlockSize)) - 1
	q := r.blocks[uint64(n)%(uint64(len(r.blocks))/4)*4:][:4]
	if got := binary.LittleEndian.Uint32(q); block.Number(got) != at {
		return nil, ondisk.Corruptf("resize inode", "keeps block %d where %d was expected: check the image with e2fsck",
			got, uint64(at))
	}
	return q, nil
}

// count adds to the inode's count of blocks, in clusters.
func (r *resizeInode) count(n int64) {
	le := binary.LittleEndian
	unit := int64(r.now.ClusterSize() / 512)
	le.PutUint32(r.slot[0x1c:], uint32(int64(le.Uint32(r.slot[0x1c:]))+n*unit))
	r.now.SealInode(resizeIno, r.slot)
}

// take makes a kept block one that the inode does not have.
func (r *resizeInode) take(at block.Number) error {
	q, err := r.kept(at)
	if err != nil {
		return err
	}
	clear(q)
	r.count(-1 - int64(r.copies))
	return nil
}

// add notes the copies of all kept blocks in groups.
func (r *resizeInode) add(groups []disk.Group) error {
	s := r.now
	at, _ := s.DescBlock((s.Groups() - 1) / s.DescsPerBlock() * s.DescsPerBlock())
	for range s.ReservedGDTBlocks {
		at++
		if _, err := r.kept(at); err != nil {
			return err
		}
		b, err := r.block(at)
		if err != nil {
			return err
		}
		for i, g := range groups {
			q := b[4*(int(r.copies)+i):][:4]
			if binary.LittleEndian.Uint32(q) != 0 {
				return ondisk.Corruptf("resize inode", "block %d has more copies than groups: check the image with e2fsck",
					uint64(at))
			}
			binary.LittleEndian.PutUint32(q, uint32(at)+uint32(g)*s.BlocksPerGroup)
		}
	}
	r.count(int64(s.ReservedGDTBlocks) * int64(len(groups)))
	return nil
}
