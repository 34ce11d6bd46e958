package ext4_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// finding is one way to break the golden image, and what the checker then says.
type finding struct {
	name  string
	broke func(d *damaged)
	where string // of the problem
	what  string // part of it
}

// checkFindings breaks the golden image in each way. e2fsck -fn has to find it, too, but for those in blind: it says
// that it would correct the superblock, and calls the rest clean.
func checkFindings(t *testing.T, findings []finding, blind ...string) {
	t.Helper()
	oracle.Need(t, "e2fsck")
	for _, f := range findings {
		t.Run(f.name, func(t *testing.T) {
			d := newDamaged(t)
			f.broke(d)
			d.open()
			v, err := d.fsys.Check(nil)
			fatal(t, err)
			found := false
			for _, p := range v.Problems {
				found = found || strings.Contains(p.Where, f.where) && strings.Contains(p.What, f.what)
			}
			if !found {
				t.Errorf("no problem of %s that says %q: %+v", f.where, f.what, v.Problems)
			}
			image := filepath.Join(t.TempDir(), "image")
			fatal(t, os.WriteFile(image, d.p, 0o600))
			if theirs, mayMiss := clean(image), slices.Contains(blind, f.name); theirs != mayMiss {
				t.Errorf("e2fsck says clean: %v, expected %v", theirs, mayMiss)
			}
		})
	}
}

// super is the superblock, and desc the first group descriptor.
func (d *damaged) super() []byte { return d.p[disk.SuperblockOffset:] }
func (d *damaged) desc() []byte  { return d.p[2*goldenBlock:] }

// bitmaps are the first group's.
func (d *damaged) bitmaps() (blocks, inodes []byte) {
	g, err := d.fsys.GroupDesc(0)
	fatal(d.t, err)
	return d.p[int(g.BlockBitmap)*goldenBlock:][:goldenBlock], d.p[int(g.InodeBitmap)*goldenBlock:][:goldenBlock]
}

// TestCheck_Golden: the image that the others break is clean, to both.
func TestCheck_Golden(t *testing.T) {
	oracle.Need(t, "e2fsck")
	d := newDamaged(t)
	v, err := d.fsys.Check(nil)
	if err != nil || !v.Clean() || v.Files == 0 || v.Directories == 0 || v.UsedBlocks == 0 {
		t.Errorf("%+v, %v", v, err)
	}
	image := filepath.Join(t.TempDir(), "image")
	fatal(t, os.WriteFile(image, d.p, 0o600))
	if !clean(image) {
		t.Error("e2fsck does not call it clean")
	}
}

// TestCheck_Superblock: what the superblock says, and counters.
func TestCheck_Superblock(t *testing.T) {
	le := binary.LittleEndian
	checkFindings(t, []finding{
		{"errors", func(d *damaged) { d.super()[0x3a] |= 2 }, "superblock", "there are errors"},
		{"state", func(d *damaged) { d.super()[0x3b] |= 0x40 }, "superblock", "state 0x"},
		{"reserved", func(d *damaged) { le.PutUint32(d.super()[8:], le.Uint32(d.super()[4:])) },
			"superblock", "are reserved"},
		{"orphan of the format", func(d *damaged) { le.PutUint32(d.super()[0xe8:], 3) }, "list of orphans", "inode 3"},
		{"orphan past the end", func(d *damaged) { le.PutUint32(d.super()[0xe8:], 1<<20) },
			"list of orphans", "inode 1048576"},
		{"orphans in a circle", func(d *damaged) {
			ino := d.find("file").Ino
			le.PutUint32(d.super()[0xe8:], uint32(ino))
			le.PutUint32(d.slot(ino)[0x14:], uint32(ino))
		}, "list of orphans", "inode"},
	}, "errors", "state", "orphan of the format", "orphan past the end")
}

// TestCheck_Bitmaps: bits both ways, padding, and a group's counts.
func TestCheck_Bitmaps(t *testing.T) {
	le := binary.LittleEndian
	first := func(p []byte, set bool) int { // the first bit of a kind behind those of the group's own blocks
		for i := 100; ; i++ {
			if p[i/8]>>(i%8)&1 == 1 == set {
				return i
			}
		}
	}
	flip := func(p []byte, i int) { p[i/8] ^= 1 << (i % 8) }
	checkFindings(t, []finding{
		{"block lost", func(d *damaged) { p, _ := d.bitmaps(); flip(p, first(p, false)) },
			"group 0, block bitmap", "marked true, in use false"},
		{"block in use", func(d *damaged) { p, _ := d.bitmaps(); flip(p, first(p, true)) },
			"group 0, block bitmap", "marked false, in use true"},
		{"many blocks", func(d *damaged) { p, _ := d.bitmaps(); p[120] ^= 0xff },
			"group 0, block bitmap", "marked wrongly"},
		{"block padding", func(d *damaged) { p, _ := d.bitmaps(); p[goldenBlock-1] = 0x7f }, "block bitmap", "padding"},
		{"inode lost", func(d *damaged) { _, p := d.bitmaps(); flip(p, int(d.fsys.Superblock().InodesPerGroup)-1) },
			"group 0, inode bitmap", "marked true, in use false"},
		{"inode in use", func(d *damaged) { _, p := d.bitmaps(); flip(p, int(d.find("file").Ino)-1) },
			"group 0, inode bitmap", "marked false, in use true"},
		{"inode padding", func(d *damaged) { _, p := d.bitmaps(); p[goldenBlock-1] = 0x7f }, "inode bitmap", "padding"},
		{"free blocks", func(d *damaged) { d.desc()[12] ^= 1 }, "group 0", "free blocks, and"},
		{"free inodes", func(d *damaged) { d.desc()[14] ^= 1 }, "group 0", "free inodes, and"},
		{"directories", func(d *damaged) { d.desc()[16] ^= 1 }, "group 0", "directories, and"},
		{"bitmap of another", func(d *damaged) { copy(d.desc()[0:4], d.desc()[4:8]) }, "inode bitmap", "in use twice"},
		{"bitmap nowhere", func(d *damaged) { le.PutUint32(d.desc(), 1<<24) }, "group 0", ""},
	})
}

// TestCheck_Inodes: modes, links, times, sizes, counts and blocks of an inode.
func TestCheck_Inodes(t *testing.T) {
	le := binary.LittleEndian
	slot := func(d *damaged, path string) []byte { return d.slot(d.find(path).Ino) }
	checkFindings(t, []finding{
		{"mode", func(d *damaged) { le.PutUint16(slot(d, "file"), 0o644) }, "inode", "mode is 0644"},
		{"links", func(d *damaged) { slot(d, "file")[0x1a]++ }, "inode", "links, and"},
		{"deleted in use", func(d *damaged) { le.PutUint32(slot(d, "file")[0x14:], 1e9) }, "inode", "time of deletion"},
		{"unlinked", func(d *damaged) { le.PutUint16(slot(d, "file")[0x1a:], 0) }, "inode", "no time of deletion"},
		{"blocks", func(d *damaged) { slot(d, "file")[0x1c] += 2 }, "inode", "units of 512 bytes"},
		{"behind its end", func(d *damaged) { le.PutUint32(slot(d, "extents")[4:], 1) }, "inode", "behind its end"},
		{"directory size", func(d *damaged) {
			s := slot(d, "indexed")
			le.PutUint32(s[4:], le.Uint32(s[4:])-goldenBlock)
		}, "inode", "a directory of"},
		{"fifo with a size", func(d *damaged) {
			s := slot(d, "file")
			le.PutUint16(s, 0o10644)
		}, "inode", "a special file of"},
		{"extent past the end", func(d *damaged) { le.PutUint32(slot(d, "file")[0x28+20:], 1<<30) },
			"inode", "past the image's"},
		{"extents out of order", func(d *damaged) {
			p := d.p[int(le.Uint32(d.find("extents").Block[16:]))*goldenBlock:]
			le.PutUint16(p[12+4:], 30)
		}, "inode", "overlaps, or is out of order"},
		{"extent index nowhere", func(d *damaged) { le.PutUint32(slot(d, "extents")[0x28+16:], 1<<30) },
			"inode", "extent index at file block 0 points at"},
		{"extent index elsewhere", func(d *damaged) {
			p := d.p[int(le.Uint32(d.find("extents").Block[16:]))*goldenBlock:]
			le.PutUint32(p[12:], le.Uint32(p[12:])+1)
		}, "inode", "its node begins elsewhere"},
		{"shared block", func(d *damaged) {
			copy(slot(d, "file")[0x28+20:][:4], d.find("indexed").Block[20:24])
		}, "", "in use twice"},
		{"attributes nowhere", func(d *damaged) { le.PutUint32(slot(d, "file")[0x68:], 1<<30) },
			"inode", "attributes in block"},
		{"symlink", func(d *damaged) { le.PutUint32(slot(d, "link")[4:], 4000) }, "inode", "symlink"},
		{"inline without the feature", func(d *damaged) {
			s := slot(d, "file")
			le.PutUint32(s[0x20:], le.Uint32(s[0x20:])|disk.InodeInlineData)
		}, "inode", "inline data without the feature"},
		{"pointers", func(d *damaged) {
			s := slot(d, "file")
			le.PutUint32(s[0x20:], 0)
			for at := 0x28; at < 0x64; at += 4 {
				le.PutUint32(s[at:], 1<<30)
			}
		}, "inode", "are not on the image"},
	})
}

// TestCheck_Directories: names, types, what they refer to, parents, and hash trees.
func TestCheck_Directories(t *testing.T) {
	le := binary.LittleEndian
	refer := func(name string, to func(d *damaged) ext4.Ino) func(d *damaged) {
		return func(d *damaged) { le.PutUint32(d.entry("/", name), uint32(to(d))) }
	}
	file := func(d *damaged) ext4.Ino { return d.find("file").Ino }
	// the index in a directory's first block: a block, and then pairs of a hash and a block
	index := func(d *damaged) []byte { return d.block(d.find("indexed"), 0)[0x24:] }
	checkFindings(t, []finding{
		{"reserved", refer("link", func(*damaged) ext4.Ino { return 7 }), "directory 2", "refers to reserved inode 7"},
		{"free", func(d *damaged) { clear(d.slot(d.find("link").Ino)[:256]) }, "directory 2", "refers to free inode"},
		{"nowhere", refer("link", func(*damaged) ext4.Ino { return 9999 }), "directory 2", "9999"},
		{"type", refer("link", file), "directory 2", "has type 7, and inode"},
		{"slash", func(d *damaged) { d.entry("/", "link")[9] = '/' }, "directory 2", "is no name"},
		{"twice", func(d *damaged) { copy(d.entry("/", "link")[8:12], "file") }, "directory 2", "is there twice"},
		{"itself", func(d *damaged) { le.PutUint32(d.block(d.find("indexed"), 0), 2) },
			"directory", "its own entry refers to"},
		{"parent", func(d *damaged) { le.PutUint32(d.block(d.find("indexed"), 0)[12:], uint32(file(d))) },
			"directory", "as its parent"},
		{"parent of the root", func(d *damaged) {
			le.PutUint32(d.block(d.find("/"), 0)[12:], uint32(d.find("indexed").Ino))
		},
			"root directory", "its parent is inode"},
		{"record", func(d *damaged) { le.PutUint16(d.entry("/", "link")[4:], 0) }, "directory 2", ""},
		{"another name of a directory", func(d *damaged) {
			e := d.entry("/", "link")
			le.PutUint32(e, uint32(d.find("indexed").Ino))
			e[7] = 2
		}, "directory 2", "is another name of directory"},
		{"no name", func(d *damaged) { le.PutUint32(d.entry("/", "link"), 0) }, "inode", "no name that leads to it"},
		{"root is none", func(d *damaged) { le.PutUint16(d.slot(2), 0o100755) }, "root directory", "is none"},
		{"tree twice", func(d *damaged) { copy(index(d)[8:12], index(d)[:4]) },
			"directory", "is twice in its hash tree"},
		{"tree out of order", func(d *damaged) { le.PutUint32(index(d)[12:], 0) }, "directory", "out of order"},
		{"tree with a lost leaf", func(d *damaged) {
			count := d.block(d.find("indexed"), 0)[0x22:]
			le.PutUint16(count, le.Uint16(count)-1)
		}, "directory", "its hash tree has"},
		{"tree with a wrong leaf", func(d *damaged) {
			a, b := le.Uint32(index(d)), le.Uint32(index(d)[8:])
			le.PutUint32(index(d), b)
			le.PutUint32(index(d)[8:], a)
		}, "directory", "in the wrong leaf"},
		{"tree without the feature", func(d *damaged) {
			le.PutUint32(d.super()[0x5c:], le.Uint32(d.super()[0x5c:])&^uint32(disk.CompatDirIndex))
		}, "directory", "a hash tree without the feature"},
	})
}
