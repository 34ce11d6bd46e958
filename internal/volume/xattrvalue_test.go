package volume_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestXattrValue_Kernel compares attributes of all lengths with those that the kernel makes by the same steps on an
// image of the same form: the same ones find no room, and each inode has as many blocks.
func TestXattrValue_Kernel(t *testing.T) {
	for _, args := range [][]string{
		{"-b", "4096"}, {"-b", "1024"}, {"-b", "1024", "-I", "128"}, {"-b", "4096", "-I", "1024"},
		{"-b", "4096", "-O", "^metadata_csum,^extent,^64bit"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			// In a journal of 1,024 blocks the kernel has no room for a value of 64 blocks.
			mkfs := append([]string{"-t", "ext4", "-O", "ea_inode", "-J", "size=8"}, args...)
			c := comparison{rounds: 2, count: 300, values: valueLengths, kernel: mkfs}
			c.without = []string{"punch", "zero", "allocate"} // they may leave another count of blocks
			if !slices.Contains(args, "128") {
				// e2fsck 1.47 takes a short symlink without a block of attributes for a long one if it has such a
				// value, the kernel's, too.
				c.without = append(c.without, "symlink")
			}
			c.run(t, mkfs...)
		})
	}
}

// valueLengths are lengths of attributes' values: in the inode, in the block, in an inode of their own, and about where
// each begins.
func valueLengths(r *rand.Rand) int {
	switch r.IntN(8) {
	case 0, 1:
		return r.IntN(130)
	case 2:
		return 800 + r.IntN(300)
	case 3:
		return 3500 + r.IntN(700)
	case 4:
		return r.IntN(65537)
	}
	return r.IntN(5000)
}

// valueBytes are the bytes of an image that say what attributes a file has: its slot, its block of attributes, and the
// slots of the inodes that hold values, without what cannot be the same twice.
type valueBytes struct {
	slot, block []byte
	values      map[disk.Ino][]byte
}

func readValues(t *testing.T, image, file string) (out valueBytes) {
	t.Helper()
	p := must[[]byte](t)(os.ReadFile(image))
	fs := must[*ext4.FS](t)(ext4.Open(blockcache.Memory(p), ext4.Options{}))
	s := fs.Superblock()
	n := must[*ext4.Inode](t)(fs.Resolve(file, false))
	slot := func(ino disk.Ino) []byte {
		g, nth, offset := s.InodeBlock(ino)
		d := must[disk.GroupDesc](t)(fs.GroupDesc(g))
		q := bytes.Clone(p[s.BlockSize.Offset(d.InodeTable+nth)+int64(offset):][:s.InodeSize])
		// time of modification, where the blocks lie, generation, checksum; the same beyond 128 bytes, time of creation
		cut := [][2]int{{0x10, 0x14}, {0x28, 0x68}, {0x7c, 0x7e}, {0x82, 0x84}, {0x88, 0x8c}, {0x90, 0x98}}
		if ino == n.Ino { // time of change, version, the block of attributes
			cut = append(cut, [][2]int{{0xc, 0x10}, {0x24, 0x28}, {0x68, 0x6c}, {0x84, 0x88}, {0x98, 0x9c}}...)
		}
		for _, c := range cut {
			if c[1] <= 0x80 || len(q) > 128 {
				clear(q[c[0]:c[1]])
			}
		}
		return q
	}
	out.slot, out.values = slot(n.Ino), map[disk.Ino][]byte{}
	attrs := must[[]disk.Xattr](t)(disk.DecodeInodeXattrs(n.Ino, n.XattrArea))
	if n.FileACL != 0 {
		out.block = bytes.Clone(p[s.BlockSize.Offset(n.FileACL):][:s.BlockSize])
		attrs = append(attrs, must[[]disk.Xattr](t)(s.DecodeXattrBlock(n.FileACL, out.block))...)
		clear(out.block[0x10:0x14]) // the checksum is of its place, too
	}
	for _, a := range attrs {
		if a.ValueIno != 0 {
			out.values[a.ValueIno] = slot(a.ValueIno)
		}
	}
	return out
}

// TestXattrValue_Bytes: what the kernel writes for the same attributes, varve writes, byte for byte.
func TestXattrValue_Bytes(t *testing.T) {
	oracle.NeedRoot(t)
	attrs := []struct {
		name   string
		length int
	}{{"trusted.a", 5000}, {"trusted.b", 65536}, {"trusted.bb", 5000}, {"trusted.c", 40}, {"trusted.d", 4040},
		{"trusted.e", 700}, {"trusted.f", 9000}, {"trusted.long", 4097}}
	for _, args := range [][]string{{"-b", "4096"}, {"-b", "4096", "-I", "128"}, {"-b", "1024"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			fatal := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			theirs := mkfs(t, "24M", append([]string{"-t", "ext4", "-O", "ea_inode", "-J", "size=8"}, args...)...)
			dir, unmount := oracle.MountKernel(t, theirs, "user_xattr")
			fatal(os.WriteFile(filepath.Join(dir, "file"), []byte("contents"), 0o644))
			fatal(os.Chown(filepath.Join(dir, "file"), 70001, 70002))
			unmount()
			ours := oracle.Copy(t, theirs)
			dir, unmount = oracle.MountKernel(t, theirs, "user_xattr")
			w := open(t, ours, volume.WriteOptions{})
			node := must[ext4.Node](t)(varveDoer{w}.node("file"))
			for i, a := range attrs {
				value := bytes.Repeat([]byte{byte('a' + i/3)}, a.length)
				fatal(unix.Setxattr(filepath.Join(dir, "file"), a.name, value, 0))
				fatal(w.SetXattr(root, node, a.name, value, 0, false))
			}
			unmount()
			fatal(w.Close())
			oracle.Clean(t, ours)
			want, got := readValues(t, theirs, "/file"), readValues(t, ours, "/file")
			if len(want.values) < 4 {
				t.Errorf("the kernel has %d values in inodes of their own", len(want.values))
			}
			if !bytes.Equal(got.slot, want.slot) {
				t.Errorf("the file's inode is\n%x, the kernel's is\n%x", got.slot, want.slot)
			}
			if !bytes.Equal(got.block, want.block) {
				t.Errorf("the block of attributes is\n%x, the kernel's is\n%x", got.block, want.block)
			}
			for ino, slot := range want.values {
				if !bytes.Equal(got.values[ino], slot) {
					t.Errorf("the value's inode %d is\n%x, the kernel's is\n%x", ino, got.values[ino], slot)
				}
			}
		})
	}
}

// TestXattrValue_OtherName: two attributes have one another's value on the image. Its hash in an entry is that of name
// and value, so reading either is an error, as with the kernel, and not the other's value.
func TestXattrValue_OtherName(t *testing.T) {
	oracle.NeedRoot(t)
	path := mkfs(t, "16M", "-t", "ext4", "-b", "4096", "-I", "128", "-O", "ea_inode,^metadata_csum")
	w := open(t, path, volume.WriteOptions{})
	f := mkfile(t, w, ext4.Root, "f", nil)
	for i, name := range []string{"user.a", "user.b"} {
		value := bytes.Repeat([]byte{byte(i + 1)}, 5000)
		if err := w.SetXattr(root, f, name, value, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := must[[]byte](t)(os.ReadFile(path))
	n := must[*ext4.Inode](t)(must[*ext4.FS](t)(ext4.Open(blockcache.Memory(p), ext4.Options{})).Resolve("f", false))
	const first, second, value = 32 + 4, 32 + 20 + 4, 4 // where the two entries have the number of an inode
	q := p[int64(n.FileACL)*4096:]
	a, b := bytes.Clone(q[first:first+value]), bytes.Clone(q[second:second+value])
	copy(q[first:], b)
	copy(q[second:], a)
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	n = must[*ext4.Inode](t)(must[*ext4.FS](t)(ext4.Open(blockcache.Memory(p), ext4.Options{})).Resolve("f", false))
	dir, _ := oracle.MountKernel(t, path, "ro,user_xattr")
	for _, name := range []string{"user.a", "user.b"} {
		if _, err := unix.Getxattr(filepath.Join(dir, "f"), name, make([]byte, 1<<16)); err != unix.EUCLEAN {
			t.Errorf("%s with the kernel: %v", name, err)
		}
		if v, err := n.Xattr(name); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("%s: %d bytes, %v", name, len(v), err)
		}
	}
}
