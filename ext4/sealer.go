package ext4

import (
	"encoding/binary"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// sealer computes the sealed fields of an epoch's blocks: checksums, what derives from the bitmaps, and the form of the
// orphans on the image. It is called for one epoch at a time, and knows the image as of the last epoch.
type sealer struct {
	counts           []disk.GroupCounts
	freeBlocks       uint64 // clusters
	freeInodes       uint64
	unused           map[Ino]bool // slots that were never used, before one that was
	orphanBlocks     []block.Number
	orphanGeneration uint32
}

func (s *sealer) init(l *Writable) {
	s.counts, s.unused = make([]disk.GroupCounts, l.super.Groups()), map[Ino]bool{}
}

// record keeps the counts of a group's descriptor when the file system is opened.
func (s *sealer) record(g disk.Group, d disk.GroupDesc) {
	s.counts[g] = disk.GroupCounts{FreeBlocks: d.FreeBlocks, FreeInodes: d.FreeInodes, ITableUnused: d.ITableUnused,
		BlockBitmapSum: d.BlockBitmapCsum, InodeBitmapSum: d.InodeBitmapCsum}
	s.freeBlocks += uint64(d.FreeBlocks)
	s.freeInodes += uint64(d.FreeInodes)
}

// sealing is the sealing of one epoch: its blocks, by how their fields are computed.
type sealing struct {
	*Writable
	epoch  Epoch
	tables map[block.Number]disk.Group // blocks of inode tables
	maps   []fixed                     // bitmaps
	descs  map[block.Number]bool       // blocks of descriptors
	counts bool                        // the superblock's counts change
	grown  map[block.Number]bool       // blocks that directories got, where there is no journal
	grew   map[uint64]bool             // those directories
	failed error                       // the first error of image
}

// Seal completes the blocks of an epoch: their checksums, and the fields that derive from other blocks.
func (w *Writable) Seal(e Epoch) error {
	w.orphans.seal(e.Last())
	s := sealing{Writable: w, epoch: e, tables: map[block.Number]disk.Group{}, descs: map[block.Number]bool{}}
	if err := w.orphanTables(s.tables); err != nil {
		return err
	}
	s.grown, s.grew = w.grown.until(e.Last())
	e.Blocks(s.block)
	if s.failed == nil {
		s.derive()
	}
	if s.failed == nil {
		w.orphans.form.sealed()
		w.grown.closed(e.Last())
	}
	return s.failed
}

// image is the copy of a block to complete, or nil after an error.
func (s *sealing) image(n block.Number) []byte {
	p, err := s.epoch.Image(n)
	if err != nil && s.failed == nil {
		s.failed = err
	}
	return p
}

// block seals a block whose fields follow from its own bytes. Others are noted for derive.
func (s *sealing) block(n block.Number, kind uint8, owner uint64) {
	p := s.image(n)
	if s.failed != nil {
		return
	}
	seed := s.super.Seed().Inode(Ino(owner), uint32(owner>>32))
	switch kind {
	case kindInodes:
		s.tables[n] = disk.Group(owner)
	case kindBlockMap, kindInodeMap:
		s.maps = append(s.maps, fixed{kind, disk.Group(owner)})
		s.counts = true
	case kindGroupDesc:
		s.descs[n] = true
	case kindSuper:
		s.counts = true
	case kindDirLeaf:
		s.super.SealDirBlock(seed, p)
		s.order(n, owner)
	case kindHtreeRoot, kindHtreeNode:
		s.super.SealHtree(seed, p, kind == kindHtreeRoot)
		s.order(n, owner)
	case kindExtents:
		s.super.SealExtentBlock(seed, p)
	case kindXattrs:
		s.super.SealXattrBlock(n, p)
	}
}

// order has a block of a directory go home behind those that its entries may have moved into.
func (s *sealing) order(n block.Number, owner uint64) {
	if s.grew[owner] && !s.grown[n] && !mutant.Off(mutant.UnloggedOrder) {
		s.epoch.Late(n)
	}
}

// derive seals what follows from other blocks: bitmaps before the descriptors that count them, the superblock last.
func (s *sealing) derive() {
	for _, m := range s.maps {
		if err := s.count(m); err != nil {
			s.failed = err
			return
		}
	}
	for n, g := range s.tables {
		s.sealInodes(g, n, s.image(n))
	}
	for n := range s.descs {
		s.sealDescs(n, s.image(n))
	}
	s.sealOrphanFile(s.image)
	if s.counts || s.orphans.form.superblock {
		s.sealSuper(s.image(block.Number(disk.SuperblockOffset / uint32(s.super.BlockSize))))
	}
}

// count counts a bitmap that was changed, for its group's descriptor.
func (s *sealing) count(m fixed) error {
	d, err := s.base.GroupDesc(m.group)
	if err != nil {
		return err
	}
	at, _ := s.super.DescBlock(m.group)
	s.descs[at] = true
	c := &s.sealer.counts[m.group]
	if m.kind == kindInodeMap {
		return s.countInodes(m.group, d, c)
	}
	p, err := s.epoch.Image(d.BlockBitmap)
	if err != nil {
		return err
	}
	free := uint32(countClear(p, int(s.super.GroupClusters(m.group))))
	s.sealer.freeBlocks += uint64(free) - uint64(c.FreeBlocks)
	c.FreeBlocks, c.BlockBitmapSum = free, s.super.BlockBitmapSum(p)
	return nil
}

// countInodes counts a group's bitmap of inodes. Slots that were ever used stay so; those behind may never have been
// written, and have what the device had before. The slots that are used now may leave some out: of a creation that
// failed, or whose commit comes in a later epoch. These are zeroed.
func (s *sealing) countInodes(g disk.Group, d disk.GroupDesc, c *disk.GroupCounts) error {
	p, err := s.epoch.Image(d.InodeBitmap)
	if err != nil {
		return err
	}
	n := s.super.InodesPerGroup
	free := uint32(countClear(p, int(n)))
	s.sealer.freeInodes += uint64(free) - uint64(c.FreeInodes)
	last := n
	for last > 0 && !bit(p, last-1) {
		last--
	}
	first := Ino(uint32(g)*n + 1)
	for ino := range s.sealer.unused {
		if ino >= first && ino < first+Ino(n) && bit(p, uint32(ino-first)) {
			delete(s.sealer.unused, ino)
		}
	}
	for i := n - min(n, c.ITableUnused); i < last; i++ {
		if !bit(p, i) && !mutant.Off(mutant.UnusedSlots) {
			ino := first + Ino(i)
			s.sealer.unused[ino] = true
			_, nth, _ := s.super.InodeBlock(ino)
			s.tables[d.InodeTable+nth] = g
		}
	}
	c.FreeInodes, c.InodeBitmapSum, c.ITableUnused = free, s.super.InodeBitmapSum(p), min(c.ITableUnused, n-last)
	return nil
}

// sealInodes seals the slots of a block of an inode table, and links those that are orphans.
func (w *Writable) sealInodes(g disk.Group, n block.Number, p []byte) {
	table, err := w.base.inodeTable(g)
	if err != nil || p == nil {
		return
	}
	size := int(w.super.InodeSize)
	first := uint32(g)*w.super.InodesPerGroup + uint32(n-table)*uint32(len(p)/size) + 1
	for i := range len(p) / size {
		slot := p[i*size : (i+1)*size]
		ino := Ino(first + uint32(i))
		if w.sealer.unused[ino] {
			clear(slot)
		}
		if next, ok := w.orphans.form.next[ino]; ok {
			putDtime(slot, next)
		} else if binary.LittleEndian.Uint16(slot[disk.OffLinks:]) > 0 {
			putDtime(slot, 0)
		}
		if binary.LittleEndian.Uint16(slot) != 0 || binary.LittleEndian.Uint32(slot[disk.OffDtime:]) != 0 {
			w.super.SealInode(ino, slot)
		}
	}
}

// sealDescs writes the derived fields of all descriptors in a block.
func (w *Writable) sealDescs(n block.Number, p []byte) {
	if p == nil {
		return
	}
	per := disk.Group(uint32(w.super.BlockSize) / uint32(w.super.DescSize))
	first := w.kinds[n].group / per * per
	for g := first; g < min(first+per, w.super.Groups()); g++ {
		if at, off := w.super.DescBlock(g); at == n {
			q := p[off : off+int(w.super.DescSize)]
			w.super.PutGroupCounts(q, w.sealer.counts[g])
			w.super.SealGroupDesc(g, q)
		}
	}
}

// sealSuper writes the derived fields of the superblock. Every copy says what a crash leaves: that recovery is needed
// (J3), or a check.
func (w *Writable) sealSuper(p []byte) {
	if p == nil {
		return
	}
	q := p[disk.SuperblockOffset%uint32(w.super.BlockSize):][:disk.SuperblockSize]
	free := w.sealer.freeBlocks * uint64(w.super.ClusterBlocks)
	w.super.PutSuperCounts(q, free, uint32(w.sealer.freeInodes), w.orphans.form.head)
	w.Marks().putInUse(q)
	w.super.PutWritten(q, w.opts.Now().Unix())
	w.super.SealSuperblock(q)
}

// Marks are what the superblock says of being mounted.
func (w *Writable) Marks() Marks { return Marks{w.super, w.opts.Log, w.opts.Now} }

// Marks are what a superblock says of being mounted.
type Marks struct {
	Super *disk.Superblock // as it was before
	Log   Log
	Now   func() time.Time
}

// putInUse marks a superblock with the state that a crash leaves from now on.
func (m Marks) putInUse(q []byte) {
	m.Super.PutRecovery(q, m.Log == LogOwn, m.Log != LogNone)
	if m.Log.unclean() {
		disk.PutClean(q, false)
	}
}

// ClearRecovery changes the bytes of a superblock to those of a file system that was unmounted cleanly, and seals them.
// A file system that was not clean before, and has no journal, is not clean now (kernel, fs/ext4: ext4_put_super).
func (m Marks) ClearRecovery(q []byte) {
	m.Super.PutRecovery(q, false, false)
	if m.Log.unclean() {
		disk.PutClean(q, m.Super.State&disk.StateClean != 0)
	}
	m.Super.PutWritten(q, m.Now().Unix())
	m.Super.SealSuperblock(q)
}

// MarkMounted changes the bytes of a superblock to those of a file system that is mounted for writing, and seals them.
func (m Marks) MarkMounted(q []byte, now time.Time) {
	m.putInUse(q)
	m.Super.PutMounted(q, now.Unix())
	m.Super.SealSuperblock(q)
}
