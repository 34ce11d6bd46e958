package ext4_test

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// allocated is how many bytes fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// sparse is an image that is followed by a hole, which takes no room where the image is kept.
type sparse struct {
	blockcache.Memory
	size int64
}

func (s sparse) Size() int64 { return s.size }

func (s sparse) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	if at < int64(len(s.Memory)) {
		copy(p, s.Memory[at:])
	}
	return int(min(int64(len(p)), max(s.size-at, 0))), nil
}

// claim has the superblock of an image without checksums claim so many blocks in groups of so many.
func claim(p []byte, blocks uint64, group, inodes uint32) {
	le := binary.LittleEndian
	super := p[disk.SuperblockOffset:]
	le.PutUint32(super[0x60:], le.Uint32(super[0x60:])|uint32(disk.Incompat64Bit))
	le.PutUint16(super[0xfe:], 64)
	le.PutUint32(super[0x4:], uint32(blocks))
	le.PutUint32(super[0x150:], uint32(blocks>>32))
	le.PutUint32(super[0x20:], group)
	le.PutUint32(super[0x24:], group)
	le.PutUint32(super[0x0:], inodes)
}

// TestHostile_Groups: what a superblock claims takes no memory. A claim that the image is too short for is an error.
func TestHostile_Groups(t *testing.T) {
	const many = 1<<32 - 16
	p := goldenImage(t)
	claim(p, many+1, 1, 16)
	var err error
	if n := allocated(func() { _, err = ext4.Open(p, ext4.Options{}) }); n > 1<<20 {
		t.Errorf("%d groups: %d bytes were allocated", uint64(many), n)
	}
	if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), "4294967280 block groups: ") ||
		!strings.Contains(err.Error(), "cut short") {
		t.Errorf("%d groups: %v", uint64(many), err)
	}
	var fs *ext4.FS
	if n := allocated(func() { fs, err = ext4.Open(sparse{p, 1 << 60}, ext4.Options{}) }); n > 40<<20 || err != nil {
		t.Errorf("%d groups on an image with a hole: %d bytes were allocated, %v", uint64(many), n, err)
	}
	if _, err := fs.Stat(); !errors.Is(err, ondisk.ErrCorrupt) {
		t.Errorf("statfs of groups without tables: %v", err)
	}
	if err := ext4.CheckWritable(fs.Superblock()); !errors.Is(err, ondisk.ErrUnsupported) ||
		!strings.Contains(err.Error(), "groups of 1 blocks") {
		t.Errorf("writing with groups of one block: %v", err)
	}
}

// TestHostile_Check: neither does checking. The image's own size bounds what is looked at.
func TestHostile_Check(t *testing.T) {
	p := goldenImage(t)
	super, err := ext4.ReadSuperblock(p, 0)
	fatal(t, err)
	claim(p, 8000*8192, 8192, 8000*super.InodesPerGroup)
	fs, err := ext4.Open(p, ext4.Options{})
	fatal(t, err)
	var v *ext4.CheckReport
	if n := allocated(func() { v, err = fs.Check(nil) }); n > 1<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	if err != nil || len(v.Problems) != 1 || !strings.Contains(v.Problems[0].What, "cut short") {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestHostile_Indirect: pointers that all lead to the same blocks are followed once: else one inode has 2^24 of them
// here, and 2^30 with larger blocks.
func TestHostile_Indirect(t *testing.T) {
	d := newDamaged(t)
	le := binary.LittleEndian
	p := d.p[900*goldenBlock:]
	for level := range 3 {
		for i := range goldenBlock / 4 {
			le.PutUint32(p[level*goldenBlock+4*i:], uint32(901+level))
		}
	}
	s := d.slot(d.find("file").Ino)
	le.PutUint32(s[0x20:], 0) // no extents
	clear(s[0x28:0x64])
	le.PutUint32(s[0x60:], 900)
	d.open()
	var v *ext4.CheckReport
	var err error
	if n := allocated(func() { v, err = d.fsys.Check(nil) }); n > 8<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	if err != nil || v.Clean() || v.More > 0 {
		t.Errorf("%d more problems than %v, %v", v.More, v.Problems, err)
	}
}

// crafted is an image with a journal of 1 MiB and an orphan file, without checksums.
type crafted struct {
	*damaged
	places []block.Number
	next   jbd2.Sequence
}

func newCrafted(t *testing.T) *crafted {
	path := oracle.NewImage(
		t,
		4<<20,
		"-b",
		"1024",
		"-O",
		"^metadata_csum,^64bit,orphan_file,has_journal",
		"-J",
		"size=1",
		"-E",
		"orphan_file_size=32",
	)
	p, err := os.ReadFile(path)
	fatal(t, err)
	c := &crafted{damaged: &damaged{t: t, p: p}}
	c.open()
	c.places, c.next, err = c.fsys.JournalPlaces()
	fatal(t, err)
	return c
}

// stretch maps a file four times over the n blocks from one on, one block further each time.
func (c *crafted) stretch(ino ext4.Ino, at block.Number, n uint16) {
	le := binary.LittleEndian
	s := c.slot(ino)
	le.PutUint32(s[4:], 4*uint32(n)*goldenBlock)
	root := s[0x28:]
	le.PutUint16(root[2:], 4)
	le.PutUint16(root[6:], 0)
	for i := range 4 {
		e := root[12+12*i:]
		clear(e[:12])
		le.PutUint32(e, uint32(i)*uint32(n))
		le.PutUint16(e[4:], n)
		le.PutUint32(e[8:], uint32(at)+uint32(i))
	}
}

// TestHostile_Journal: a journal that claims more blocks than there are, or whose blocks are there several times, is
// damage.
func TestHostile_Journal(t *testing.T) {
	be, le := binary.BigEndian, binary.LittleEndian
	t.Run("more blocks than the image", func(t *testing.T) {
		c := newCrafted(t)
		s := c.slot(8)
		le.PutUint32(s[0x6c:], 1<<15) // its size
		be.PutUint32(c.p[c.places[0]*goldenBlock+0x10:], 1<<23)
		c.open()
		var err error
		if n := allocated(func() { _, _, err = c.fsys.JournalPlaces() }); n > 1<<20 {
			t.Errorf("%d bytes were allocated", n)
		}
		if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), "8388608 blocks") {
			t.Errorf("%v", err)
		}
	})
	t.Run("more blocks than mke2fs makes", func(t *testing.T) {
		c := newCrafted(t)
		le.PutUint32(c.slot(8)[0x6c:], 1<<15)
		be.PutUint32(c.p[c.places[0]*goldenBlock+0x10:], 1<<31)
		fs, err := ext4.Open(sparse{c.p, 1 << 50}, ext4.Options{})
		fatal(t, err)
		if n := allocated(func() { _, _, err = fs.JournalPlaces() }); n > 1<<20 {
			t.Errorf("%d bytes were allocated", n)
		}
		if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), "expected at most 10240000") {
			t.Errorf("%v", err)
		}
	})
	t.Run("blocks that are there several times", func(t *testing.T) {
		c := newCrafted(t)
		const at, n = 2000, 512 // where nothing is
		super := c.p[at*goldenBlock:]
		copy(super[:goldenBlock], c.p[c.places[0]*goldenBlock:])
		be.PutUint32(super[0x10:], 4*n)
		be.PutUint32(super[0x1c:], 1) // something to replay
		for i := range n + 3 {
			p := c.p[(at+1+i)*goldenBlock:][:goldenBlock]
			clear(p)
			be.PutUint32(p, 0xc03b3998)
			be.PutUint32(p[4:], jbd2.TypeRevoke)
			be.PutUint32(p[8:], be.Uint32(super[0x18:]))
			be.PutUint32(p[12:], goldenBlock)
		}
		c.stretch(8, at, n)
		s := c.p[disk.SuperblockOffset:]
		le.PutUint32(s[0x60:], le.Uint32(s[0x60:])|uint32(disk.IncompatRecover))
		if _, err := ext4.Open(c.p, ext4.Options{}); !errors.Is(err, ondisk.ErrCorrupt) ||
			!strings.Contains(err.Error(), "is two of its blocks") {
			t.Errorf("%v", err)
		}
	})
}

// TestHostile_OrphanFile: an orphan file has the size that the kernel allows.
func TestHostile_OrphanFile(t *testing.T) {
	c := newCrafted(t)
	ino := c.fsys.Superblock().OrphanFileIno
	le := binary.LittleEndian
	le.PutUint32(c.slot(ino)[4:], 1<<31)
	c.open()
	v, err := c.fsys.Check(nil)
	fatal(t, err)
	found := false
	for _, p := range v.Problems {
		found = found || strings.Contains(p.What, "expected at most 8388608")
	}
	if !found {
		t.Errorf("%v", v.Problems)
	}
}
