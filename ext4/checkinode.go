package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// The format's own inodes (ext4 doc, "Special inodes").
const (
	badBlocksIno = 1
	resizeIno    = 7
	journalIno   = 8
)

// tables reads every inode.
func (c *checker) tables() error {
	s := c.s
	for g := range s.Groups() {
		if err := c.progress(int(g), int(s.Groups())); err != nil {
			return err
		}
		d, err := c.fs.GroupDesc(g)
		if err != nil {
			continue
		}
		last := s.InodesPerGroup
		if s.HasGroupCsum() {
			last -= min(d.ITableUnused, last)
			if d.Flags&disk.GroupInodeUninit != 0 {
				last = 0
			}
		}
		for i := range last {
			if err := c.inode(Ino(uint32(g)*s.InodesPerGroup + i + 1)); err != nil {
				return err
			}
		}
	}
	for ino := Ino(1); ino < s.FirstIno; ino++ {
		c.inodes.at(ino).flags |= stateInUse // whether they hold something or not
	}
	return nil
}

func (c *checker) inode(ino Ino) error {
	where := fmt.Sprintf("inode %d", ino)
	n := &Inode{}
	raw, err := c.fs.rawInode(n, ino)
	if err != nil {
		return c.damage(where, err)
	}
	blank := binary.LittleEndian.Uint16(raw) == 0 && binary.LittleEndian.Uint16(raw[disk.OffLinks:]) == 0
	if err := c.fs.slot(n, ino); err != nil {
		if blank {
			return nil // never used
		}
		if err := c.damage(where, err); err != nil {
			return err
		}
		if err := c.s.Unsealed().DecodeInode(&n.Inode, ino, raw); err != nil {
			return nil
		}
		n.Ino, n.fs = ino, c.fs
	}
	if n.Links == 0 && !c.orphans[ino] {
		if n.Mode != 0 && n.Dtime == 0 && ino >= c.s.FirstIno {
			c.problem(where, "has no links, and no time of deletion")
		}
		return nil
	}
	if n.Dtime != 0 && n.Links > 0 && !c.orphans[ino] && ino >= c.s.FirstIno {
		c.problem(where, "is in use, and has a time of deletion")
	}
	st := c.inodes.at(ino)
	st.flags |= stateInUse
	st.stored, st.typ = n.Links, fileType(n.Mode)
	if n.IsRegular() && n.Has(disk.InodeEAInode) {
		st.flags |= stateValue
	}
	c.out.Files++
	c.count(n)
	if ino < c.s.FirstIno && ino != RootIno && ino != journalIno {
		return c.reserved(n)
	}
	if n.IsDir() {
		st.flags |= stateDir
		c.out.Directories++
		c.dirs = append(c.dirs, ino)
		if c.s.ROCompat&disk.ROCompatDirNlink != 0 && n.Has(disk.InodeIndex) {
			st.flags |= stateCountless
		}
	}
	if n.Mode&disk.ModeType == 0 && ino != journalIno || st.typ == 0 && ino != journalIno {
		c.problem(where, "mode is 0%o", n.Mode)
		return nil
	}
	return c.contents(n)
}

// reserved checks one of the format's own inodes.
func (c *checker) reserved(n *Inode) error {
	switch n.Ino {
	case badBlocksIno:
		if n.Links > 0 || n.Size > 0 {
			return c.contents(n)
		}
	case resizeIno: // its pointers are blocks that are marked as the groups' own
		if at := block.Number(binary.LittleEndian.Uint32(n.Block[13*pointerSize:])); at != 0 &&
			c.s.Compat&disk.CompatResizeInode != 0 {
			c.markOwn(n.where(), at, 1)
		}
	default:
		if n.Mode != 0 && n.Blocks > 0 {
			return c.contents(n)
		}
	}
	return nil
}

// contents checks what an inode refers to.
func (c *checker) contents(n *Inode) error {
	where := n.where()
	apart, err := c.attributes(n)
	if err != nil {
		return err
	}
	if n.Has(disk.InodeInlineData) {
		if c.s.Incompat&disk.IncompatInlineData == 0 {
			c.problem(where, "has inline data without the feature")
		}
		return c.inline(n)
	}
	if n.IsDevice() || n.Mode&disk.ModeType == disk.ModeFIFO || n.Mode&disk.ModeType == disk.ModeSocket {
		if n.Size != 0 {
			c.problem(where, "a special file of %d bytes", n.Size)
		}
		return nil
	}
	if c.s.FastSymlink(&n.Inode) {
		_, err := n.Readlink()
		return c.damage(where, err)
	}
	m := &mapCheck{c: c, n: n, where: where, apart: apart}
	if n.Has(disk.InodeExtents) {
		if c.s.Incompat&disk.IncompatExtents == 0 {
			c.problem(where, "has extents without the feature")
		}
		root, err := disk.DecodeExtentRoot(n.Block)
		if err != nil {
			return c.damage(where, err)
		}
		if err := m.extents(root, 0, maxFileBlocks); err != nil {
			return err
		}
	} else if c.s.ClusterBlocks > 1 && n.hasPointers() {
		return c.damage(where, n.noPointers())
	} else if err := m.pointers(); err != nil {
		return err
	}
	m.finish()
	if n.IsSymlink() {
		_, err := n.Readlink()
		return c.damage(where, err)
	}
	return nil
}

// inline checks the size of an inode whose contents lie in it. The checksums say nothing of that.
func (c *checker) inline(n *Inode) error {
	head, tail, err := n.inlineParts()
	stored := uint64(len(head) + len(tail))
	switch {
	case err != nil:
		return c.damage(n.where(), err)
	case n.IsDir() && n.Size != stored:
		c.problem(n.where(), "a directory of %d bytes, of which %d are in its inode", n.Size, stored)
	case n.Size > stored:
		c.problem(n.where(), "size is %d bytes, but only %d are stored inline", n.Size, stored)
	}
	return nil
}

// mapCheck walks the blocks of one file.
type mapCheck struct {
	c     *checker
	n     *Inode
	where string
	count uint64  // clusters, the tree's among them
	next  uint64  // file block behind the last mapped one
	init  uint64  // and behind the last written one
	last  cluster // the last one of the extent before; with bigalloc
	begun uint64  // the logical cluster that it is for, plus 1; 0 where there is none
	apart uint64  // units of 512 bytes of attributes' values in inodes of their own
	bad   bool
}

// extents checks a node whose entries lie from low up to high.
func (m *mapCheck) extents(node disk.ExtentNode, low, high uint64) error {
	for i := range node.Entries() {
		if node.Depth() == 0 {
			e := node.Extent(i)
			if err := m.c.s.CheckExtent(e); err != nil {
				m.bad = true
				return m.c.damage(m.where, err)
			}
			if uint64(e.File) < max(low, m.next) || endOf(e) > high {
				m.bad = true
				m.c.problem(m.where, "extent at file block %d overlaps, or is out of order", e.File)
				return nil
			}
			m.next = endOf(e)
			if !e.Unwritten {
				m.init = m.next
			}
			if err := m.c.damage(m.where, m.clusters(e)); err != nil {
				return err
			}
			continue
		}
		x := node.Index(i)
		upTo := high
		if i+1 < node.Entries() {
			upTo = uint64(node.First(i + 1))
		}
		if uint64(x.File) < low || uint64(x.File) >= high || !m.c.s.Contains(x.Leaf, 1) {
			m.bad = true
			m.c.problem(m.where, "extent index at file block %d points at block %d", x.File, uint64(x.Leaf))
			continue
		}
		m.count++
		if !m.c.mark(m.where+", extent tree", x.Leaf, 1) {
			m.bad = true
			continue
		}
		child, err := m.n.extentNode(x, node.Depth()-1)
		if err != nil {
			m.bad = true
			if err := m.c.damage(m.where, err); err != nil {
				return err
			}
			continue
		}
		if child.Entries() == 0 || child.First(0) != x.File {
			m.c.problem(m.where, "extent index at file block %d, and its node begins elsewhere", x.File)
		}
		if err := m.extents(child, uint64(x.File), upTo); err != nil {
			return err
		}
	}
	return nil
}

// clusters marks the clusters of an extent. The first one may be that of the extent before, where both have blocks of
// one logical cluster; there it must be.
func (m *mapCheck) clusters(e disk.Extent) error {
	s := m.c.s
	per := uint64(s.ClusterBlocks)
	if err := m.n.checkAligned(uint64(e.File), e.Start); err != nil {
		m.bad = true
		return err
	}
	first := clusterOf(s, e.Start)
	last := clusterOf(s, e.Start+block.Number(e.Len)-1)
	if m.begun == uint64(e.File)/per+1 {
		if first != m.last {
			m.bad = true
			m.c.problem(m.where, "file blocks %d and before lie in clusters %d and %d, expected one", e.File, first, m.last)
		} else if first++; first > last {
			return nil
		}
	}
	m.last, m.begun = last, (endOf(e)-1)/per+1
	n := uint64(last - first + 1)
	m.count += n
	at := first.first(s)
	m.c.mark(m.where, at, min(n*per, uint64(s.Blocks-at)))
	return nil
}

// pointers checks the block pointers of an inode without extents.
func (m *mapCheck) pointers() error {
	for i := range uint64(directPointers) {
		m.pointer(block.Number(binary.LittleEndian.Uint32(m.n.Block[i*pointerSize:])), i)
	}
	per := uint64(m.c.s.BlockSize) / pointerSize
	base, span := uint64(directPointers), per
	for level := range 3 {
		at := block.Number(binary.LittleEndian.Uint32(m.n.Block[(directPointers+level)*pointerSize:]))
		if err := m.indirect(at, base, span, level); err != nil {
			return err
		}
		base += span
		span *= per
	}
	return nil
}

func (m *mapCheck) pointer(at block.Number, file uint64) {
	if at == 0 {
		return
	}
	m.count++
	m.next, m.init = file+1, file+1
	m.c.mark(m.where, at, 1)
}

func (m *mapCheck) indirect(at block.Number, base, span uint64, level int) error {
	if at == 0 {
		return nil
	}
	m.count++
	if !m.c.mark(m.where+", indirect block", at, 1) {
		m.bad = true
		return nil
	}
	p, err := m.c.fs.block(at)
	if err != nil {
		return err
	}
	per := uint64(len(p)) / pointerSize
	for i := range per {
		next := block.Number(binary.LittleEndian.Uint32(p[i*pointerSize:]))
		if level == 0 {
			m.pointer(next, base+i)
		} else if err := m.indirect(next, base+i*(span/per), span/per, level-1); err != nil {
			return err
		}
	}
	return nil
}

// finish compares the counts found with those in the inode.
func (m *mapCheck) finish() {
	n, s := m.n, m.c.s
	if m.bad {
		return
	}
	count := m.count
	if n.FileACL != 0 {
		count++
	}
	units := count*s.ClusterSize()/512 + m.apart
	if n.Blocks != units && n.Ino >= s.FirstIno {
		m.c.problem(m.where, "has %d clusters, attributes of %d units, and says %d units of 512 bytes",
			count, m.apart, n.Blocks)
	}
	size := uint64(s.BlockSize)
	switch {
	case n.IsDir() && n.Size != m.next*size:
		m.c.problem(m.where, "a directory of %d bytes with %d blocks", n.Size, m.next)
	case n.IsRegular() && m.init > 0 && n.Size < (m.init-1)*size && !n.Has(disk.InodeVerity) &&
		n.Ino >= s.FirstIno && !m.c.orphans[n.Ino]:
		m.c.problem(m.where, "has written blocks behind its end at %d bytes", n.Size)
	}
}
