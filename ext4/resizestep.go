package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// resizeStep is one step of a Resizer.
type resizeStep struct {
	r        *Resizer
	tx       Tx
	was, now *disk.Superblock
	edits    map[block.Number][]byte // blocks of the old file system, whole
	fresh    map[block.Number][]byte // blocks behind its end
	descs    block.Number            // which block of descriptors changes, counted from the first
	free     uint64                  // clusters
	inodes   uint32                  // free
}

func (r *Resizer) begin(tx Tx) *resizeStep {
	now := *r.super
	now.Blocks = r.next()
	now.Inodes = uint32(now.Groups()) * now.InodesPerGroup
	return &resizeStep{r: r, tx: tx, was: r.super, now: &now, edits: map[block.Number][]byte{},
		fresh: map[block.Number][]byte{}, free: r.free, inodes: r.inodes}
}

// read is a block as it is after the step so far.
func (p *resizeStep) read(n block.Number) ([]byte, error) {
	if b, ok := p.fresh[n]; ok {
		return b, nil
	}
	if b, ok := p.edits[n]; ok {
		return b, nil
	}
	return p.tx.ReadBlock(n)
}

// block is a block to change.
func (p *resizeStep) block(n block.Number) ([]byte, error) {
	b, err := p.read(n)
	if err != nil || p.fresh[n] != nil || p.edits[n] != nil {
		return b, err
	}
	p.edits[n] = bytes.Clone(b)
	return p.edits[n], nil
}

// put replaces a block.
func (p *resizeStep) put(n block.Number, b []byte) {
	if n >= p.was.Blocks {
		p.fresh[n] = b
	} else {
		p.edits[n] = b
	}
}

func (p *resizeStep) empty() []byte { return make([]byte, p.now.BlockSize) }

// fillGroup makes the last group longer.
func (p *resizeStep) fillGroup() error {
	g := p.was.Groups() - 1
	at, off := p.was.DescBlock(g)
	table, err := p.block(at)
	if err != nil {
		return err
	}
	q := table[off : off+int(p.was.DescSize)]
	d, err := p.was.DecodeGroupDesc(g, q)
	if err != nil {
		return err
	}
	bitmap, err := p.block(d.BlockBitmap)
	if err != nil {
		return err
	}
	if d.Flags&disk.GroupBlockUninit != 0 {
		initBlocks(p.was, g, d, bitmap)
		d.Flags &^= disk.GroupBlockUninit
	}
	from, to := p.was.GroupClusters(g), p.now.GroupClusters(g)
	for i := from; i < to; i++ {
		bitmap[i/8] &^= 1 << (i % 8)
	}
	padBits(bitmap, int(to))
	d.FreeBlocks += to - from
	p.free += uint64(to - from)
	d.BlockBitmapCsum = p.now.BlockBitmapSum(bitmap)
	p.putDesc(g, q, d)
	p.descs = block.Number(g / p.now.DescsPerBlock())
	return nil
}

// putDesc writes what a descriptor says of its group's size, and leaves the rest of it as it is.
func (p *resizeStep) putDesc(g disk.Group, q []byte, d disk.GroupDesc) {
	binary.LittleEndian.PutUint16(q[0x12:], d.Flags)
	p.now.PutGroupCounts(q, disk.GroupCounts{FreeBlocks: d.FreeBlocks, FreeInodes: d.FreeInodes,
		ITableUnused: d.ITableUnused, BlockBitmapSum: d.BlockBitmapCsum, InodeBitmapSum: d.InodeBitmapCsum})
	p.now.SealGroupDesc(g, q)
}

// addGroups adds the groups between the old size and the new one.
func (p *resizeStep) addGroups() error {
	first := p.was.Groups()
	per := p.now.DescsPerBlock()
	p.descs = block.Number(first / per)
	if first%per == 0 {
		if err := p.newDescBlock(first); err != nil {
			return err
		}
	}
	for g := first; g < p.now.Groups(); g++ {
		if err := p.addGroup(g); err != nil {
			return err
		}
	}
	return p.keepForDescs(first)
}

// addGroup makes the tables of a group: in the group itself, behind the copies of descriptors.
func (p *resizeStep) addGroup(g disk.Group) error {
	s := p.now
	at, off := s.DescBlock(g)
	table, err := p.block(at)
	if err != nil {
		return err
	}
	d := disk.GroupDesc{BlockBitmap: s.GroupFirst(g) + block.Number(s.HeadBlocks(g)), FreeInodes: s.InodesPerGroup}
	d.InodeBitmap, d.InodeTable = d.BlockBitmap+1, d.BlockBitmap+2
	bitmap, inodes := p.empty(), p.empty()
	initBlocks(s, g, d, bitmap)
	padBits(inodes, int(s.InodesPerGroup))
	d.FreeBlocks = uint32(countClear(bitmap, int(s.GroupClusters(g))))
	if s.HasGroupCsum() {
		d.Flags, d.ITableUnused = disk.GroupInodeUninit|disk.GroupITableZero, s.InodesPerGroup
	}
	d.BlockBitmapCsum, d.InodeBitmapCsum = s.BlockBitmapSum(bitmap), s.InodeBitmapSum(inodes)
	p.put(d.BlockBitmap, bitmap)
	p.put(d.InodeBitmap, inodes)
	s.PutGroupDesc(g, table[off:], d)
	p.free += uint64(d.FreeBlocks)
	p.inodes += d.FreeInodes
	return p.zero(d.InodeTable, s.ITableBlocks())
}

// zero makes blocks behind the old end zeros, where they are not. They are durable before the transaction, as all that
// goes home for it.
func (p *resizeStep) zero(first block.Number, n uint32) error {
	size := p.now.BlockSize
	piece := max(1, (1<<20)/uint32(size))
	b, zeros := make([]byte, piece*uint32(size)), make([]byte, piece*uint32(size))
	for n > 0 {
		k := min(n, piece)
		q := b[:k*uint32(size)]
		if _, err := p.r.home.ReadAt(q, size.Offset(first)); err != nil {
			return fmt.Errorf("read %v: %w", first, err)
		}
		if !bytes.Equal(q, zeros[:len(q)]) && !mutant.Off(mutant.ResizeZeros) {
			if _, err := p.r.home.WriteAt(zeros[:len(q)], size.Offset(first)); err != nil {
				return fmt.Errorf("write %v: %w", first, err)
			}
		}
		first, n = first+block.Number(k), n-k
	}
	return nil
}

// finish writes the superblock and the copies, and makes the edits.
func (p *resizeStep) finish() error {
	s := p.now
	at := block.Number(disk.SuperblockOffset / uint32(s.BlockSize))
	b, err := p.block(at)
	if err != nil {
		return err
	}
	super := b[disk.SuperblockOffset%uint32(s.BlockSize):][:disk.SuperblockSize]
	s.ReservedBlocks = uint64(p.r.kept * float64(s.Blocks))
	s.FreeBlocks, s.FreeInodes = p.free*uint64(s.ClusterBlocks), p.inodes
	if s.OverheadClusters != 0 { // what is not free of the new clusters
		added := uint64(s.Blocks-p.was.Blocks) / uint64(s.ClusterBlocks)
		s.OverheadClusters += uint32(added - (p.free - p.r.free))
	}
	s.PutWritten(super, p.r.now().Unix())
	s.PutSize(super, s.Size())
	if err := p.copies(super); err != nil {
		return err
	}
	return p.write(at)
}

// write gives the transaction what it changes.
func (p *resizeStep) write(super block.Number) error {
	for _, n := range slices.Sorted(maps.Keys(p.fresh)) {
		if err := p.tx.WriteHome(n, 0, p.fresh[n], true); err != nil {
			return err
		}
	}
	for _, n := range slices.Sorted(maps.Keys(p.edits)) {
		if mutant.Off(mutant.ResizeAtomic) && n == super {
			if _, err := p.r.home.WriteAt(p.edits[n], p.now.BlockSize.Offset(n)); err != nil {
				return err
			}
		}
		if err := p.tx.Edit(n, merge.Whole(p.edits[n])); err != nil {
			return err
		}
	}
	return nil
}

// copies writes the copies of the superblock and of descriptors: all in new groups, what has changed in old ones.
func (p *resizeStep) copies(super []byte) error {
	s := p.now
	per := s.DescsPerBlock()
	for g := disk.Group(1); g < s.Groups(); g++ {
		at := s.GroupFirst(g)
		if s.HasSuper(g) {
			b := p.empty()
			copy(b, super)
			s.PutBackup(b[:disk.SuperblockSize], g)
			p.put(at, b)
			at++
		}
		changed := block.Number(g / per)
		from, to := p.descs, p.descs+1
		switch {
		case s.InMetaGroup(g):
			if changed != p.descs || g%per != 1 && g%per != per-1 {
				continue
			}
		case !s.HasSuper(g) || s.InMetaGroup(disk.Group(p.descs)*per) && g < p.was.Groups():
			continue
		case g >= p.was.Groups():
			from, to = 0, block.Number((s.Groups()+per-1)/per)
		}
		for n := from; n < to; n++ {
			primary, _ := s.DescBlock(disk.Group(n) * per)
			b, err := p.read(primary)
			if err != nil {
				return err
			}
			if s.InMetaGroup(g) {
				p.put(at, bytes.Clone(b))
			} else {
				p.put(at+n, bytes.Clone(b))
			}
		}
	}
	return nil
}
