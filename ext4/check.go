package ext4

import (
	"errors"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Problem is one thing that is wrong with a file system.
type Problem struct {
	Where string `json:"where"` // the structure, by inode, block or group
	What  string `json:"what"`
}

// CheckReport lists the findings of Check.
type CheckReport struct {
	Problems    []Problem
	More        int // problems that are not listed
	Files       int // inodes in use
	Directories int
	UsedBlocks  uint64
}

// Clean reports whether nothing is wrong.
func (v *CheckReport) Clean() bool { return len(v.Problems) == 0 }

// maxProblems bounds the list.
const maxProblems = 1000

// checker is one call of Check. It keeps a bit a block and a few bytes an inode.
type checker struct {
	fs       *FS
	s        *disk.Superblock
	out      *CheckReport
	progress func(done, all int) error

	used    blockSet // clusters that are referred to
	inodes  inodeStates
	xattrs  map[block.Number]int // references that were found
	values  map[Ino]int          // the same, to values in inodes of their own; ofLustre where they are not counted
	orphans map[Ino]bool
	quotas  quotaCheck // nil without the feature
	dirs    []Ino
}

// inodeState is the checker's knowledge of an inode.
type inodeState struct {
	links  uint32 // names that were found
	stored uint16 // links that it has
	typ    uint8  // of its directory entries; 0: not in use
	flags  uint8
}

// Flags of an inodeState.
const (
	stateInUse = 1 << iota
	stateDir
	stateReached
	stateParented
	stateValue     // holds an attribute's value
	stateCountless // a directory that has too many subdirectories to count
)

// Check reads everything and checks it: inodes, extents and pointers, attributes, directories and their trees, link
// counts, orphans, bitmaps both ways, counters and checksums. The journal's newer blocks count, where it was replayed.
// It changes nothing; an error is one of reading, or of progress, which ends the check by one. progress may be nil.
func (fs *FS) Check(progress func(done, all int) error) (*CheckReport, error) {
	c := &checker{
		fs:       fs,
		s:        fs.super,
		out:      &CheckReport{},
		progress: progress,
		xattrs:   map[block.Number]int{},
		values:   map[Ino]int{},
		orphans:  map[Ino]bool{},
	}
	if c.progress == nil {
		c.progress = func(int, int) error { return nil }
	}
	if err := fs.requireSize(c.s.BlockSize.Offset(c.s.Blocks)); err != nil {
		return c.out, c.damage("superblock", err) // what to check is not known
	}
	c.used.pieces = map[uint64]*[blockPiece / 64]uint64{}
	c.inodes = inodeStates{}
	if c.s.ROCompat&disk.ROCompatQuota != 0 {
		c.quotas = quotaCheck{}
	}
	for _, step := range []func() error{
		c.super, c.groups, c.orphanList, c.tables, c.directories, c.reach, c.linkCounts, c.references, c.valueRefs,
		c.maps, c.usage,
	} {
		if err := step(); err != nil {
			return c.out, err
		}
	}
	return c.out, nil
}

func (c *checker) problem(where, format string, args ...any) {
	if len(c.out.Problems) >= maxProblems {
		c.out.More++
		return
	}
	c.out.Problems = append(c.out.Problems, Problem{where, fmt.Sprintf(format, args...)})
}

// damage notes an error that is damage, and passes others on.
func (c *checker) damage(where string, err error) error {
	if err == nil {
		return nil
	}
	var corrupt *ondisk.CorruptError
	if errors.As(err, &corrupt) || errors.Is(err, ondisk.ErrCorrupt) || errors.Is(err, ErrNotExist) ||
		errors.Is(err, ondisk.ErrUnsupported) {
		c.problem(where, "%v", err)
		return nil
	}
	return err
}

// mark records a file's reference to blocks. If there is one already, or they are not on the image, it reports that and
// returns false: references in such blocks must not be followed, or a few of them would be read without end.
func (c *checker) mark(where string, first block.Number, n uint64) bool {
	return c.markAs(where, first, n, c.s.ROCompat&disk.ROCompatSharedBlocks != 0)
}

// markOwn is mark for blocks of the file system's own, several of which may lie in one cluster.
func (c *checker) markOwn(where string, first block.Number, n uint64) bool {
	return c.markAs(where, first, n, c.s.ClusterBlocks > 1 || c.s.ROCompat&disk.ROCompatSharedBlocks != 0)
}

func (c *checker) markAs(where string, first block.Number, n uint64, shared bool) bool {
	if first < c.s.FirstDataBlock || !c.s.Contains(first, n) {
		c.problem(where, "blocks %d to %d are not on the image", uint64(first), uint64(first)+n-1)
		return false
	}
	per := uint64(c.s.ClusterBlocks)
	for b := uint64(first) / per; b <= (uint64(first)+n-1)/per; b++ {
		if c.used.has(b) && !shared {
			c.problem(where, "block %d is in use twice", b*per)
			return false
		}
		c.used.add(b)
	}
	return true
}

func (c *checker) super() error {
	s := c.s
	const known = disk.StateClean | disk.StateErrors | disk.StateOrphan
	if s.State&disk.StateErrors != 0 {
		c.problem("superblock", "says that there are errors")
	}
	if failed, err := c.fs.JournalFailed(); err == nil && failed {
		c.problem("journal", "says that an error has ended its use")
	}
	if s.State&^known != 0 {
		c.problem("superblock", "state 0x%x", s.State)
	}
	if uint64(s.ReservedBlocks) > uint64(s.Blocks)/2+1 {
		c.problem("superblock", "%d of %d blocks are reserved", s.ReservedBlocks, uint64(s.Blocks))
	}
	if want := uint64(s.Groups()) * uint64(s.InodesPerGroup); uint64(s.Inodes) != want {
		c.problem("superblock", "%d inodes, and %d groups of %d", s.Inodes, s.Groups(), s.InodesPerGroup)
	}
	return nil
}

// groups marks what belongs to the file system itself.
func (c *checker) groups() error {
	s := c.s
	for g := range s.Groups() {
		where := fmt.Sprintf("group %d", g)
		at, off := s.DescBlock(g)
		p, err := c.fs.block(at)
		if err != nil {
			return err
		}
		if err := c.damage(where, s.CheckGroupDesc(g, p[off:])); err != nil {
			return err
		}
		d, err := s.DecodeGroupDesc(g, p[off:])
		if err != nil {
			c.problem(where, "%v", err)
			continue
		}
		if own := c.fs.groupOverhead(g) - 2 - uint64(s.ITableBlocks()); own > 0 {
			c.markOwn(where, s.GroupFirst(g), own)
		}
		c.markOwn(where+", block bitmap", d.BlockBitmap, 1)
		c.markOwn(where+", inode bitmap", d.InodeBitmap, 1)
		c.markOwn(where+", inode table", d.InodeTable, uint64(s.ITableBlocks()))
	}
	if s.Incompat&disk.IncompatMMP != 0 && s.MMPBlock != 0 {
		c.markOwn("multiple mount protection", s.MMPBlock, 1)
	}
	return nil
}

// orphanList reads the inodes that are in use without a name, or half cut.
func (c *checker) orphanList() error {
	var n Inode
	for ino := c.s.LastOrphan; ino != 0; {
		if ino < c.s.FirstIno || uint32(ino) > c.s.Inodes || c.orphans[ino] {
			c.problem("list of orphans", "inode %d", ino)
			return nil
		}
		c.orphans[ino] = true
		if err := c.fs.slot(&n, ino); err != nil {
			return c.damage("list of orphans", err)
		}
		ino = Ino(n.Dtime)
	}
	if c.s.Compat&disk.CompatOrphanFile == 0 {
		return nil
	}
	l := &Writable{super: c.s, base: c.fs, kinds: map[block.Number]fixed{}}
	l.orphans.now = map[Ino]bool{}
	if err := c.damage("orphan file", l.readOrphanFile()); err != nil {
		return err
	}
	for ino := range l.orphans.now {
		c.orphans[ino] = true
	}
	if len(l.orphans.now) > 0 && c.s.ROCompat&disk.ROCompatOrphanPresent == 0 {
		c.problem("orphan file", "has inodes, and the superblock says that it is empty")
	}
	return nil
}

// linkCounts compares the links that inodes have with the names that were found.
func (c *checker) linkCounts() error {
	c.inodes.each(func(ino Ino, st *inodeState) {
		if st.flags&stateInUse == 0 || ino < c.s.FirstIno && ino != RootIno || c.fs.special(ino) ||
			st.flags&stateValue != 0 {
			return
		}
		switch {
		case st.flags&stateDir != 0 && st.stored == 1 && st.flags&stateCountless != 0:
		case uint32(st.stored) != st.links && !(c.orphans[ino] && st.links == 0):
			c.problem(fmt.Sprintf("inode %d", ino), "has %d links, and %d names", st.stored, st.links)
		}
	})
	return nil
}

// maps compares bitmaps and counters with the inodes and blocks found.
func (c *checker) maps() error {
	var freeBlocks uint64
	for g := range c.s.Groups() {
		d, err := c.fs.GroupDesc(g)
		if err != nil {
			continue // reported before
		}
		blocks, err := c.blockMap(g, d)
		if err != nil {
			return err
		}
		if err := c.inodeMap(g, d); err != nil {
			return err
		}
		freeBlocks += uint64(blocks) * uint64(c.s.ClusterBlocks)
	}
	c.out.UsedBlocks = uint64(c.s.Blocks) - freeBlocks
	// The superblock's own counts are not compared: the kernel writes them at unmounting, and e2fsck, too, takes them
	// as they are.
	return nil
}

func (c *checker) readMap(
	where string,
	at block.Number,
	uninit bool,
	sum uint32,
	compute func([]byte) uint32,
) ([]byte, error) {
	if uninit || !c.s.Contains(at, 1) {
		return nil, nil
	}
	p, err := c.fs.block(at)
	if err != nil {
		return nil, err
	}
	if c.s.HasMetadataCsum() && compute(p) != sum {
		c.problem(where, "checksum is 0x%08x, expected 0x%08x", sum, compute(p))
	}
	return p, nil
}

func (c *checker) blockMap(g disk.Group, d disk.GroupDesc) (free uint32, err error) {
	where := fmt.Sprintf("group %d, block bitmap", g)
	uninit := c.s.HasGroupCsum() && d.Flags&disk.GroupBlockUninit != 0
	p, err := c.readMap(where, d.BlockBitmap, uninit, d.BlockBitmapCsum, c.s.BlockBitmapSum)
	if err != nil {
		return 0, err
	}
	per := block.Number(c.s.ClusterBlocks)
	first := c.s.GroupFirst(g) / per
	n := c.s.GroupClusters(g)
	wrong := 0
	for i := range n {
		b := uint64(first) + uint64(i)
		used := c.used.has(b)
		if !used {
			free++
		}
		if p != nil && bit(p, i) != used {
			if wrong++; wrong == 1 {
				c.problem(where, "block %d: marked %v, in use %v", b*uint64(per), bit(p, i), used)
			}
		}
	}
	if wrong > 1 {
		c.problem(where, "%d blocks are marked wrongly", wrong)
	}
	if p != nil {
		c.padding(where, p, n)
	}
	if d.FreeBlocks != free {
		c.problem(fmt.Sprintf("group %d", g), "says %d free blocks, and %d are", d.FreeBlocks, free)
	}
	return free, nil
}

// padding checks that what stands for nothing in a bitmap is marked.
func (c *checker) padding(where string, p []byte, n uint32) {
	for i := n; i < uint32(len(p))*8; i++ {
		if !bit(p, i) {
			c.problem(where, "padding at its end is not set")
			return
		}
	}
}

func (c *checker) inodeMap(g disk.Group, d disk.GroupDesc) error {
	where := fmt.Sprintf("group %d, inode bitmap", g)
	uninit := c.s.HasGroupCsum() && d.Flags&disk.GroupInodeUninit != 0
	p, err := c.readMap(where, d.InodeBitmap, uninit, d.InodeBitmapCsum, c.s.InodeBitmapSum)
	if err != nil {
		return err
	}
	free, dirs, wrong := uint32(0), uint32(0), 0
	for i := range c.s.InodesPerGroup {
		ino := uint32(g)*c.s.InodesPerGroup + i + 1
		st := c.inodes.of(Ino(ino))
		used := st.flags&stateInUse != 0
		if !used {
			free++
		}
		if st.flags&stateDir != 0 {
			dirs++
		}
		if p != nil && bit(p, i) != used || p == nil && used {
			if wrong++; wrong == 1 {
				c.problem(where, "inode %d: marked %v, in use %v", ino, p != nil && bit(p, i), used)
			}
		}
	}
	if wrong > 1 {
		c.problem(where, "%d inodes are marked wrongly", wrong)
	}
	if p != nil {
		c.padding(where, p, c.s.InodesPerGroup)
	}
	if d.FreeInodes != free {
		c.problem(fmt.Sprintf("group %d", g), "says %d free inodes, and %d are", d.FreeInodes, free)
	}
	if d.UsedDirs != dirs {
		c.problem(fmt.Sprintf("group %d", g), "says %d directories, and %d are", d.UsedDirs, dirs)
	}
	return nil
}
