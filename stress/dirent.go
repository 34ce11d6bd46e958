package stress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

const direntBlocks = 16

// dirent is the workload of names that come and go in directory blocks, laid out like ext4's linear ones: inode u32,
// record length u16, name length u16, name.
type dirent struct {
	run  *Run
	mu   sync.Mutex
	live map[string]bool // guarded by mu: the committed names
}

var (
	errExists = errors.New("the name exists")
	errNoRoom = errors.New("no room in the directory block")
	errAbsent = errors.New("the name does not exist")
)

func newDirent(r *Run) load { return &dirent{run: r, live: map[string]bool{}} }

func (d *dirent) setup(ctx context.Context) error {
	return d.run.store.Update(ctx, func(tx *mvcc.Tx) error {
		for n := range block.Number(direntBlocks) {
			b := make([]byte, d.run.store.BlockSize())
			binary.LittleEndian.PutUint16(b[4:], uint16(len(b)-1)) // one free record, a byte short so that 64 KiB fits 16 bits
			if err := tx.Edit(n, merge.Set(0, b[:8])); err != nil {
				return err
			}
		}
		return nil
	})
}

type entry struct {
	off, length int
	inode       uint32
	name        []byte
}

// entries walks a directory block. A malformed one ends the walk with ok false.
func entries(b []byte, do func(entry) bool) (ok bool) {
	for off := 0; off < len(b)-1; {
		if off+8 > len(b) {
			return false
		}
		length, n := int(binary.LittleEndian.Uint16(b[off+4:])), int(binary.LittleEndian.Uint16(b[off+6:]))
		if length < 8+n || off+length > len(b)-1 {
			return false
		}
		if !do(entry{off, length, binary.LittleEndian.Uint32(b[off:]), b[off+8 : off+8+n]}) {
			return true
		}
		off += length
	}
	return true
}

// insert puts a name into the first gap that takes it.
func insert(b []byte, inode uint32, name []byte) error {
	at, err := entry{off: -1}, error(nil)
	need := 8 + len(name)
	entries(b, func(e entry) bool {
		if e.inode != 0 && bytes.Equal(e.name, name) {
			err = errExists
			return false
		}
		free := e.length
		if e.inode != 0 {
			free -= 8 + len(e.name)
		}
		if at.off < 0 && free >= need {
			at = e
		}
		return true
	})
	if err == nil && at.off < 0 {
		err = errNoRoom
	}
	if err != nil {
		return err
	}
	le, off, length := binary.LittleEndian, at.off, at.length
	if at.inode != 0 { // the end of a longer record
		used := 8 + len(at.name)
		le.PutUint16(b[off+4:], uint16(used))
		off, length = off+used, length-used
	}
	le.PutUint32(b[off:], inode)
	le.PutUint16(b[off+4:], uint16(length))
	le.PutUint16(b[off+6:], uint16(len(name)))
	copy(b[off+8:], name)
	return nil
}

// remove takes a name out, and joins its record with the one before.
func remove(b []byte, name []byte) error {
	var before, found entry
	before.off, found.off = -1, -1
	entries(b, func(e entry) bool {
		if e.inode != 0 && bytes.Equal(e.name, name) {
			found = e
			return false
		}
		before = e
		return true
	})
	if found.off < 0 {
		return errAbsent
	}
	if before.off >= 0 {
		binary.LittleEndian.PutUint16(b[before.off+4:], uint16(before.length+found.length))
		return nil
	}
	binary.LittleEndian.PutUint32(b[found.off:], 0)
	binary.LittleEndian.PutUint16(b[found.off+6:], 0)
	return nil
}

// names are the names that a writer has inserted.
type names struct{ list []string }

func blockOf(name string) block.Number {
	h := uint32(2166136261)
	for _, c := range []byte(name) {
		h = (h ^ uint32(c)) * 16777619
	}
	return block.Number(h >> 8 % direntBlocks)
}

func (d *dirent) step(tx *mvcc.Tx, w *writer) (func(), error) {
	mine, _ := w.state.(*names)
	if mine == nil {
		mine = &names{}
		w.state = mine
	}
	if k := len(mine.list); k > 0 && (k > 6 || w.rng.IntN(2) == 0) {
		return d.remove(tx, w, mine, w.rng.IntN(k))
	}
	name := fmt.Sprintf("w%d-%x", w.id, w.fresh()&0xffffff)
	err := tx.Edit(blockOf(name), merge.Reapply(func(b []byte) error { return insert(b, uint32(w.id+1), []byte(name)) }))
	if errors.Is(err, errNoRoom) {
		if len(mine.list) == 0 {
			return nothing, nil
		}
		return d.remove(tx, w, mine, 0)
	}
	return func() {
		mine.list = append(mine.list, name)
		d.mu.Lock()
		d.live[name] = true
		d.mu.Unlock()
	}, err
}

func (d *dirent) remove(tx *mvcc.Tx, w *writer, mine *names, k int) (func(), error) {
	name := mine.list[k]
	return func() {
		mine.list = append(mine.list[:k], mine.list[k+1:]...)
		d.mu.Lock()
		delete(d.live, name)
		d.mu.Unlock()
	}, tx.Edit(blockOf(name), merge.Reapply(func(b []byte) error { return remove(b, []byte(name)) }))
}

func (d *dirent) check(tx *mvcc.Tx, running bool) (bad []string) {
	seen := map[string]bool{}
	for n := range block.Number(direntBlocks) {
		b, err := tx.ReadBlock(n)
		if err != nil {
			return append(bad, err.Error())
		}
		ok := entries(b, func(e entry) bool {
			if e.inode == 0 {
				return true
			}
			if seen[string(e.name)] || blockOf(string(e.name)) != n {
				bad = append(bad, fmt.Sprintf("the name %q is there twice, or in the wrong block", e.name))
			}
			seen[string(e.name)] = true
			return true
		})
		if !ok {
			bad = append(bad, fmt.Sprintf("directory block %d is malformed", n))
		}
	}
	if running {
		return bad
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.live {
		if !seen[name] {
			bad = append(bad, fmt.Sprintf("the name %q is lost", name))
		}
	}
	if len(seen) != len(d.live) {
		bad = append(bad, fmt.Sprintf("%d names are there, and %d were put there", len(seen), len(d.live)))
	}
	return bad
}
