package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
)

// fileModel is what a file must hold: its bytes, and which of its blocks are allocated and written. It knows
// nothing of trees and pointers.
type fileModel struct {
	m      *memFS
	node   Node
	bs     int
	data   []byte
	blocks map[int]Kind // those that are not holes, behind the end too
	step   int
}

func newFileModel(m *memFS, name string) *fileModel {
	f := &fileModel{m: m, bs: int(m.super.BlockSize), blocks: map[int]Kind{}}
	f.node = m.mkfile(Root, name, nil)
	return f
}

// resize makes the model's file longer or shorter.
func (f *fileModel) resize(size int) {
	f.data = append(f.data, make([]byte, max(0, size-len(f.data)))...)[:size]
}

// write writes bytes that no step before wrote.
func (f *fileModel) write(at, length int) {
	f.m.t.Helper()
	f.step++
	p := fill(f.step, length)
	f.m.write(f.node, int64(at), p)
	f.resize(max(len(f.data), at+length))
	copy(f.data[at:], p)
	for b := at / f.bs; b*f.bs < at+length; b++ {
		f.blocks[b] = Data
	}
}

func (f *fileModel) truncate(size int) {
	f.m.t.Helper()
	s := uint64(size)
	ok(f.m.SetAttr(Cred{}, f.node, Attr{Size: &s}))(f.m.t)
	keeps := size > len(f.data) // what is allocated behind the end
	f.resize(size)
	for b := range f.blocks {
		if b*f.bs >= size && !keeps {
			delete(f.blocks, b)
		}
	}
}

func (f *fileModel) punch(at, length int) {
	f.m.t.Helper()
	is(f.m.t, "punch", f.m.Punch(Cred{}, f.node, uint64(at), uint64(length)), nil)
	f.clear(at, length)
	for b := (at + f.bs - 1) / f.bs; (b+1)*f.bs <= at+length; b++ {
		delete(f.blocks, b)
	}
}

func (f *fileModel) clear(at, length int) {
	if at < len(f.data) {
		clear(f.data[at:min(at+length, len(f.data))])
	}
}

func (f *fileModel) zero(at, length int, keep bool) {
	f.m.t.Helper()
	is(f.m.t, "zero", f.m.ZeroRange(Cred{}, f.node, uint64(at), uint64(length), keep), nil)
	f.clear(at, length)
	for b := (at + f.bs - 1) / f.bs; (b+1)*f.bs <= at+length; b++ {
		f.blocks[b] = Unwritten
	}
	f.reserve(at, length, keep)
}

func (f *fileModel) allocate(at, length int, keep bool) {
	f.m.t.Helper()
	is(f.m.t, "allocate", f.m.Allocate(Cred{}, f.node, uint64(at), uint64(length), keep), nil)
	f.reserve(at, length, keep)
}

func (f *fileModel) reserve(at, length int, keep bool) {
	for b := at / f.bs; b*f.bs < at+length; b++ {
		if f.blocks[b] == Hole {
			f.blocks[b] = Unwritten
		}
	}
	if !keep {
		f.resize(max(len(f.data), at+length))
	}
}

// verify compares the file with the model: its bytes, the kind of each block, and how much it occupies, less
// the blocks of its tree.
func (f *fileModel) verify(tree int) {
	t := f.m.t
	t.Helper()
	n := f.m.stat(f.node)
	if n.Size != uint64(len(f.data)) {
		t.Fatalf("step %d: %d bytes, expected %d", f.step, n.Size, len(f.data))
	}
	if got := f.m.read(f.node); !bytes.Equal(got, f.data) {
		t.Fatalf("step %d: contents differ from byte %d on", f.step, firstDifference(got, f.data))
	}
	last := 0
	for b := range f.blocks {
		last = max(last, b)
	}
	is(t, "map", f.m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, f.node); err != nil {
			return err
		}
		for b := range last + 2 {
			r, err := n.Map(FileBlock(b))
			if err != nil {
				return err
			}
			if r.Kind != f.blocks[b] {
				return fmt.Errorf("step %d: block %d is %d, expected %d", f.step, b, r.Kind, f.blocks[b])
			}
		}
		return nil
	}), nil)
	if tree >= 0 {
		per := int(f.m.super.ClusterBlocks)
		clusters := map[int]bool{}
		for b := range f.blocks {
			clusters[b/per] = true
		}
		if got, want := n.Blocks, uint64((len(clusters)+tree)*per*f.bs/512); got != want {
			t.Fatalf("step %d: occupies %d sectors, expected %d", f.step, got, want)
		}
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestFile_Random does what is drawn to a file, on trees and on pointers, and compares it with the model
// after each step.
func TestFile_Random(t *testing.T) {
	for _, form := range []string{"1k", "4k", "groups", "ext3", "ext3 4k", "bigalloc", "bigalloc 1k", "bigalloc 64k"} {
		t.Run(form, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			m := openMem(t, form)
			f := newFileModel(m, "file")
			extents := !strings.HasPrefix(form, "ext3")
			reach := 150 * f.bs
			for step := range 120 {
				at, length := random.IntN(reach), 1+random.IntN(12*f.bs)
				if random.IntN(2) == 0 {
					at, length = at/f.bs*f.bs, (length/f.bs+1)*f.bs
				}
				switch op := random.IntN(12); {
				case op < 6:
					f.write(at, length)
				case op == 6:
					f.truncate(at)
				case op < 9:
					f.punch(at, length)
				case !extents:
					is(t, "zero without extents", m.ZeroRange(Cred{}, f.node, uint64(at), uint64(length), false),
						ondisk.ErrUnsupported)
					is(t, "allocate without extents", m.Allocate(Cred{}, f.node, uint64(at), uint64(length), false),
						ondisk.ErrUnsupported)
				case op == 9:
					f.zero(at, length, random.IntN(2) == 0)
				default:
					f.allocate(at, length, random.IntN(2) == 0)
				}
				if step%10 == 9 {
					f.verify(-1)
				}
				if step%40 == 39 {
					m.check()
				}
			}
			f.truncate(0)
			f.verify(0)
			m.check()
		})
	}
}

// TestFile_Refused is what each operation on contents says to what it cannot work on.
func TestFile_Refused(t *testing.T) {
	m := openMem(t, "1k")
	dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", fill(1, 3000))
	fifo := m.make(Root, "fifo", CreateOptions{Mode: 0o010644})
	gone := m.mkfile(Root, "gone", nil)
	m.unlink(Root, "gone")
	most := m.maxSize(&Inode{})
	n := m.stat(file)
	if n.Has(0x80000) {
		most = m.maxSize(&n)
	}
	do := func(node Node, offset, length uint64) map[string]error {
		end := offset + length
		_, written := m.Write(Cred{}, node, int64(offset), make([]byte, min(length, 10)), false)
		_, cut := m.SetAttr(Cred{}, node, Attr{Size: &end})
		return map[string]error{
			"write": written, "truncate": cut,
			"allocate": m.Allocate(Cred{}, node, offset, length, false),
			"punch":    m.Punch(Cred{}, node, offset, length),
			"zero":     m.ZeroRange(Cred{}, node, offset, length, false),
		}
	}
	for _, c := range []struct {
		name           string
		node           Node
		offset, length uint64
		want           error
	}{
		{"a directory", dir, 0, 100, ErrIsDir},
		{"a pipe", fifo, 0, 100, ErrInvalid},
		{"a file that is gone", gone, 0, 100, ErrStale},
		{"past the greatest size", file, most - 1, 10, ErrTooBig},
	} {
		for what, err := range do(c.node, c.offset, c.length) {
			if !errors.Is(err, c.want) {
				t.Errorf("%s on %s: %v, expected %v", what, c.name, err, c.want)
			}
		}
	}
	if _, err := m.Write(Cred{}, file, -1, []byte("x"), false); !errors.Is(err, ErrInvalid) {
		t.Errorf("write before the beginning: %v", err)
	}
	if got := m.read(file); !bytes.Equal(got, fill(1, 3000)) {
		t.Error("a refused operation has changed the file")
	}
	m.check()
}

// TestFile_JournalData writes file data as edits of the transaction: a reader gets it from there until it is home.
func TestFile_JournalData(t *testing.T) {
	m := openMemWith(t, memImageOf(t, "1k"), WriteOptions{JournalData: true})
	f := newFileModel(m, "file")
	f.write(0, 40*f.bs) // more than one transaction writes
	f.write(5*f.bs+100, 3*f.bs)
	f.verify(0)
	m.check()
	f.punch(10*f.bs, 5*f.bs)
	f.truncate(30*f.bs + 17)
	f.verify(0)
	m.check()
	next := m.reopen()
	if !bytes.Equal(next.read(f.node), f.data) {
		t.Fatal("contents differ after the image was opened again")
	}
}

// TestFile_Whole compares Write and WriteWhole where only a part fits.
func TestFile_Whole(t *testing.T) {
	m := openMem(t, "small")
	free := int(ok(m.Stat())(t).Available)
	bs := int(m.super.BlockSize)
	file := m.mkfile(Root, "file", nil)
	p := fill(1, (free+20)*bs)
	n, err := m.WriteWhole(Cred{}, file, 0, p, false)
	if is(t, "more than fits, whole", err, ErrNoSpace); n != 0 {
		t.Fatalf("%d bytes of it were written", n)
	}
	n, err = m.Write(Cred{}, file, 0, p, false)
	is(t, "more than fits", err, ErrNoSpace)
	if n < (free-4)*bs || !bytes.Equal(m.read(file), p[:n]) {
		t.Fatalf("%d bytes of %d blocks were written", n, free)
	}
	m.check()
}

// steps runs changes of blocks: w0+4 writes file blocks 0 to 3, p punches, a allocates, z zeros, t5 cuts at 5, and
// s syncs.
func (f *fileModel) steps(text string) {
	f.m.t.Helper()
	for _, step := range strings.Fields(text) {
		var at, length int
		_, _ = fmt.Sscanf(step[1:], "%d+%d", &at, &length)
		at, length = at*f.bs, length*f.bs
		switch step[0] {
		case 's':
			f.m.sync()
			f.m.alloc.reuseFreed()
		case 'w':
			f.write(at, length)
		case 'p':
			f.punch(at, length)
		case 'a':
			f.allocate(at, length, false)
		case 'z':
			f.zero(at, length, false)
		case 't':
			f.truncate(at)
		default:
			f.m.t.Fatalf("no step %q", step)
		}
	}
}
