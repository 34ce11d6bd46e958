package ext4_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

const (
	fastBlocks   = 64   // of the journal's last ones, the first of which stays free
	fastFree     = 3000 // blocks from there on hold nothing
	fastNewInode = 100  // which is free
)

// fastImage is an image with a journal that has nothing but an area of fast commits. It has "file" of 3 blocks of 'f',
// "gone", and "dir".
type fastImage struct {
	*crafted
	area []byte // the fast commits; at most one block
	sum  uint32
}

func newFastImage(t *testing.T) *fastImage {
	from := t.TempDir()
	fatal(t, os.WriteFile(filepath.Join(from, "file"), bytes.Repeat([]byte("f"), 3*goldenBlock), 0o644))
	fatal(t, os.WriteFile(filepath.Join(from, "gone"), []byte("gone"), 0o644))
	fatal(t, os.Mkdir(filepath.Join(from, "dir"), 0o755))
	path := oracle.NewImage(t, 4<<20, "-b", "1024", "-N", "128",
		"-O", "^metadata_csum,^64bit,has_journal,^resize_inode", "-J", "size=1", "-d", from)
	p, err := os.ReadFile(path)
	fatal(t, err)
	f := &fastImage{crafted: &crafted{damaged: &damaged{t: t, p: p}}}
	f.open()
	f.places, f.next, err = f.fsys.JournalPlaces()
	fatal(t, err)
	be, le := binary.BigEndian, binary.LittleEndian
	super := f.p[f.places[0]*goldenBlock:]
	be.PutUint32(super[0x1c:], 1) // a log that begins at block 1, and ends there
	be.PutUint32(super[0x28:], be.Uint32(super[0x28:])|jbd2.IncompatFastCommit)
	be.PutUint32(super[0x54:], fastBlocks)
	s := f.p[disk.SuperblockOffset:]
	le.PutUint32(s[0x60:], le.Uint32(s[0x60:])|uint32(disk.IncompatRecover))
	return f
}

// add writes a record. Each part is bytes, a string, or a number.
func (f *fastImage) add(tag uint16, parts ...any) *fastImage {
	f.t.Helper()
	le := binary.LittleEndian
	var value []byte
	for _, part := range parts {
		switch v := part.(type) {
		case string:
			value = append(value, v...)
		case ext4.Ino:
			value = le.AppendUint32(value, uint32(v))
		default:
			var err error
			value, err = binary.Append(value, le, v)
			fatal(f.t, err)
		}
	}
	raw := append(le.AppendUint16(le.AppendUint16(nil, tag), uint16(len(value))), value...)
	f.area = append(f.area, raw...)
	if tag == jbd2.FastTail {
		f.sum = 0
		return f
	}
	f.sum = kernelSum(f.sum, raw)
	return f
}

// kernelSum is crc32c as the kernel goes on with it: nothing is inverted.
func kernelSum(sum uint32, p []byte) uint32 {
	return ^crc32.Update(^sum, crc32.MakeTable(crc32.Castagnoli), p)
}

func (f *fastImage) head() *fastImage { return f.add(jbd2.FastHead, uint32(0), uint32(f.next)) }

// tail ends a fast commit.
func (f *fastImage) tail() *fastImage {
	raw := binary.LittleEndian.AppendUint32([]byte{jbd2.FastTail, 0, 8, 0}, uint32(f.next))
	return f.add(jbd2.FastTail, uint32(f.next), kernelSum(f.sum, raw))
}

// replay opens the image with its fast commits.
func (f *fastImage) replay() error {
	f.t.Helper()
	if len(f.area) > goldenBlock {
		f.t.Fatalf("fast commits of %d bytes", len(f.area))
	}
	copy(f.p[f.places[len(f.places)-fastBlocks+1]*goldenBlock:], f.area)
	var err error
	f.fsys, err = ext4.Open(f.p, ext4.Options{})
	return err
}

// names are those of the root directory beside lost+found.
func (f *fastImage) names() string {
	f.t.Helper()
	entries, err := f.fsys.IOFS().ReadDir(".")
	fatal(f.t, err)
	var out []string
	for _, e := range entries {
		if e.Name() != "lost+found" {
			out = append(out, e.Name())
		}
	}
	return strings.Join(out, " ")
}

// reads expects the contents of a file, as a letter a block.
func (f *fastImage) reads(name, want string) {
	f.t.Helper()
	got, err := f.fsys.IOFS().ReadFile(name)
	if err != nil || len(got) != len(want)*goldenBlock {
		f.t.Fatalf("%s has %d bytes: %v", name, len(got), err)
	}
	for i := range want {
		letter := want[i]
		if letter == '0' {
			letter = 0
		}
		if part := got[i*goldenBlock:][:goldenBlock]; !bytes.Equal(part, bytes.Repeat([]byte{letter}, goldenBlock)) {
			f.t.Errorf("block %d of %s begins with %q, expected %q", i, name, part[:4], letter)
		}
	}
}

// data fills free blocks with a letter each.
func (f *fastImage) data(letters string) {
	for i := range letters {
		copy(f.p[(fastFree+i)*goldenBlock:], bytes.Repeat([]byte{letters[i]}, goldenBlock))
	}
}

// extent is one as a record has it.
func extent(file uint32, n uint16, start uint32) []byte {
	le := binary.LittleEndian
	return le.AppendUint32(le.AppendUint16(le.AppendUint16(le.AppendUint32(nil, file), n), 0), start)
}

// logged is an inode as a record has it: that of the file, with a size in blocks.
func (f *fastImage) logged(blocks uint32) []byte {
	p := bytes.Clone(f.slot(f.find("file").Ino)[:128])
	binary.LittleEndian.PutUint32(p[4:], blocks*goldenBlock)
	return p
}

// TestFastCommit_Records: each record changes the tree as the kernel's replay does.
func TestFastCommit_Records(t *testing.T) {
	f := newFastImage(t)
	f.data("abcd")
	file, gone, dir := f.find("file").Ino, f.find("gone").Ino, f.find("dir").Ino
	f.head().
		add(jbd2.FastAddRange, ext4.Ino(fastNewInode), extent(0, 2, fastFree)). // a hole behind it
		add(jbd2.FastAddRange, ext4.Ino(fastNewInode), extent(3, 1<<15+1, fastFree+3)).
		add(jbd2.FastInode, ext4.Ino(fastNewInode), f.logged(4)).
		add(jbd2.FastCreate, ext4.RootIno, ext4.Ino(fastNewInode), "made").
		add(jbd2.FastLink, dir, file, "link").
		add(jbd2.FastUnlink, ext4.RootIno, gone, "gone").
		add(jbd2.FastPad, make([]byte, 10)).
		tail()
	f.head(). // the second: the middle of the file goes elsewhere, its end becomes a hole, and it grows
			add(jbd2.FastAddRange, file, extent(1, 2, fastFree+2)).
			add(jbd2.FastDelRange, file, uint32(2), uint32(1)).
			add(jbd2.FastInode, file, f.logged(4)).
			add(jbd2.FastCreate, ext4.RootIno, gone, "again").
			tail()
	fatal(t, f.replay())
	if got := f.names(); got != "again dir file made" {
		t.Errorf("the root has %s", got)
	}
	f.reads("made", "ab00")
	f.reads("file", "fc00")
	f.reads("dir/link", "fc00")
	if got, err := f.fsys.IOFS().ReadFile("again"); err != nil || string(got) != "gone" {
		t.Errorf("what was unlinked and made again has %q: %v", got, err)
	}
	if _, err := f.fsys.Resolve("/gone", false); !errors.Is(err, ext4.ErrNotExist) {
		t.Errorf("what was unlinked: %v", err)
	}
	for from, want := range map[ext4.FileBlock]ext4.Run{
		0: {Kind: ext4.Data, Start: fastFree, Len: 2},
		1: {Kind: ext4.Data, Start: fastFree + 1, Len: 1},
		2: {Kind: ext4.Hole, Len: 1},
		3: {Kind: ext4.Unwritten, Start: fastFree + 3, Len: 1},
	} {
		if got, err := f.find("made").Map(from); err != nil || got != want {
			t.Errorf("file block %d: %+v, %v, expected %+v", from, got, err, want)
		}
	}
}

// TestFastCommit_Ranges: later ranges cut earlier ones, at each of their ends and in the middle.
func TestFastCommit_Ranges(t *testing.T) {
	for _, c := range []struct {
		name string
		add  func(f *fastImage, file ext4.Ino)
		want string
	}{
		{"over the beginning", func(f *fastImage, file ext4.Ino) {
			f.add(jbd2.FastAddRange, file, extent(0, 4, fastFree)).
				add(jbd2.FastAddRange, file, extent(0, 1, fastFree+3))
		}, "dbcd"},
		{"over the end", func(f *fastImage, file ext4.Ino) {
			f.add(jbd2.FastAddRange, file, extent(0, 4, fastFree)).add(jbd2.FastAddRange, file, extent(3, 1, fastFree))
		}, "abca"},
		{"in the middle", func(f *fastImage, file ext4.Ino) {
			f.add(jbd2.FastAddRange, file, extent(0, 4, fastFree)).add(jbd2.FastDelRange, file, uint32(1), uint32(2))
		}, "a00d"},
		{"over several", func(f *fastImage, file ext4.Ino) {
			f.add(jbd2.FastAddRange, file, extent(0, 1, fastFree)).
				add(jbd2.FastAddRange, file, extent(2, 1, fastFree)).
				add(jbd2.FastAddRange, file, extent(0, 4, fastFree))
		}, "abcd"},
		{"beside what is at home", func(f *fastImage, file ext4.Ino) {
			f.add(jbd2.FastAddRange, file, extent(3, 1, fastFree))
		}, "fffa"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFastImage(t)
			f.data("abcd")
			file := f.find("file").Ino
			f.head()
			c.add(f, file)
			f.add(jbd2.FastInode, file, f.logged(4)).tail()
			fatal(t, f.replay())
			f.reads("file", c.want)
		})
	}
}

// TestFastCommit_Ends: the first block or record that is no part of a whole fast commit ends them, without an error,
// as after a crash.
func TestFastCommit_Ends(t *testing.T) {
	create := func(f *fastImage, name string) *fastImage {
		return f.add(jbd2.FastCreate, ext4.RootIno, f.find("gone").Ino, name)
	}
	for name, second := range map[string]func(f *fastImage){
		"no tail": func(f *fastImage) { create(f.head(), "second"); f.sum = 0 },
		"wrong checksum": func(f *fastImage) {
			create(f.head(), "second").add(jbd2.FastTail, uint32(f.next), f.sum)
		},
		"a changed record":    func(f *fastImage) { create(f.head(), "second").tail(); f.area[len(f.area)-13] ^= 1 },
		"tail of another one": func(f *fastImage) { create(f.head(), "second"); f.next++; f.tail(); f.next-- },
		"head of another one": func(f *fastImage) {
			create(f.add(jbd2.FastHead, uint32(0), uint32(f.next-1)), "second").tail()
		},
		"unknown features": func(f *fastImage) {
			create(f.add(jbd2.FastHead, uint32(1), uint32(f.next)), "second").tail()
		},
		"short head":          func(f *fastImage) { create(f.add(jbd2.FastHead, uint32(0)), "second").tail() },
		"short tail":          func(f *fastImage) { create(f.head(), "second").add(jbd2.FastTail, uint32(f.next)) },
		"unknown record":      func(f *fastImage) { create(f.head().add(77), "second").tail() },
		"record past a block": func(f *fastImage) { f.area = append(f.area, jbd2.FastPad, 0, 0xff, 0xff) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFastImage(t)
			create(f.head(), "first").tail()
			second(f)
			create(f.head(), "third").tail() // whole, and behind the end
			fatal(t, f.replay())
			if got := f.names(); !strings.Contains(got, "first") || strings.Contains(got, "second") ||
				strings.Contains(got, "third") {
				t.Errorf("the root has %s", got)
			}
		})
	}
	t.Run("no head", func(t *testing.T) {
		f := newFastImage(t)
		create(f, "first").tail()
		fatal(t, f.replay())
		if got := f.names(); got != "dir file gone" {
			t.Errorf("the root has %s", got)
		}
	})
}

// TestFastCommit_Damage: a record of a whole fast commit that cannot be is damage, and its error says which.
func TestFastCommit_Damage(t *testing.T) {
	for name, c := range map[string]struct {
		add  func(f *fastImage)
		says string
	}{
		"short inode": {func(f *fastImage) { f.add(jbd2.FastInode, ext4.Ino(12), make([]byte, 127)) },
			"tag 6 has 131"},
		"short range": {func(f *fastImage) { f.add(jbd2.FastAddRange, ext4.Ino(12), make([]byte, 11)) },
			"tag 1 has 15"},
		"short hole":    {func(f *fastImage) { f.add(jbd2.FastDelRange, ext4.Ino(12), uint32(1)) }, "tag 2 has 8"},
		"no name":       {func(f *fastImage) { f.add(jbd2.FastCreate, ext4.RootIno, ext4.Ino(12)) }, "tag 3 has 8"},
		"no link":       {func(f *fastImage) { f.add(jbd2.FastLink, ext4.RootIno, ext4.Ino(12)) }, "tag 4 has 8"},
		"nothing gone":  {func(f *fastImage) { f.add(jbd2.FastUnlink, ext4.RootIno, ext4.Ino(12)) }, "tag 5 has 8"},
		"inode 0":       {func(f *fastImage) { f.add(jbd2.FastInode, ext4.Ino(0), f.logged(1)) }, "inode 0"},
		"inode too far": {func(f *fastImage) { f.add(jbd2.FastInode, ext4.Ino(9999), f.logged(1)) }, "inode 9999"},
		"inode too long": {func(f *fastImage) {
			f.add(jbd2.FastInode, ext4.Ino(12), make([]byte, 300))
		}, "of 300 bytes"},
		"range too far": {func(f *fastImage) {
			f.add(jbd2.FastAddRange, ext4.Ino(12), extent(0, 2, 4095))
		}, "past the image's"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFastImage(t)
			f.head()
			c.add(f)
			f.tail()
			err := f.replay()
			if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), c.says) ||
				!strings.Contains(err.Error(), "fast commit") {
				t.Errorf("%v, expected an error that says %q", err, c.says)
			}
		})
	}
}
