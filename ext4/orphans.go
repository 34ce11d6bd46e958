package ext4

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// orphans are the inodes that recovery has to finish: those without links that somebody still uses, and those that are being cut shorter. The set is in
// memory; its form on the image is sealed (orphanForm).
type orphans struct {
	mu   sync.Mutex   // guards the rest
	now  map[Ino]bool // true: made without a name (O_TMPFILE), and may get one
	log  []orphanStep // not yet in the image's form, in commit order
	form orphanForm   // the image's; of the sealer alone
	left []Ino        // found at open
}

type orphanChange struct {
	ino      Ino
	add      bool
	linkable bool
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

// note notes the changes of a commit, before it can be seen.
func (s *orphans) note(seq block.Seq, changes []orphanChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.log = append(s.log, orphanStep{seq, c})
		if c.add {
			s.now[c.ino] = c.linkable
		} else {
			delete(s.now, c.ino)
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
			s.form.add(c.ino)
		} else {
			s.form.remove(c.ino)
		}
		k++
	}
	s.log = slices.Delete(s.log, 0, k)
}

func (o *op) addOrphan(ino Ino)    { o.orphans = append(o.orphans, orphanChange{ino: ino, add: true}) }
func (o *op) removeOrphan(ino Ino) { o.orphans = append(o.orphans, orphanChange{ino: ino}) }

// openOrphans reads the list or the file that an earlier mount left.
func (l *Live) openOrphans() error {
	l.orphans.now = map[Ino]bool{}
	l.orphans.form.init()
	fs := l.base
	var n Inode
	for ino, budget := l.super.LastOrphan, l.super.Inodes; ino != 0; budget-- {
		if budget == 0 || l.orphans.has(ino) {
			return ondisk.Corruptf("list of orphans", "has a loop at inode %d", ino)
		}
		if ino < l.super.FirstIno || uint32(ino) > l.super.Inodes {
			return ondisk.Corruptf("list of orphans", "has inode %d", ino)
		}
		if err := fs.slot(&n, ino); err != nil {
			return fmt.Errorf("list of orphans: %w", err)
		}
		l.orphans.now[ino] = false
		l.orphans.left = append(l.orphans.left, ino)
		ino = Ino(n.Dtime)
	}
	for _, ino := range slices.Backward(l.orphans.left) {
		l.orphans.form.link(ino)
	}
	if l.super.Compat&disk.CompatOrphanFile != 0 {
		if err := l.readOrphanFile(); err != nil {
			return err
		}
	}
	l.orphans.form.ready()
	l.orphans.form.sealed()
	return nil
}

// maxOrphanFile bounds the orphan file in bytes, as the kernel does (fs/ext4/orphan.c).
const maxOrphanFile = 8 << 20

// readOrphanFile reads the orphan file's slots, and remembers where its blocks are.
func (l *Live) readOrphanFile() error {
	f := new(Inode)
	if err := l.base.slot(f, l.super.OrphanFileIno); err != nil {
		return fmt.Errorf("orphan file: %w", err)
	}
	if f.Size > maxOrphanFile {
		return ondisk.Corruptf("orphan file", "%d bytes, expected at most %d", f.Size, maxOrphanFile)
	}
	bs := uint64(l.super.BlockSize)
	for b := range (f.Size + bs - 1) / bs {
		r, err := f.Map(FileBlock(b))
		if err != nil {
			return fmt.Errorf("orphan file: %w", err)
		}
		if r.Kind != Data {
			return ondisk.Corruptf("orphan file", "block %d is a hole", b)
		}
		p, err := l.base.block(r.Start)
		if err != nil {
			return err
		}
		list, err := l.super.DecodeOrphanBlock(f.Ino, f.Generation, r.Start, p)
		if err != nil {
			return err
		}
		for _, ino := range list {
			if ino < l.super.FirstIno || uint32(ino) > l.super.Inodes || l.orphans.has(ino) {
				return ondisk.Corruptf("orphan file", "has inode %d", ino)
			}
			l.orphans.now[ino] = false
			l.orphans.left = append(l.orphans.left, ino)
		}
		l.orphans.form.addBlock((len(p)-8)/4, list)
		l.sealer.orphanBlocks = append(l.sealer.orphanBlocks, r.Start)
		l.kinds[r.Start] = fixed{kind: kindOrphanFile}
	}
	l.sealer.orphanGeneration = f.Generation
	return nil
}

// FinishOrphans frees what earlier mounts left in use or half cut. It returns how many inodes that were.
func (l *Live) FinishOrphans() (int, error) {
	left := l.orphans.left
	l.orphans.left = nil
	for _, ino := range left {
		var n Inode
		err := l.View(func(fs *FS) error { return fs.slot(&n, ino) })
		if err != nil {
			return 0, fmt.Errorf("orphan inode %d: %w", ino, err)
		}
		if n.Links > 0 {
			err = l.finishTruncate(ino)
		} else {
			err = l.Evict(Node(n.Generation)<<32 | Node(ino))
		}
		if err != nil {
			return 0, fmt.Errorf("orphan inode %d: %w", ino, err)
		}
	}
	return len(left), nil
}

// EvictAll frees every orphan: nobody uses any more.
func (l *Live) EvictAll() error {
	l.orphans.mu.Lock()
	var all []Ino
	for ino := range l.orphans.now {
		all = append(all, ino)
	}
	l.orphans.mu.Unlock()
	slices.Sort(all)
	for _, ino := range all {
		var n Inode
		if err := l.View(func(fs *FS) error { return fs.ReadInode(&n, ino) }); err != nil {
			return err
		}
		if err := l.Evict(NodeOf(&n)); err != nil {
			return err
		}
	}
	return nil
}

// putDtime writes the link of the list of orphans.
func putDtime(p []byte, next Ino) { binary.LittleEndian.PutUint32(p[disk.OffDtime:], uint32(next)) }
