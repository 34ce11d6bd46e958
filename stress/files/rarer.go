package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// rarer does one of the operations that programs use less: k, below 40, says which.
func (w *Workload) rarer(k int, file, fresh string) error {
	s, r := w.Model.Now(), w.rng
	free := s[fresh] == nil
	if file == "" {
		return nil
	}
	if m := os.Getenv("MASK"); m != "" && m[k] == '0' {
		return nil
	}
	size := len(s[file].Data)
	switch {
	case k < 4:
		return w.Allocate(file, r.IntN(size+4000), 1+r.IntN(20000), r.IntN(2) == 0)
	case k < 8:
		return w.Punch(file, r.IntN(size+1000), 1+r.IntN(6000), r.IntN(2) == 0)
	case k < 11:
		return w.comb(file)
	case k < 16: // the same attributes for many, so that they share a block
		return w.SetXattr(file, "user.shared", strings.Repeat("s", w.valueUnit()*r.IntN(3)))
	case k < 18:
		return w.SetAttr(file, uint16(r.IntN(0o1000)), uint32(r.IntN(3))*uint32(1+r.IntN(2)<<15))
	case k < 21:
		from, _ := pick(r, s.paths("f"))
		return w.CopyRange(from, file, r.IntN(len(s[from].Data)+1), r.IntN(size+1), 1+r.IntN(9000))
	case k < 25 && free:
		return w.tmpfile(fresh)
	case k < 28:
		return w.useNameless()
	case k < 32 && free:
		return w.crowd(file, fresh)
	case k < 35 && free:
		return w.churn(fresh)
	case k < 37 && free:
		return w.replace(file, fresh)
	}
	return nil
}

// valueUnit is what lengths of attributes' values are multiples of: such that two have room in a block, or, where a
// value may lie in an inode of its own, sometimes more than a block has.
func (w *Workload) valueUnit() int {
	if w.w.Superblock().Incompat&disk.IncompatEAInode != 0 && w.rng.IntN(3) > 0 {
		return 5 * int(w.w.Superblock().BlockSize)
	}
	return 300
}

// nameLength is the length of a new name: mostly short; a few of the long names fill a block of a directory.
func (w *Workload) nameLength() int {
	if w.rng.IntN(8) == 0 {
		return 150 + w.rng.IntN(100)
	}
	return 1 + w.rng.IntN(40)
}

// ranged is done; a range of a file without extents is not allocated.
func (w *Workload) ranged(err error, what, p string, change func(State)) error {
	if errors.Is(err, ondisk.ErrUnsupported) {
		return nil
	}
	return w.done(err, what+" of "+p, change)
}

// Allocate preallocates a range of a file.
func (w *Workload) Allocate(p string, off, n int, keep bool) error {
	node, err := w.node(p)
	if err != nil {
		return err
	}
	err = w.w.Allocate(someone, node, uint64(off), uint64(n), keep)
	return w.ranged(err, fmt.Sprintf("allocate %d bytes at %d (keep %v)", n, off, keep), p, func(s State) {
		if !keep {
			s.overlay(p, off+n, nil, 0)
		}
	})
}

// Punch makes zeros of a range of a file, with holes or with unwritten blocks.
func (w *Workload) Punch(p string, off, n int, zero bool) error {
	node, err := w.node(p)
	if err != nil {
		return err
	}
	if zero {
		err = w.w.ZeroRange(someone, node, uint64(off), uint64(n), true)
	} else {
		err = w.w.Punch(someone, node, uint64(off), uint64(n))
	}
	return w.ranged(err, fmt.Sprintf("punch %d bytes at %d (zero %v)", n, off, zero), p, func(s State) {
		if k := len(s[p].Data); off < k {
			s.overlay(p, 0, make([]byte, min(n, k-off)), off)
		}
	})
}

// overlay gives a file at least a size, and data at a place.
func (s State) overlay(p string, size int, data []byte, off int) {
	s.alter(p, func(n *Node) {
		d := make([]byte, max(len(n.Data), size, off+len(data)))
		copy(d, n.Data)
		copy(d[off:], data)
		n.Data = d
	})
}

// comb writes every other block of a part of a file: so many extents that cutting them takes several transactions.
func (w *Workload) comb(p string) error {
	bs := int(w.w.Superblock().BlockSize)
	at := len(w.Model.Now()[p].Data) / bs
	for i := range 16 + w.rng.IntN(12) {
		if err := w.Write(p, (at+2*i)*bs, w.content(1+w.rng.IntN(bs))); err != nil {
			return err
		}
	}
	if w.rng.IntN(2) == 0 {
		return w.Truncate(p, w.rng.IntN(at*bs+1))
	}
	return nil
}

// SetAttr sets a file's permissions and owner.
func (w *Workload) SetAttr(p string, mode uint16, owner uint32) error {
	node, err := w.node(p)
	if err != nil {
		return err
	}
	_, err = w.w.SetAttr(someone, node, ext4.Attr{Mode: &mode, UID: &owner})
	return w.done(err, fmt.Sprintf("mode %o, owner %d of %s", mode, owner, p), func(s State) {
		s.alter(p, func(n *Node) { n.Mode, n.Owner = mode, owner })
	})
}

// CopyRange copies from one file to another, or within one.
func (w *Workload) CopyRange(from, to string, off, at, n int) error {
	a, err := w.node(from)
	if err != nil {
		return err
	}
	b, err := w.node(to)
	if err != nil {
		return err
	}
	data := w.Model.Now()[from].Data
	n = min(n, len(data)-off) // as the kernel bounds the request: else a copy within one file would read its own copy
	data = data[off : off+n]
	k, err := w.w.CopyRange(context.Background(), someone, ext4.Range{Node: a, Offset: int64(off)},
		ext4.Range{Node: b, Offset: int64(at)}, uint64(n))
	if errors.Is(err, ext4.ErrNoSpace) && k > 0 {
		data, err = data[:k], nil
	}
	return w.done(err, fmt.Sprintf("copy %d bytes at %d of %s to %d of %s", n, off, from, at, to), func(s State) {
		if len(data) > 0 {
			s.overlay(to, 0, data, at)
		}
	})
}

// tmpfile is a file that was made without a name.
type tmpfile struct {
	node ext4.Node
	data []byte
}

// tmpfile makes a file without a name, adds to it, or gives it one.
func (w *Workload) tmpfile(name string) error {
	dir, base, err := w.parent(name)
	if err != nil {
		return err
	}
	if w.tmp == nil {
		n, err := w.w.Tmpfile(someone, dir, ext4.CreateOptions{Mode: disk.ModeRegular | 0o600})
		if err := w.done(err, "tmpfile", func(State) {}); err != nil {
			return err
		}
		w.tmp = &tmpfile{node: ext4.NodeOf(&n)}
	}
	t := w.tmp
	for range w.rng.IntN(3) {
		data := w.content(1 + w.rng.IntN(4000))
		k, err := w.w.Write(someone, t.node, int64(len(t.data)), data, false)
		t.data = append(t.data, data[:k]...)
		if err := w.done(err, fmt.Sprintf("write %d bytes to tmpfile", k), func(State) {}); err != nil {
			return err
		}
	}
	if w.rng.IntN(2) == 0 {
		return nil
	}
	_, err = w.w.Link(someone, t.node, dir, base)
	err = w.done(err, "link tmpfile to "+name, func(s State) {
		s[name] = &Node{ID: w.Model.nextID, Kind: 'f', Links: 1, Data: t.data, Mode: 0o600}
		w.Model.nextID++
	})
	if err == nil {
		w.tmp = nil
	}
	return err
}

// useNameless writes to an open file that has no name any more, cuts it, and closes it. It changes whole blocks behind
// the end only: as file data is written in place, a crash that gives the file its name back would show other changes,
// which the model does not have.
func (w *Workload) useNameless() error {
	if len(w.nameless) == 0 {
		return nil
	}
	n := w.nameless[0]
	var live ext4.Inode
	if err := w.w.View(func(fs *ext4.FS) error { return fs.ReadNode(&live, n) }); err != nil {
		return fmt.Errorf("an open file: %w", err)
	}
	if live.IsRegular() {
		bs, to := int64(w.w.Superblock().BlockSize), uint64(w.rng.IntN(5000))
		to -= to % uint64(bs)
		end := (int64(live.Size) + bs - 1) / bs * bs
		for i := range int64(w.rng.IntN(30)) {
			_, err := w.w.Write(someone, n, end+2*i*bs, w.content(100), false)
			if err != nil && !errors.Is(err, ext4.ErrNoSpace) {
				return err
			}
		}
		if w.rng.IntN(2) == 0 {
			if _, err := w.w.SetAttr(someone, n, ext4.Attr{Size: &to}); err != nil {
				return err
			}
		}
	}
	if w.rng.IntN(2) == 0 {
		return nil
	}
	w.nameless = w.nameless[1:]
	w.Did = append(w.Did, "close an open file")
	return w.w.Evict(n)
}

// crowd gives a file so many names that its directory gets a hash tree, moves some, and takes most away.
func (w *Workload) crowd(file, fresh string) error {
	var names []string
	for i := range 6 + w.rng.IntN(20) {
		name := fmt.Sprintf("%s%s%d", fresh[:min(len(fresh), strings.LastIndexByte(fresh, '/')+20)],
			strings.Repeat("c", w.rng.IntN(200)), i)
		if w.Model.Now()[name] != nil {
			continue
		}
		var err error
		if len(names) > 0 && w.rng.IntN(3) == 0 {
			k := w.rng.IntN(len(names))
			err = w.Rename(names[k], name, 0)
			names[k] = name
		} else {
			err = w.Link(file, name)
			names = append(names, name)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range names {
		if w.rng.IntN(4) > 0 {
			if err := w.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// churn makes and removes directories, and files that may get their blocks.
func (w *Workload) churn(fresh string) error {
	if strings.Count(fresh, "/") > 3 {
		return nil
	}
	for range 1 + w.rng.IntN(3) {
		if err := w.Create(fresh, 'd', ""); err != nil {
			return err
		}
		if err := w.Create(fresh+"/l", 'l', strings.Repeat("t", 100)); err != nil {
			return err
		}
		if w.rng.IntN(3) == 0 {
			if err := w.Sync(fresh); err != nil {
				return err
			}
		}
		for _, p := range []string{fresh + "/l", fresh} {
			if err := w.Remove(p); err != nil {
				return err
			}
		}
		if w.rng.IntN(3) == 0 {
			if err := w.Sync(""); err != nil {
				return err
			}
		}
		if err := w.Create(fresh, 'f', ""); err != nil {
			return err
		}
		if err := w.Write(fresh, 0, w.content(1+w.rng.IntN(4000))); err != nil {
			return err
		}
		if err := w.Remove(fresh); err != nil {
			return err
		}
	}
	return nil
}

// replace does as careful programs do: a new file takes the place of an old one, with fsync before and after.
func (w *Workload) replace(file, fresh string) error {
	for _, do := range []func() error{
		func() error { return w.Create(fresh, 'f', "") },
		func() error { return w.Write(fresh, 0, w.content(1+w.rng.IntN(4000))) },
		func() error { return w.Sync(fresh) },
		func() error { return w.Rename(fresh, file, 0) },
		func() error { return w.Sync(file) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}
