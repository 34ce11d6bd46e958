package files

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// Workload runs operations on a file system and on a model of it.
type Workload struct {
	Model *Model
	Did   []string // for messages

	w    *volume.Writable
	dev  blockcache.Writable
	open Opener
	opts volume.WriteOptions
	rng  *rand.Rand

	closed   bool        // no file is open when it is removed
	nameless []ext4.Node // that have lost their names, and are open
	tmp      *tmpfile    // nil: there is none

	trace *blockcache.Trace // nil: nothing is noted
}

// Opener opens what a device holds: volume.OpenOn a file system, another one an overlay.
type Opener func(blockcache.Writable, volume.WriteOptions) (*volume.Writable, error)

// NewWorkload opens a file system on a device, which is empty but for lost+found. Notes about what was done and
// promised go to the trace, which may be nil.
func NewWorkload(
	dev blockcache.Writable, open Opener, opts volume.WriteOptions, seed uint64, trace *blockcache.Trace,
) (*Workload, error) {
	w := &Workload{Model: NewModel(), dev: dev, open: open, opts: opts, rng: rand.New(rand.NewPCG(seed, 7)), trace: trace}
	var err error
	w.w, err = open(dev, opts)
	return w, err
}

func (w *Workload) mark(what string) {
	if w.trace != nil {
		w.trace.Note(what)
	}
}

// node finds a path's node in the file system.
func (w *Workload) node(p string) (ext4.Node, error) {
	var out ext4.Node
	err := w.w.View(func(fs *ext4.FS) error {
		n, err := fs.Resolve(p, false)
		if err == nil {
			out = ext4.NodeOf(n)
		}
		return err
	})
	return out, err
}

func (w *Workload) parent(p string) (ext4.Node, string, error) {
	dir, name := path.Split(p)
	n, err := w.node(dir)
	return n, name, err
}

var someone = ext4.Cred{}

// errFull is a file system without room: the operation has not happened, which is as it should be.
var errFull = errors.New("full")

// done notes that an operation happened, to the file system and to the model.
func (w *Workload) done(err error, what string, change func(State)) error {
	if errors.Is(err, ext4.ErrNoSpace) {
		return errFull
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	w.Model.step(change)
	w.Did = append(w.Did, what)
	w.mark(fmt.Sprintf("op %d", len(w.Model.States)-1))
	return nil
}

// Create makes a file, directory or symlink.
func (w *Workload) Create(p string, kind byte, target string) error {
	dir, name, err := w.parent(p)
	if err != nil {
		return err
	}
	c := ext4.CreateOptions{Mode: disk.ModeRegular | 0o644}
	switch kind {
	case 'd':
		c.Mode = disk.ModeDir | 0o755
	case 'l':
		c = ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: target}
	}
	_, err = w.w.Create(someone, dir, name, c)
	return w.done(err, fmt.Sprintf("create %s (%c)", p, kind), func(s State) {
		s[p] = &Node{ID: w.Model.nextID, Kind: kind, Links: 1, Data: []byte(target), Mode: c.Mode &^ disk.ModeType}
		w.Model.nextID++
	})
}

// Write writes to a file.
func (w *Workload) Write(p string, off int, data []byte) error {
	n, err := w.node(p)
	if err != nil {
		return err
	}
	k, err := w.w.Write(someone, n, int64(off), data, false)
	full := errors.Is(err, ext4.ErrNoSpace)
	if full && k > 0 {
		data, err = data[:k], nil // as write(2) reports
	}
	return w.done(err, fmt.Sprintf("write %d bytes at %d of %s", len(data), off, p), func(s State) {
		s.alter(p, func(n *Node) {
			d := make([]byte, max(len(n.Data), off+len(data)))
			copy(d, n.Data)
			copy(d[off:], data)
			n.Data = d
		})
	})
}

// Truncate sets a file's size.
func (w *Workload) Truncate(p string, size int) error {
	n, err := w.node(p)
	if err != nil {
		return err
	}
	to := uint64(size)
	_, err = w.w.SetAttr(someone, n, ext4.Attr{Size: &to})
	return w.done(err, fmt.Sprintf("truncate %s to %d", p, size), func(s State) {
		s.alter(p, func(n *Node) {
			d := make([]byte, size)
			copy(d, n.Data)
			n.Data = d
		})
	})
}

// Remove removes a name, and frees what it was the last one of.
func (w *Workload) Remove(p string) error {
	dir, name, err := w.parent(p)
	if err != nil {
		return err
	}
	var r ext4.Removed
	if w.Model.Now()[p].Kind == 'd' {
		r, err = w.w.Rmdir(someone, dir, name)
	} else {
		r, err = w.w.Unlink(someone, dir, name)
	}
	if err := w.done(err, "remove "+p, func(s State) { s.remove(p) }); err != nil {
		return err
	}
	return w.lost(r)
}

// lost has a node that lost its last name freed, unless it is still open.
func (w *Workload) lost(r ext4.Removed) error {
	switch {
	case !r.Last:
		return nil
	case w.closed || w.rng.IntN(4) > 0:
		return w.w.Evict(r.Node)
	}
	w.nameless = append(w.nameless, r.Node)
	return nil
}

// Rename moves a name, or exchanges two.
func (w *Workload) Rename(from, to string, flags ext4.RenameFlags) error {
	a, name, err := w.parent(from)
	if err != nil {
		return err
	}
	b, newName, err := w.parent(to)
	if err != nil {
		return err
	}
	r, err := w.w.Rename(someone, a, name, b, newName, flags)
	err = w.done(err, fmt.Sprintf("rename %s to %s, flags %d", from, to, flags), func(s State) {
		if flags&ext4.RenameExchange != 0 {
			swap(s, from, to)
			return
		}
		if s[to] != nil && s[to].ID == s[from].ID {
			return
		}
		if s[to] != nil {
			s.remove(to)
		}
		move(s, from, to)
	})
	if err == nil {
		err = w.lost(r)
	}
	return err
}

func move(s State, from, to string) {
	for _, p := range append(s.under(from), from) {
		n := s[p]
		delete(s, p)
		s[to+strings.TrimPrefix(p, from)] = n
	}
}

func swap(s State, a, b string) {
	move(s, a, "\x00")
	move(s, b, a)
	move(s, "\x00", b)
}

// Link gives a file another name.
func (w *Workload) Link(from, to string) error {
	n, err := w.node(from)
	if err != nil {
		return err
	}
	dir, name, err := w.parent(to)
	if err != nil {
		return err
	}
	_, err = w.w.Link(someone, n, dir, name)
	return w.done(err, fmt.Sprintf("link %s to %s", to, from), func(s State) {
		s.alter(from, func(n *Node) { n.Links++ })
		s[to] = s[from]
	})
}

// SetXattr sets an attribute, or removes it where value is empty.
func (w *Workload) SetXattr(p, name, value string) error {
	n, err := w.node(p)
	if err != nil {
		return err
	}
	if value == "" {
		if err = w.w.RemoveXattr(someone, n, name); errors.Is(err, ext4.ErrNoXattr) {
			err = nil
		}
	} else {
		err = w.w.SetXattr(someone, n, name, []byte(value), 0, false)
	}
	return w.done(err, fmt.Sprintf("set %s of %s", name, p), func(s State) {
		s.alter(p, func(n *Node) {
			if n.Xattrs == nil {
				n.Xattrs = map[string]string{}
			}
			if delete(n.Xattrs, name); value != "" {
				n.Xattrs[name] = value
			}
		})
	})
}

// Sync makes everything, or one file and what was before it, durable.
func (w *Workload) Sync(p string) error {
	var err error
	if p == "" {
		err = w.w.Sync(context.Background())
	} else {
		var n ext4.Node
		if n, err = w.node(p); err == nil {
			err = w.w.SyncNode(context.Background(), n)
		}
	}
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	w.Did = append(w.Did, "sync "+p)
	w.mark(fmt.Sprintf("sync %d", len(w.Model.States)-1))
	return nil
}

// Checkpoint writes what is durable home.
func (w *Workload) Checkpoint() error {
	w.Did = append(w.Did, "checkpoint")
	if err := w.w.Store.Checkpoint(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	w.mark(fmt.Sprintf("sync %d", len(w.Model.States)-1))
	return nil
}

// Remount unmounts cleanly and mounts again.
func (w *Workload) Remount() error {
	w.Did, w.nameless, w.tmp = append(w.Did, "remount"), nil, nil
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	w.mark(fmt.Sprintf("sync %d", len(w.Model.States)-1))
	var err error
	if w.w, err = w.open(w.dev, w.opts); err != nil {
		return fmt.Errorf("mount again: %w", err)
	}
	return nil
}

// Close unmounts.
func (w *Workload) Close() error { return w.w.Close() }

// Abandon ends as a crash would.
func (w *Workload) Abandon() { _ = w.w.Abandon() }

// content is bytes that show their origin. Some blocks of it begin with the journal's magic.
func (w *Workload) content(n int) []byte {
	p := bytes.Repeat(binary.LittleEndian.AppendUint32([]byte("data"), w.rng.Uint32()), n/8+1)[:n]
	if n >= 4 && w.rng.IntN(4) == 0 {
		binary.BigEndian.PutUint32(p, jbd2.Magic)
	}
	return p
}

func pick(rng *rand.Rand, list []string) (string, bool) {
	if len(list) == 0 {
		return "", false
	}
	return list[rng.IntN(len(list))], true
}

// Step does one random operation.
func (w *Workload) Step() error {
	err := w.step()
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

func (w *Workload) step() error {
	s, r := w.Model.Now(), w.rng
	dir, _ := pick(r, s.paths("d"))
	fresh := fmt.Sprintf("%s/%s%d", dir, strings.Repeat("n", w.nameLength()), r.IntN(30))
	file, hasFile := pick(r, s.paths("f"))
	switch k := r.IntN(140); {
	case k < 16 && s[fresh] == nil:
		return w.Create(fresh, 'f', "")
	case k < 22 && s[fresh] == nil && strings.Count(fresh, "/") < 5:
		return w.Create(fresh, 'd', "")
	case k < 25 && s[fresh] == nil:
		return w.Create(fresh, 'l', strings.Repeat("t", 1+r.IntN([]int{120, 1000}[r.IntN(2)])))
	case k < 50 && hasFile:
		off := r.IntN(len(s[file].Data) + 3000)
		if r.IntN(3) == 0 {
			off &^= 4095
		}
		return w.Write(file, off, w.content(1+r.IntN(5000)))
	case k < 56 && hasFile:
		return w.Truncate(file, r.IntN(len(s[file].Data)+2000))
	case k < 66:
		return w.removeSome()
	case k < 75:
		return w.renameSome(fresh)
	case k < 78 && hasFile && s[fresh] == nil:
		return w.Link(file, fresh)
	case k < 82 && hasFile:
		return w.SetXattr(file, fmt.Sprintf("user.x%d", r.IntN(3)), strings.Repeat("v", r.IntN(w.valueUnit())))
	case k < 90:
		return w.Sync(file)
	case k < 93:
		return w.Sync("")
	case k < 95:
		return w.Checkpoint()
	case k < 96:
		return w.Remount()
	case k >= 100:
		return w.rarer(k-100, file, fresh)
	}
	return nil
}

func (w *Workload) removeSome() error {
	s := w.Model.Now()
	p, ok := pick(w.rng, s.paths("fl"))
	if d, _ := pick(w.rng, s.paths("d")); d != "" && len(s.under(d)) == 0 {
		p, ok = d, true
	}
	if !ok {
		return nil
	}
	return w.Remove(p)
}

func (w *Workload) renameSome(fresh string) error {
	s := w.Model.Now()
	from, ok := pick(w.rng, s.paths("fl"))
	if d, _ := pick(w.rng, s.paths("d")); d != "" && w.rng.IntN(3) == 0 {
		from, ok = d, true
	}
	to := fresh
	if over, some := pick(w.rng, s.paths("fl")); some && w.rng.IntN(2) == 0 {
		to = over
	}
	inside := func(a, b string) bool { return strings.HasPrefix(b+"/", a+"/") }
	if !ok || inside(from, to) {
		return nil
	}
	exchange := s[to] != nil && w.rng.IntN(3) == 0 && !inside(to, from) && from != to
	switch {
	case exchange:
		return w.Rename(from, to, ext4.RenameExchange)
	case s[to] != nil && (s[from].Kind == 'd') != (s[to].Kind == 'd'):
		return nil
	case s[to] != nil && s[to].Kind == 'd' && len(s.under(to)) > 0:
		return nil
	}
	return w.Rename(from, to, 0)
}
