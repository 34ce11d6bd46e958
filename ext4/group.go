package ext4

import (
	"context"
	"sync"

	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// group is what the allocator knows of a block group. Its bitmaps are those of the newest commits, and also have what
// transactions under way have reserved, and what was freed and must not be used yet: so two transactions never take the
// same, and their edits of one bitmap never conflict.
//
// Bitmaps without reservations may leave memory: the image, or the store, has all that is in them but for the retained
// blocks.
type group struct {
	mu      sync.Mutex // guards the rest
	blocks  []byte     // nil: not in memory
	inodes  []byte     // nil with blocks
	counted bool       // the bitmaps were in memory once, so that the counts are theirs
	recent  bool       // used since eviction looked here
	merged  bool       // retained was not empty when the bitmaps came into memory
	stale   bool       // leaves memory when nothing refers to it
	// clusters and inodes that were reserved, or inodes that were freed, by transactions under way and windows
	refs       int
	badBlocks  bool          // the block bitmap's checksum is wrong (verify)
	badInodes  bool          // the inode bitmap's is
	retained   map[run]int32 // freed clusters that must not be used yet, counted
	freeBlocks int           // clusters
	freeInodes int
	dirs       int
	frees      uint64 // how often blocks became free
	trimmed    uint32 // runs of free blocks from this length on were discarded; 0 where they were not
}

func (gr *group) clearBlocks(at, n uint32) {
	if gr.blocks != nil {
		for i := at; i < at+n; i++ {
			gr.blocks[i/8] &^= 1 << (i % 8)
		}
	}
	gr.freeBlocks += int(n)
	gr.frees++
	gr.trimmed = 0
}

// release ends n references to the bitmaps: so many blocks or inodes are reserved no more. The caller holds mu.
func (gr *group) release(n int) {
	if gr.refs -= n; gr.refs == 0 && gr.stale {
		gr.blocks, gr.inodes, gr.stale = nil, nil, false
	}
}

// retain keeps clusters that a transaction frees from being used until drop. The caller holds mu.
func (gr *group) retain(r run) {
	if gr.retained == nil {
		gr.retained = map[run]int32{}
	}
	gr.retained[r]++
}

func (gr *group) drop(r run) {
	if gr.retained[r]--; gr.retained[r] <= 0 {
		delete(gr.retained, r)
	}
}

// abandon takes back that a transaction freed clusters, because it did not commit. Bitmaps that came into memory
// meanwhile may have them as in use though another one has freed them. The caller holds mu.
func (gr *group) abandon(r run) {
	gr.drop(r)
	if gr.blocks != nil && gr.merged {
		gr.stale = true
		gr.release(0)
	}
}

// load reads a group's bitmaps. The caller holds mu.
func (a *allocator) load(g disk.Group) (*group, error) {
	gr := &a.groups[g]
	gr.recent = true
	if gr.blocks != nil {
		return gr, nil
	}
	var blocks, inodes []byte
	err := a.store.View(context.Background(), "the allocator", func(tx Tx) (err error) {
		fs := a.views.open(tx)
		defer a.views.close(fs)
		d, err := fs.GroupDesc(g)
		if err != nil {
			return err
		}
		uninit := d.Flags&disk.GroupBlockUninit != 0
		if blocks, err = fs.bitmap(d.BlockBitmap, uninit, func(p []byte) { fs.initBlocks(g, d, p) }); err != nil {
			return err
		}
		if inodes, err = fs.bitmap(d.InodeBitmap, d.Flags&disk.GroupInodeUninit != 0, fs.initInodes); err != nil {
			return err
		}
		return a.verify(g, gr, d, blocks, inodes)
	})
	if err != nil {
		return gr, err
	}
	if gr.badBlocks {
		allInUse(blocks)
	}
	if gr.badInodes {
		allInUse(inodes)
	}
	for r := range gr.retained {
		_, at := a.place(r.start)
		for i := at; i < at+r.n; i++ {
			blocks[i/8] |= 1 << (i % 8)
		}
	}
	gr.blocks, gr.inodes, gr.merged = blocks, inodes, len(gr.retained) > 0
	if free := countClear(blocks, int(a.super.GroupClusters(g))); free != gr.freeBlocks {
		a.freeBlocks.Add(int64(free - gr.freeBlocks))
		gr.freeBlocks = free
	}
	if free := countClear(inodes, int(a.super.InodesPerGroup)); free != gr.freeInodes {
		a.freeInodes.Add(int64(free - gr.freeInodes))
		gr.freeInodes = free
	}
	gr.counted = true
	a.bitmaps.add(g, a.groups)
	return gr, nil
}

// bitmaps are those in memory. A group that was not used since the hand came by leaves it (the CLOCK algorithm),
// unless something refers to it.
type bitmaps struct {
	limit int // groups; 0: no limit

	mu     sync.Mutex // guards the rest; taken with a group's mu held
	loaded []disk.Group
	hand   int
}

// look bounds how many groups one call of add looks at.
const look = 64

// add notes a group that has come into memory, and lets others leave it.
func (b *bitmaps) add(g disk.Group, groups []group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loaded = append(b.loaded, g)
	if b.limit == 0 || mutant.Off(mutant.BitmapBound) {
		return
	}
	for tries := 0; len(b.loaded) > b.limit && tries < look; tries++ {
		b.hand %= len(b.loaded)
		at := b.loaded[b.hand]
		if at == g || !groups[at].leave() {
			b.hand++
			continue
		}
		last := len(b.loaded) - 1
		b.loaded[b.hand] = b.loaded[last]
		b.loaded = b.loaded[:last]
	}
}

// leave has a group's bitmaps leave memory, if no transaction needs them now.
func (gr *group) leave() bool {
	if !gr.mu.TryLock() {
		return false
	}
	defer gr.mu.Unlock()
	if gr.refs > 0 || gr.recent && gr.blocks != nil {
		gr.recent = false
		return false
	}
	gr.blocks, gr.inodes, gr.stale = nil, nil, false
	return true
}

// BitmapBytes is the memory that bitmaps of groups take.
func (w *Writable) BitmapBytes() int64 {
	w.alloc.bitmaps.mu.Lock()
	defer w.alloc.bitmaps.mu.Unlock()
	return 2 * int64(w.super.BlockSize) * int64(len(w.alloc.bitmaps.loaded))
}
