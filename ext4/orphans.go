package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// orphans are the inodes that recovery has to finish: those without links that are still in use, and those that are
// being cut shorter. The set is in memory; its form on the image is sealed (orphanForm).
type orphans struct {
	mu   sync.Mutex   // guards the rest
	now  map[Ino]bool // true: made without a name (O_TMPFILE), and may get one
	log  []orphanStep // not yet in the image's form, in commit order
	form orphanForm   // the image's; of the sealer alone
	left []Ino        // found at open
	// those that are being cut shorter: blocks of what was cut off may still lie behind their end
	cut map[Ino]bool

	// new ones are not in the image's form: without a journal half of it may be there after a crash (kernel, fs/ext4:
	// ext4_orphan_add)
	unlisted bool
}

type orphanChange struct {
	ino      Ino
	add      bool
	linkable bool
	cut      bool // with add: blocks lie behind its end
	whole    bool // with add: no more
}

type orphanStep struct {
	seq block.Seq
	orphanChange
}

func (s *orphans) has(ino Ino) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.now[ino]
	return ok
}

func (s *orphans) linkable(ino Ino) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now[ino]
}

// record keeps the changes of a commit, before it is visible.
func (s *orphans) record(seq block.Seq, changes []orphanChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.log = append(s.log, orphanStep{seq, c})
		if c.add {
			s.now[c.ino] = c.linkable || s.now[c.ino] // a file without a name that is cut shorter may still get one
		} else {
			delete(s.now, c.ino)
		}
		switch {
		case c.cut:
			s.cut[c.ino] = true
		case c.whole, !c.add:
			delete(s.cut, c.ino)
		}
	}
}

// seal brings the image's form up to a commit.
func (s *orphans) seal(last block.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := 0
	for k < len(s.log) && s.log[k].seq <= last {
		if c := s.log[k]; c.add {
			if !s.unlisted {
				s.form.add(c.ino)
			}
		} else {
			s.form.remove(c.ino)
		}
		k++
	}
	s.log = slices.Delete(s.log, 0, k)
}

// halfCut is the error of an operation that would show what lies behind the end of a file, and was cut off. do goes on
// with the cut, and tries again.
type halfCut struct{ ino Ino }

func (e *halfCut) Error() string { return fmt.Sprintf("inode %d is half cut", e.ino) }

// checkCut checks that nothing lies behind the end of a file which a greater size would show.
func (o *op) checkCut(n *Inode) error {
	s := &o.w.orphans
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[n.Ino] {
		return &halfCut{n.Ino}
	}
	return nil
}

func (o *op) addOrphan(ino Ino)    { o.orphans = append(o.orphans, orphanChange{ino: ino, add: true}) }
func (o *op) removeOrphan(ino Ino) { o.orphans = append(o.orphans, orphanChange{ino: ino}) }

// openOrphans reads the list or the file that an earlier mount left.
func (w *Writable) openOrphans() error {
	w.orphans.now, w.orphans.cut = map[Ino]bool{}, map[Ino]bool{}
	w.orphans.unlisted = w.opts.Log == LogNone && !mutant.Off(mutant.UnloggedOrphans)
	w.orphans.form.init()
	fs := w.base
	var n Inode
	for ino, budget := w.super.LastOrphan, w.super.Inodes; ino != 0; budget-- {
		if budget == 0 || w.orphans.has(ino) {
			return ondisk.Corruptf("list of orphans", "has a loop at inode %d", ino)
		}
		if ino < w.super.FirstIno || uint32(ino) > w.super.Inodes {
			return ondisk.Corruptf("list of orphans", "has inode %d", ino)
		}
		if err := fs.slot(&n, ino); err != nil {
			return fmt.Errorf("list of orphans: %w", err)
		}
		w.orphans.now[ino] = false
		w.orphans.left = append(w.orphans.left, ino)
		ino = Ino(n.Dtime)
	}
	for _, ino := range slices.Backward(w.orphans.left) {
		w.orphans.form.link(ino)
	}
	if w.super.Compat&disk.CompatOrphanFile != 0 {
		if err := w.readOrphanFile(); err != nil {
			return err
		}
	}
	w.orphans.form.ready()
	w.orphans.form.sealed()
	return nil
}

// maxOrphanFile bounds the orphan file in bytes, as the kernel does (fs/ext4/orphan.c).
const maxOrphanFile = 8 << 20

// readOrphanFile reads the orphan file's slots, and remembers where its blocks are.
func (w *Writable) readOrphanFile() error {
	f := new(Inode)
	if err := w.base.slot(f, w.super.OrphanFileIno); err != nil {
		return fmt.Errorf("orphan file: %w", err)
	}
	if f.Size > maxOrphanFile {
		return ondisk.Corruptf("orphan file", "%d bytes, expected at most %d", f.Size, maxOrphanFile)
	}
	bs := uint64(w.super.BlockSize)
	for b := range (f.Size + bs - 1) / bs {
		r, err := f.Map(FileBlock(b))
		if err != nil {
			return fmt.Errorf("orphan file: %w", err)
		}
		if r.Kind != Data {
			return ondisk.Corruptf("orphan file", "block %d is a hole", b)
		}
		p, err := w.base.block(r.Start)
		if err != nil {
			return err
		}
		list, err := w.super.DecodeOrphanBlock(f.Ino, f.Generation, r.Start, p)
		if err != nil {
			return err
		}
		for _, ino := range list {
			if ino < w.super.FirstIno || uint32(ino) > w.super.Inodes || w.orphans.has(ino) {
				return ondisk.Corruptf("orphan file", "has inode %d", ino)
			}
			w.orphans.now[ino] = false
			w.orphans.left = append(w.orphans.left, ino)
		}
		w.orphans.form.addBlock((len(p)-8)/4, list)
		w.sealer.orphanBlocks = append(w.sealer.orphanBlocks, r.Start)
		w.kinds[r.Start] = fixed{kind: kindOrphanFile}
	}
	w.sealer.orphanGeneration = f.Generation
	return nil
}

// FinishOrphans frees what earlier mounts left in use or half cut. It returns how many inodes that were.
func (w *Writable) FinishOrphans() (int, error) {
	left := w.orphans.left
	w.orphans.left = nil
	for _, ino := range left {
		var n Inode
		err := w.View(func(fs *FS) error { return fs.slot(&n, ino) })
		if err != nil {
			return 0, fmt.Errorf("orphan inode %d: %w", ino, err)
		}
		if n.Links > 0 {
			w.orphans.mu.Lock()
			w.orphans.cut[ino] = true
			w.orphans.mu.Unlock()
		}
		if err := w.leaveDamaged(ino, w.finishOrphan(&n)); err != nil {
			return 0, err
		}
	}
	return len(left), nil
}

// finishOrphan frees an orphan, or what lies behind the end of one that has a name.
func (w *Writable) finishOrphan(n *Inode) error {
	if n.Links > 0 {
		return w.finishTruncate(n.Ino)
	}
	return w.Evict(NodeOf(n))
}

// EvictAll frees every orphan: none is in use any more.
func (w *Writable) EvictAll() error {
	w.orphans.mu.Lock()
	var all []Ino
	for ino := range w.orphans.now {
		all = append(all, ino)
	}
	w.orphans.mu.Unlock()
	slices.Sort(all)
	for _, ino := range all {
		var n Inode
		err := w.View(func(fs *FS) error { return fs.ReadInode(&n, ino) })
		if err == nil {
			err = w.finishOrphan(&n)
		}
		if err := w.leaveDamaged(ino, err); err != nil {
			return err
		}
	}
	return w.dropUnusedQuotas()
}

// leaveDamaged makes of damage that keeps an orphan from being freed a note in the superblock. It stays an orphan, and
// e2fsck, which the note calls, sees to it: the file system can be mounted and unmounted nevertheless, as by the
// kernel.
func (w *Writable) leaveDamaged(ino Ino, err error) error {
	if errors.Is(err, ondisk.ErrCorrupt) {
		w.Damaged("free an orphan", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("orphan inode %d: %w", ino, err)
	}
	return nil
}

// putDtime writes the link of the list of orphans.
func putDtime(p []byte, next Ino) { binary.LittleEndian.PutUint32(p[disk.OffDtime:], uint32(next)) }
