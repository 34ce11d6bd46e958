package ext4

import (
	"errors"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// allocator hands out clusters and inodes, and takes them back. It counts in clusters: blocks but with bigalloc.
//
//	reserve ──▶ bits in memory ──▶ the transaction's edits of bitmaps ──▶ commit: settled
//	   ▲                                                             └──▶ undone: released
//	   └── ripe ◀── durable (W4) ◀── waiting ◀── freed by a commit
//
// Clusters are claimed from the count of free ones first (claim.go: how many stay for root, and for nodes of extent
// trees), then found in the bitmaps of the groups. Reservations of transactions under way are in memory only, so that
// two of them never take the same block; blocks that a commit frees stay in use until it is durable, or an older
// version of the image could show a block with new contents. Files that grow have reserved more behind their end
// (window.go).
//
// Lock order: trims.mu, then group.mu, then bitmaps.mu; windows.mu and waiting.mu are taken alone. Of them group.mu and
// trims.mu alone are held while the store is called, for a View of bitmaps.
type allocator struct {
	super   *disk.Superblock
	base    *FS
	store   Store
	views   *views
	rights  func(thread, gid uint32) bool
	damaged func(operation string, found error) // may be nil

	groups  []group
	bitmaps bitmaps
	waiting waiting // freed blocks that are not to be used yet
	windows windows
	trims   trims

	freeBlocks atomic.Int64
	freeInodes atomic.Int64
	spread     atomic.Uint32 // where the next top-level directory goes
}

// init makes an allocator that knows of no group. bitmapBytes bounds the bitmaps in memory; 0 stands for no bound.
func (a *allocator) init(base *FS, store Store, v *views, bitmapBytes int64) {
	a.super, a.base, a.store, a.views = base.super, base, store, v
	a.groups = make([]group, base.super.Groups())
	if bitmapBytes > 0 {
		a.bitmaps.limit = max(int(bitmapBytes/(2*int64(a.super.BlockSize))), 8)
	}
}

// open takes over a group's counts from its descriptor.
func (a *allocator) open(g disk.Group, d disk.GroupDesc) {
	gr := &a.groups[g]
	gr.freeBlocks, gr.freeInodes, gr.dirs = int(d.FreeBlocks), int(d.FreeInodes), int(d.UsedDirs)
	a.freeBlocks.Add(int64(d.FreeBlocks))
	a.freeInodes.Add(int64(d.FreeInodes))
}

// initBlocks makes the bitmap of a group that has none yet: only its own tables are in use (ext4 doc, "Lazy Block Group
// Initialization").
func (fs *FS) initBlocks(g disk.Group, d disk.GroupDesc, p []byte) {
	initBlocks(fs.super, g, d, p)
}

func initBlocks(s *disk.Superblock, g disk.Group, d disk.GroupDesc, p []byte) {
	clear(p)
	first, n := s.GroupFirst(g), s.GroupBlocks(g)
	mark := func(at block.Number, count uint64) {
		for i := range count {
			if b := at + block.Number(i); b >= first && b < first+block.Number(n) {
				k := uint32(b-first) / s.ClusterBlocks
				p[k/8] |= 1 << (k % 8)
			}
		}
	}
	mark(first, s.HeadBlocks(g))
	mark(d.BlockBitmap, 1)
	mark(d.InodeBitmap, 1)
	mark(d.InodeTable, uint64(s.ITableBlocks()))
	padBits(p, int(s.GroupClusters(g)))
}

func (fs *FS) initInodes(p []byte) {
	clear(p)
	padBits(p, int(fs.super.InodesPerGroup))
}

// place is a cluster's group and its bit there.
func (a *allocator) place(c cluster) (disk.Group, uint32) {
	k := uint64(c - clusterOf(a.super, a.super.FirstDataBlock))
	return disk.Group(k / uint64(a.super.ClustersPerGroup)), uint32(k % uint64(a.super.ClustersPerGroup))
}

// reserve takes up to want clusters in a row, and more behind them where there is plenty, near a goal: at
// the goal itself, else the first run in its group that is long enough, else the longest there, else in the other
// groups in turn.
func (a *allocator) reserve(goal cluster, want, more uint32, c claim) (run, error) {
	if first := clusterOf(a.super, a.super.FirstDataBlock); goal < first || goal > clusterOf(a.super, a.super.Blocks-1) {
		goal = first
	}
	k := a.claim(want, more, c)
	if k == 0 && a.closeWindows() {
		k = a.claim(want, more, c)
	}
	if k == 0 {
		return run{}, errStuck
	}
	r, err := a.reserveNear(goal, k)
	if errors.Is(err, errStuck) && a.closeWindows() {
		r, err = a.reserveNear(goal, k)
	}
	a.freeBlocks.Add(int64(k - r.n))
	return r, err
}

func (a *allocator) reserveNear(goal cluster, want uint32) (run, error) {
	first, at := a.place(goal)
	groups := uint32(len(a.groups))
	for pass := range 2 {
		for i := range groups {
			g := disk.Group((uint32(first) + i) % groups)
			need := want
			if pass == 0 && i > 0 {
				need = min(want, 64) // a group that has only crumbs left is passed over at first
			}
			r, ok, err := a.reserveIn(g, at, want, need, pass > 0 || i == 0)
			if err != nil || ok {
				return r, err
			}
			at = 0
		}
	}
	return run{}, errStuck
}

// reserveIn takes a run of one group: at least need clusters, or, if any is set, the longest. They are claimed already.
func (a *allocator) reserveIn(g disk.Group, at, want, need uint32, any bool) (run, bool, error) {
	gr := &a.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if gr.counted && (gr.freeBlocks == 0 || gr.freeBlocks < int(need) && !any) {
		return run{}, false, nil
	}
	if _, err := a.load(g); err != nil {
		return run{}, false, err
	}
	n := a.super.GroupClusters(g)
	var start, length uint32
	if at < n && !bit(gr.blocks, at) {
		start, length = at, 1
		for length < want && at+length < n && !bit(gr.blocks, at+length) {
			length++
		}
	}
	if length < min(want, 8) {
		s, k := findRun(gr.blocks, at, n, want)
		if k < want && at > 0 {
			if s2, k2 := findRun(gr.blocks, 0, min(n, at+want), want); k2 > k {
				s, k = s2, k2
			}
		}
		if k > length {
			start, length = s, k
		}
	}
	if length == 0 || length < need && !any {
		return run{}, false, nil
	}
	for i := range length {
		gr.blocks[(start+i)/8] |= 1 << ((start + i) % 8)
	}
	gr.freeBlocks -= int(length)
	gr.refs += int(length)
	return run{clusterOf(a.super, a.super.GroupFirst(g)) + cluster(start), length}, true, nil
}

// reserveThese takes those clusters of a run that are free, and returns them.
func (a *allocator) reserveThese(r run) (took []run, err error) {
	for r.n > 0 && err == nil {
		g, at := a.place(r.start)
		n := min(r.n, a.super.GroupClusters(g)-at)
		took, err = a.reserveFree(took, g, at, run{r.start, n})
		r.start, r.n = r.start+cluster(n), r.n-n
	}
	return took, err
}

// reserveFree adds the free clusters of a run, which lies in one group from a bit on, to took.
func (a *allocator) reserveFree(took []run, g disk.Group, at uint32, r run) ([]run, error) {
	gr := &a.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if _, err := a.load(g); err != nil {
		return took, err
	}
	for i := range r.n {
		if bit(gr.blocks, at+i) {
			continue
		}
		gr.blocks[(at+i)/8] |= 1 << ((at + i) % 8)
		gr.freeBlocks--
		gr.refs++
		a.freeBlocks.Add(-1)
		if k := len(took) - 1; k >= 0 && took[k].start+cluster(took[k].n) == r.start+cluster(i) && i > 0 {
			took[k].n++
		} else {
			took = append(took, run{r.start + cluster(i), 1})
		}
	}
	return took, nil
}

// eachPart calls do for the parts of a run that lie in one group each, with that locked.
func (a *allocator) eachPart(r run, do func(gr *group, at uint32, part run)) {
	for r.n > 0 {
		g, at := a.place(r.start)
		n := min(r.n, a.super.GroupClusters(g)-at)
		gr := &a.groups[g]
		gr.mu.Lock()
		do(gr, at, run{r.start, n})
		gr.mu.Unlock()
		r.start, r.n = r.start+cluster(n), r.n-n
	}
}

// release gives back clusters that were reserved.
func (a *allocator) release(r run) {
	a.eachPart(r, func(gr *group, at uint32, part run) {
		gr.clearBlocks(at, part.n)
		gr.release(int(part.n))
	})
	a.freeBlocks.Add(int64(r.n))
}

// mature makes clusters usable that a durable commit has freed.
func (a *allocator) mature(r run) {
	a.eachPart(r, func(gr *group, at uint32, part run) {
		gr.clearBlocks(at, part.n)
		gr.drop(part)
	})
	a.freeBlocks.Add(int64(r.n))
}
