package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// FastCommits are the fast commits behind the last whole transaction of a journal, for recovery. All of their changes
// become one transaction of the journal. It has the sequence that they have, and so takes their place (kernel, fs/jbd2:
// fast commits belong to the transaction that did not commit yet): before it is durable recovery finds them, and from
// then on it finds the transaction.
//
//	│ … transaction n-1 │            fast commits of n │
//	│ … transaction n-1 │ transaction n │  (of n, past)  │
type FastCommits struct{ view *fastOverlay }

// TakeFastCommits takes the fast commits out of a file system that is open for reading, where all that EachReplayed
// gives is home: from then on it is what lies there. They are nil where there are none.
func (fs *FS) TakeFastCommits() *FastCommits {
	fs.log.at = nil
	if fs.fast == nil {
		return nil
	}
	f := &FastCommits{fs.fast}
	fs.fast = nil
	return f
}

// ReplacedBlock is a block that changes together with what fast commits changed.
type ReplacedBlock struct {
	Number block.Number
	Data   []byte
}

// Recover makes the changes of fast commits by one transaction, which also replaces a block if one is given. committed
// is called before the commit can be seen. Only what that transaction needs is committed before.
func (f *FastCommits) Recover(w *Writable, with *ReplacedBlock, committed func()) error {
	for tries := 0; ; tries++ {
		o := &op{w: w, what: "recovery"}
		out, err := w.attempt(o, func(o *op) error {
			o.promised = true
			o.tx.Sequenced(func(block.Seq) { committed() })
			if with != nil {
				if err := o.tx.Edit(with.Number, merge.Whole(with.Data)); err != nil {
					return err
				}
				if err := o.tx.Tag(with.Number, kindPlain, 0); err != nil {
					return err
				}
			}
			return newFastRecovery(o, f.view).run()
		})
		if err == nil {
			o.settle(out.Seq)
			return nil
		}
		o.undo()
		var missing *missingQuotas
		switch {
		case errors.As(err, &missing) && tries < maxOld:
			if err := w.acquireBeside(f.view, missing.keys); err != nil {
				return err
			}
		case errors.Is(err, errStuck):
			return fmt.Errorf("recover fast commits: %w", w.alloc.noSpace())
		default:
			return fmt.Errorf("recover fast commits: %w", err)
		}
	}
}

// acquireBeside gets entries for ids in blocks that no fast commit has.
func (w *Writable) acquireBeside(view *fastOverlay, keys []quotaKey) error {
	var took []run
	var err error
	for _, m := range view.maps {
		for _, r := range m.ranges {
			if r.ext != nil && err == nil {
				var more []run
				more, err = w.alloc.reserveThese(clustersOf(w.super, *r.ext))
				took = append(took, more...)
			}
		}
	}
	if err == nil {
		err = w.acquireQuotas(keys)
	}
	for _, r := range took {
		w.alloc.release(r)
	}
	return err
}

// clustersOf are all clusters that an extent has a block of.
func clustersOf(s *disk.Superblock, e disk.Extent) run {
	first := clusterOf(s, e.Start)
	return run{first, uint32(clusterOf(s, e.Start+block.Number(e.Len)-1)-first) + 1}
}

// fastRecovery is the transaction of one recovery.
type fastRecovery struct {
	*op
	view *fastOverlay

	logged  map[Ino][]byte         // the last record of each inode
	home    map[Ino]*Inode         // the inodes that are touched, as they are at home; nil where that is free
	links   map[Ino]int            // of those, at the end; a directory has 1 or 0
	parents map[Ino]Ino            // of names that were added
	names   map[Ino]map[string]Ino // names so far, while records are counted
	touched []Ino                  // sorted

	claimed, lost, got map[cluster]bool
}

func newFastRecovery(o *op, view *fastOverlay) *fastRecovery {
	return &fastRecovery{op: o, view: view, logged: map[Ino][]byte{}, home: map[Ino]*Inode{}, links: map[Ino]int{},
		parents: map[Ino]Ino{}, names: map[Ino]map[string]Ino{},
		claimed: map[cluster]bool{}, lost: map[cluster]bool{}, got: map[cluster]bool{}}
}

func (r *fastRecovery) run() error {
	for _, step := range []func() error{
		r.count, r.claim, r.eachInode, r.eachMap, r.eachName, r.eachGone, r.freeLost,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// count goes through the records in their order, for how many names each inode has at the end.
func (r *fastRecovery) count() error {
	le := binary.LittleEndian
	for _, record := range r.view.records {
		if record.Tag == jbd2.FastPad {
			continue
		}
		ino := Ino(le.Uint32(record.Value)) // lengths were checked as the view was made
		named := record.Tag == jbd2.FastCreate || record.Tag == jbd2.FastLink || record.Tag == jbd2.FastUnlink
		dir := ino
		if named {
			ino = Ino(le.Uint32(record.Value[4:]))
		}
		if err := r.touch(ino); err != nil {
			return err
		}
		switch {
		case record.Tag == jbd2.FastInode:
			p := record.Value[4:]
			r.logged[ino] = p
			r.links[ino] = int(le.Uint16(p[disk.OffLinks:]))
			if le.Uint16(p[disk.OffMode:])&disk.ModeType == disk.ModeDir {
				r.links[ino] = min(r.links[ino], 1)
			}
		case named:
			if err := r.countName(record.Tag, dir, ino, string(record.Value[8:])); err != nil {
				return err
			}
		}
	}
	r.touched = slices.Sorted(maps.Keys(r.links))
	return nil
}

// countName counts a name that comes or goes. One that is there already, or gone, was recovered before by a recovery
// that did not come to its end.
func (r *fastRecovery) countName(tag uint16, dir, ino Ino, name string) error {
	if err := r.touch(dir); err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return ondisk.Corruptf("fast commit", "name %q: %v", name, err)
	}
	if r.names[dir] == nil {
		r.names[dir] = map[string]Ino{}
	}
	now, known := r.names[dir][name]
	if n := r.home[dir]; !known && n != nil && n.IsDir() {
		var err error
		if now, err = n.LookupIno(name); err != nil && !errors.Is(err, ErrNotExist) {
			return err
		}
	}
	if tag == jbd2.FastUnlink {
		if now == ino {
			r.links[ino] = max(r.links[ino]-1, 0)
		}
		r.names[dir][name] = 0
		return nil
	}
	if tag == jbd2.FastCreate {
		r.links[ino] = 1
	} else if now != ino {
		r.links[ino]++
	}
	r.names[dir][name], r.parents[ino] = ino, dir
	return nil
}

// touch reads an inode that a record is about.
func (r *fastRecovery) touch(ino Ino) error {
	if _, known := r.links[ino]; known {
		return nil
	}
	s := r.w.super
	if uint32(ino) > s.Inodes || ino != RootIno && ino < s.FirstIno || r.fs.special(ino) {
		return ondisk.Corruptf("fast commit", "inode %d is no file's", ino)
	}
	used, err := r.w.alloc.inUse(ino)
	if err != nil {
		return err
	}
	r.links[ino], r.home[ino] = 0, nil
	if !used {
		return nil
	}
	n := new(Inode)
	if err := r.fs.ReadInode(n, ino); errors.Is(err, ErrNotExist) {
		return ondisk.Corruptf(n.where(), "is in use, and its slot is free: repair the image with e2fsck")
	} else if err != nil {
		return err
	}
	if n.Has(disk.InodeEAInode) {
		return ondisk.Corruptf("fast commit", "inode %d holds an attribute's value", ino)
	}
	n.Block, n.XattrArea = slices.Clone(n.Block), slices.Clone(n.XattrArea)
	r.home[ino], r.links[ino] = n, int(n.Links)
	if n.IsDir() {
		r.links[ino] = min(r.links[ino], 1)
	}
	return nil
}

// claim takes the clusters of all ranges that are free, before anything else is allocated.
func (r *fastRecovery) claim() error {
	for _, ino := range slices.Sorted(maps.Keys(r.view.maps)) {
		if r.links[ino] == 0 {
			continue
		}
		for _, part := range r.view.maps[ino].ranges {
			if part.ext == nil {
				continue
			}
			if err := r.w.own.check(part.ext.Start, uint64(part.ext.Len)); err != nil {
				return err
			}
			took, err := r.w.alloc.reserveThese(clustersOf(r.w.super, *part.ext))
			for i, c := range took {
				if _, uerr := r.use(c); uerr != nil && err == nil {
					r.took = append(r.took, took[i+1:]...)
					return uerr
				}
				for k := range c.n {
					r.claimed[c.start+cluster(k)] = true
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// freeLost frees the clusters that no file of the fast commits has any more. One that a file got must have been free,
// or another one's of them.
func (r *fastRecovery) freeLost() error {
	for _, c := range slices.Sorted(maps.Keys(r.got)) {
		if !r.claimed[c] && !r.lost[c] {
			return ondisk.Corruptf("fast commit", "block %d is in use already: repair the image with e2fsck",
				uint64(c.first(r.w.super)))
		}
	}
	var free run
	for _, c := range slices.Sorted(maps.Keys(r.lost)) {
		if r.got[c] || r.claimed[c] {
			continue
		}
		if free.n > 0 && free.start+cluster(free.n) == c {
			free.n++
			continue
		}
		if free.n > 0 {
			if err := r.free(free); err != nil {
				return err
			}
		}
		free = run{c, 1}
	}
	if free.n == 0 {
		return nil
	}
	return r.free(free)
}
