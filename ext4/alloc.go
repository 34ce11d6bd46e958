package ext4

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// openGroups reads the descriptors, and finds what lies at fixed places.
func (w *Writable) openGroups() error {
	s := w.super
	w.groups = make([]group, s.Groups())
	w.kinds = map[block.Number]fixed{}
	w.sealer.init(w)
	w.kinds[block.Number(disk.SuperblockOffset/uint32(s.BlockSize))] = fixed{kind: kindSuper}
	for g := range s.Groups() {
		d, err := w.base.GroupDesc(g)
		if err != nil {
			return err
		}
		if !s.Contains(d.BlockBitmap, 1) || !s.Contains(d.InodeBitmap, 1) {
			return ondisk.Corruptf(fmt.Sprintf("group descriptor %d", g), "bitmaps at blocks %d and %d", uint64(d.BlockBitmap), uint64(d.InodeBitmap))
		}
		at, _ := s.DescBlock(g)
		w.kinds[at] = fixed{kindGroupDesc, g}
		w.kinds[d.BlockBitmap] = fixed{kindBlockMap, g}
		w.kinds[d.InodeBitmap] = fixed{kindInodeMap, g}
		gr := &w.groups[g]
		gr.freeBlocks, gr.freeInodes, gr.dirs = int(d.FreeBlocks), int(d.FreeInodes), int(d.UsedDirs)
		w.freeBlocks.Add(int64(d.FreeBlocks))
		w.freeInodes.Add(int64(d.FreeInodes))
		w.sealer.note(g, d)
	}
	return nil
}

// initBlocks makes the bitmap of a group that has none yet: only its own tables are in use (ext4 doc, "Lazy Block Group Initialization").
func (w *Writable) initBlocks(g disk.Group, d disk.GroupDesc, p []byte) {
	clear(p)
	s := w.super
	first, n := s.GroupFirst(g), s.GroupBlocks(g)
	mark := func(at block.Number, count uint64) {
		for i := range count {
			if b := at + block.Number(i); b >= first && b < first+block.Number(n) {
				k := uint32(b - first)
				p[k/8] |= 1 << (k % 8)
			}
		}
	}
	own := w.base.groupOverhead(g) - 2 - uint64(s.ITableBlocks())
	mark(first, own)
	mark(d.BlockBitmap, 1)
	mark(d.InodeBitmap, 1)
	mark(d.InodeTable, uint64(s.ITableBlocks()))
	padBits(p, int(n))
}

func (w *Writable) initInodes(p []byte) {
	clear(p)
	padBits(p, int(w.super.InodesPerGroup))
}

// padBits sets the bits of a bitmap from n on, which stand for nothing.
func padBits(p []byte, n int) {
	for ; n%8 != 0; n++ {
		p[n/8] |= 1 << (n % 8)
	}
	for i := n / 8; i < len(p); i++ {
		p[i] = 0xff
	}
}

func countClear(p []byte, n int) int {
	used := 0
	for i := range n / 8 {
		used += bits.OnesCount8(p[i])
	}
	for i := n &^ 7; i < n; i++ {
		used += int(p[i/8] >> (i % 8) & 1)
	}
	return n - used
}

func bit(p []byte, i uint32) bool { return p[i/8]>>(i%8)&1 != 0 }

// findRun looks for clear bits from a bit on, and takes the first run of at least want, or the longest where there is none.
func findRun(p []byte, from, n, want uint32) (at, length uint32) {
	for i := from; i < n; {
		if p[i/8] == 0xff {
			i = (i/8 + 1) * 8
			continue
		}
		if bit(p, i) {
			i++
			continue
		}
		k := i + 1
		for k < n && k-i < want && !bit(p, k) {
			k++
		}
		if k-i > length {
			at, length = i, k-i
			if length == want {
				return at, length
			}
		}
		i = k
	}
	return at, length
}

// place is a block's group and its bit there.
func (w *Writable) place(n block.Number) (disk.Group, uint32) {
	k := uint64(n - w.super.FirstDataBlock)
	return disk.Group(k / uint64(w.super.BlocksPerGroup)), uint32(k % uint64(w.super.BlocksPerGroup))
}

// reserve takes up to want blocks that follow one another, and more behind them where there is plenty, near a goal: at the goal itself, else the
// first run in its group that is long enough, else the longest there, else in the other groups in turn.
func (w *Writable) reserve(goal block.Number, want, more uint32, c claim) (run, error) {
	if goal < w.super.FirstDataBlock || goal >= w.super.Blocks {
		goal = w.super.FirstDataBlock
	}
	k := w.claim(want, more, c)
	if k == 0 && w.closeWindows() {
		k = w.claim(want, more, c)
	}
	if k == 0 {
		return run{}, errStuck
	}
	r, err := w.reserveNear(goal, k)
	if errors.Is(err, errStuck) && w.closeWindows() {
		r, err = w.reserveNear(goal, k)
	}
	w.freeBlocks.Add(int64(k - r.n))
	return r, err
}

func (w *Writable) reserveNear(goal block.Number, want uint32) (run, error) {
	first, at := w.place(goal)
	groups := uint32(len(w.groups))
	for pass := range 2 {
		for i := range groups {
			g := disk.Group((uint32(first) + i) % groups)
			need := want
			if pass == 0 && i > 0 {
				need = min(want, 64) // a group that has only crumbs left is passed over at first
			}
			r, ok, err := w.reserveIn(g, at, want, need, pass > 0 || i == 0)
			if err != nil || ok {
				return r, err
			}
			at = 0
		}
	}
	return run{}, errStuck
}

// reserveIn takes a run of one group: at least need blocks, or, if any is set, the longest. They are claimed already.
func (w *Writable) reserveIn(g disk.Group, at, want, need uint32, any bool) (run, bool, error) {
	gr := &w.groups[g]
	gr.mu.Lock()
	defer gr.mu.Unlock()
	if gr.counted && (gr.freeBlocks == 0 || gr.freeBlocks < int(need) && !any) {
		return run{}, false, nil
	}
	if _, err := w.load(g); err != nil {
		return run{}, false, err
	}
	n := w.super.GroupBlocks(g)
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
	gr.pins += int(length)
	return run{w.super.GroupFirst(g) + block.Number(start), length}, true, nil
}

// eachPart calls do for the parts of a run that lie in one group each, with that locked.
func (w *Writable) eachPart(r run, do func(gr *group, at uint32, part run)) {
	for r.n > 0 {
		g, at := w.place(r.start)
		n := min(r.n, w.super.GroupBlocks(g)-at)
		gr := &w.groups[g]
		gr.mu.Lock()
		do(gr, at, run{r.start, n})
		gr.mu.Unlock()
		r.start, r.n = r.start+block.Number(n), r.n-n
	}
}

// release gives back blocks that were reserved.
func (w *Writable) release(r run) {
	w.eachPart(r, func(gr *group, at uint32, part run) {
		gr.clearBlocks(at, part.n)
		gr.unpin(int(part.n))
	})
	w.freeBlocks.Add(int64(r.n))
}

// ripen makes usable what was freed.
func (w *Writable) ripen(r run) {
	w.eachPart(r, func(gr *group, at uint32, part run) {
		gr.clearBlocks(at, part.n)
		gr.drop(part)
	})
	w.freeBlocks.Add(int64(r.n))
}

// allocate takes blocks in the transaction: up to want of them near a goal.
func (o *op) allocate(goal block.Number, want uint32) (run, error) {
	r, err := o.w.reserve(goal, want, 0, claim{o.cred, false})
	if err != nil {
		return r, err
	}
	return o.use(r)
}

// allocateNode takes a block for the node of an extent tree.
func (o *op) allocateNode(n *Inode) (run, error) {
	r, err := o.w.reserve(o.goal(n, 0), 1, 0, claim{o.cred, o.promised && !mutant.Off(mutant.NodeReserve)})
	if err != nil {
		return r, err
	}
	return o.use(r)
}

// allocateGrowing is allocate for what makes a file longer, to size bytes.
func (o *op) allocateGrowing(n *Inode, goal block.Number, want uint32, size uint64) (run, error) {
	r, err := o.w.reserveGrowing(n.Ino, goal, want, size, o.cred)
	if err != nil {
		return r, err
	}
	return o.use(r)
}

// use marks reserved blocks as used, in the transaction.
func (o *op) use(r run) (run, error) {
	o.took = append(o.took, r)
	g, at := o.w.place(r.start)
	d, err := o.fs.GroupDesc(g)
	if err != nil {
		return r, err
	}
	if d.Flags&disk.GroupBlockUninit != 0 {
		p := make([]byte, o.w.super.BlockSize)
		o.w.initBlocks(g, d, p)
		if err := o.edit(d.BlockBitmap, kindBlockMap, uint64(g), merge.Whole(p)); err != nil {
			return r, err
		}
		if err := o.clearGroupFlag(g, disk.GroupBlockUninit); err != nil {
			return r, err
		}
	}
	return r, o.edit(d.BlockBitmap, kindBlockMap, uint64(g), merge.SetBits(0, sequence(at, r.n)...))
}

// clearGroupFlag clears a flag of a group's descriptor.
func (o *op) clearGroupFlag(g disk.Group, flag uint16) error {
	n, at := o.w.super.DescBlock(g)
	f := merge.Field{Off: uint32(at) + 0x12, Width: 2}
	return o.edit(n, kindGroupDesc, 0, merge.Reapply(func(p []byte) error {
		f.Put(p, f.Get(p)&^uint64(flag))
		return nil
	}))
}

func sequence(at, n uint32) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = at + uint32(i)
	}
	return out
}

// free frees blocks in the transaction. They may be used again when it is durable (W4). metadata says that they may have copies in the journal.
func (o *op) free(start block.Number, n uint32, metadata bool) error {
	o.gave = append(o.gave, run{start, n})
	o.w.eachPart(run{start, n}, func(gr *group, _ uint32, part run) { gr.hold(part) })
	for n > 0 {
		g, at := o.w.place(start)
		k := min(n, o.w.super.GroupBlocks(g)-at)
		d, err := o.fs.GroupDesc(g)
		if err != nil {
			return err
		}
		if l := o.w.kinds; l[start].kind != 0 || l[start+block.Number(k-1)].kind != 0 {
			return ondisk.Corruptf(fmt.Sprintf("block %d", uint64(start)), "a file holds a block of the file system's own: check the image with e2fsck")
		}
		if err := o.edit(d.BlockBitmap, kindBlockMap, uint64(g), merge.ClearBits(0, sequence(at, k)...)); err != nil {
			return err
		}
		if metadata || o.w.opts.JournalData {
			for i := range k {
				o.tx.Free(start + block.Number(i))
			}
		}
		start, n = start+block.Number(k), n-k
	}
	return nil
}

// waiting are blocks that were freed by commits which are not durable yet.
type waiting struct {
	blocks atomic.Int64 // in list

	mu   sync.Mutex // guards list
	list []freedRuns
}

type freedRuns struct {
	seq  block.Seq
	runs []run
}

func (w *waiting) add(seq block.Seq, runs []run) {
	w.mu.Lock()
	w.list = append(w.list, freedRuns{seq, append([]run(nil), runs...)})
	w.blocks.Add(count(runs))
	w.mu.Unlock()
}

// mature makes usable what was freed by durable commits.
func (w *Writable) mature() {
	q := &w.waiting
	for {
		q.mu.Lock()
		if len(q.list) == 0 || !w.store.Matured(q.list[0].seq) {
			q.mu.Unlock()
			return
		}
		runs := q.list[0].runs
		q.list = q.list[1:]
		q.mu.Unlock()
		for _, r := range runs {
			w.ripen(r)
		}
		q.blocks.Add(-count(runs))
	}
}

func count(runs []run) (n int64) {
	for _, r := range runs {
		n += int64(r.n)
	}
	return n
}
