package mvcc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/wal"
)

// Tag says what a block is. It means something to the sealer only.
type Tag struct {
	Kind  uint8
	Owner uint64
}

// Sealed are the options of a store whose epochs go, as whole and sealed blocks, into a journal instead of a log of byte ranges.
type Sealed struct {
	Journal *wal.Journal
	// Seal completes the copies of an epoch's blocks: whatever derives from other bytes, and so is no transaction's to edit.
	Seal  func(*Sealing) error
	Every time.Duration // an epoch ends at least so often: 5 s where 0
}

// epochs closes epochs and hands them to the journal: one is written while the next one fills.
//
// A block's way: changed by a commit → its chain is listed in the epoch → copied at the epoch's last sequence, and sealed → in the
// journal → pending until a checkpoint has written it home → its chain is dropped, and the cache has the sealed copy.
type epochs struct {
	opts Sealed

	io sync.Mutex // held while an epoch is closed; guards the journal

	home    sync.Mutex // guards pending, and is held while one of its blocks is written home
	pending map[block.Number]wal.Image
	late    []homeWrite // file data that W3, switched off, has left behind

	mu      sync.Mutex // guards the rest; held for moments
	ended   *sync.Cond
	closing bool
	freed   []freedBlock

	durable atomic.Uint64 // block.Seq
	err     atomic.Pointer[error]
	blocks  atomic.Int64 // in the epoch that fills
	held    atomic.Int64 // blocks that transactions under way may add
	closed  atomic.Uint64
	spent   atomic.Int64 // nanoseconds
	used    atomic.Int64 // blocks of the journal
}

type freedBlock struct {
	number block.Number
	seq    block.Seq
}

func newEpochs(o Sealed) *epochs {
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	e := &epochs{opts: o, pending: map[block.Number]wal.Image{}}
	e.ended = sync.NewCond(&e.mu)
	return e
}

// Sealing is an epoch that closes.
type Sealing struct {
	Last   block.Seq // the last commit of the epoch
	tx     *Tx
	s      *Store
	images map[block.Number][]byte
	tags   map[block.Number]Tag
	freed  map[block.Number]bool
}

// Blocks calls do for each block that the epoch's commits changed, in ascending order.
func (e *Sealing) Blocks(do func(n block.Number, t Tag)) {
	numbers := make([]block.Number, 0, len(e.images))
	for n := range e.images {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		do(n, e.tags[n])
	}
}

// Image is the epoch's copy of a block, which the sealer completes in place. One that no commit changed is added to the epoch.
func (e *Sealing) Image(n block.Number) ([]byte, error) {
	if p, ok := e.images[n]; ok {
		return p, nil
	}
	p, err := e.tx.ReadBlock(n)
	if err != nil {
		return nil, err
	}
	e.images[n] = slices.Clone(p)
	return e.images[n], nil
}

// Read is a block as the epoch's last commit left it.
func (e *Sealing) Read(n block.Number) ([]byte, error) {
	if p, ok := e.images[n]; ok {
		return p, nil
	}
	return e.tx.ReadBlock(n)
}

// wait returns when a sequence is durable (W1).
func (s *Store) wait(seq block.Seq) error {
	if s.log != nil {
		return s.log.Wait(seq)
	}
	e := s.epochs
	if e == nil || mutant.Off(mutant.W1) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for block.Seq(e.durable.Load()) < seq {
		if p := e.err.Load(); p != nil {
			return *p
		}
		if e.closing {
			e.ended.Wait()
			continue
		}
		e.closing = true
		e.mu.Unlock()
		err := s.closeEpoch()
		e.mu.Lock()
		e.closing = false
		e.ended.Broadcast()
		if err != nil {
			return err
		}
	}
	return nil
}

// listEpoch notes that a chain is changed in the epoch that fills. The caller holds its latch until the change is published.
func (s *Store) listEpoch(c *chain) {
	if s.epochs == nil || c.inEpoch {
		return
	}
	c.inEpoch = true
	s.epochs.blocks.Add(1)
	sh := s.shardOf(c.number)
	sh.mu.Lock()
	sh.epoch = append(sh.epoch, c)
	sh.mu.Unlock()
}

func (s *Store) takeEpoch() []*chain {
	var out []*chain
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		out = append(out, sh.epoch...)
		sh.epoch = nil
		sh.mu.Unlock()
	}
	s.epochs.blocks.Add(-int64(len(out)))
	return out
}

// closeEpoch ends the epoch that fills: all that is published now.
func (s *Store) closeEpoch() error {
	e := s.epochs
	e.io.Lock()
	defer e.io.Unlock()
	if p := e.err.Load(); p != nil {
		return *p
	}
	began := time.Now()
	tx := s.begin(context.Background(), TxOptions{ReadOnly: true, Name: "epoch"})
	defer s.finish(tx)
	if tx.snap == block.Seq(e.durable.Load()) {
		return nil
	}
	sealing := &Sealing{Last: tx.snap, tx: tx, s: s, images: map[block.Number][]byte{}, tags: map[block.Number]Tag{}, freed: map[block.Number]bool{}}
	err := s.gather(sealing)
	if err == nil {
		err = e.opts.Seal(sealing)
	}
	if err != nil {
		return e.fail(fmt.Errorf("close an epoch: %w", err))
	}
	tx.end()
	if err := s.commitEpoch(sealing); err != nil {
		return e.fail(err)
	}
	e.spent.Add(int64(time.Since(began)))
	if s.opts.Log.OnEpoch != nil {
		s.opts.Log.OnEpoch(block.Epoch(e.closed.Load()), sealing.Last, time.Since(began))
	}
	return nil
}

func (e *epochs) fail(err error) error {
	e.err.CompareAndSwap(nil, &err)
	return err
}

// gather copies what the epoch changed, as of its last commit.
func (s *Store) gather(e *Sealing) error {
	before := block.Seq(s.epochs.durable.Load())
	for _, c := range s.takeEpoch() {
		v, exact := c.seen(e.Last, &s.versions)
		data, seq := slices.Clone(v.data), v.seq
		var err error
		if !exact {
			var ok bool
			if ok, err = v.older(e.Last, data); err == nil && !ok {
				err = fmt.Errorf("history of %v does not reach back to commit %d: this is a bug", c.number, e.Last)
			}
			seq = e.Last
		}
		v.release(&s.versions)
		if err != nil {
			return err
		}
		c.latch.lock()
		if c.head.Load().seq > e.Last {
			s.epochs.blocks.Add(1)
			sh := s.shardOf(c.number)
			sh.mu.Lock()
			sh.epoch = append(sh.epoch, c)
			sh.mu.Unlock()
		} else {
			c.inEpoch = false
		}
		tag := c.tag
		c.latch.unlock()
		if seq > before {
			e.images[c.number], e.tags[c.number] = data, tag
		}
	}
	q := s.epochs
	q.mu.Lock()
	k := 0
	for k < len(q.freed) && q.freed[k].seq <= e.Last {
		e.freed[q.freed[k].number] = true
		k++
	}
	q.freed = slices.Delete(q.freed, 0, k)
	q.mu.Unlock()
	for n := range e.freed {
		delete(e.images, n)
	}
	return nil
}

// commitEpoch writes a sealed epoch. The caller holds io.
func (s *Store) commitEpoch(sealing *Sealing) error {
	e := s.epochs
	images := make([]wal.Image, 0, len(sealing.images))
	for n, p := range sealing.images {
		images = append(images, wal.Image{Number: n, Data: p})
	}
	slices.SortFunc(images, func(a, b wal.Image) int { return int(int64(a.Number) - int64(b.Number)) })
	freed := make([]block.Number, 0, len(sealing.freed))
	for n := range sealing.freed {
		freed = append(freed, n)
	}
	if !e.opts.Journal.Fits(len(images), len(freed)) {
		mark := e.opts.Journal.Next()
		list, err := s.writePending()
		if err == nil {
			err = e.opts.Journal.Trim(mark)
		}
		if err != nil {
			return err
		}
		e.came(list)
	}
	if len(images)+len(freed) == 0 { // file data alone, in its place
		if err := s.home.Sync(); err != nil {
			return fmt.Errorf("flush the image: %w", err)
		}
		s.settleEpoch(sealing.Last, nil, nil)
		return nil
	}
	if mutant.Off(mutant.W2) {
		for _, i := range images {
			_, _ = s.home.WriteAt(i.Data, s.size.Offset(i.Number))
		}
	}
	if err := e.opts.Journal.Commit(images, freed); err != nil {
		return err
	}
	e.used.Store(int64(e.opts.Journal.Used()))
	s.settleEpoch(sealing.Last, images, freed)
	return nil
}

// settleEpoch makes an epoch that is in the journal known. Images of blocks that it freed are not written home any more (J2).
func (s *Store) settleEpoch(last block.Seq, images []wal.Image, freed []block.Number) {
	e := s.epochs
	e.home.Lock()
	for _, i := range images {
		e.pending[i.Number] = i
	}
	if !mutant.Off(mutant.J2) {
		for _, n := range freed {
			delete(e.pending, n)
		}
	}
	e.home.Unlock()
	for _, n := range freed {
		if c, _ := s.index.Load(n); c != nil {
			s.dropFreed(c, last)
		}
	}
	e.closed.Add(1)
	e.durable.Store(uint64(last))
}

// dropFreed drops the chain of a block that was freed, where nobody needs it.
func (s *Store) dropFreed(c *chain, last block.Seq) {
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead || c.head.Load().seq > last {
		return
	}
	c.settle(s)
	c.prune(s, nil)
	if c.history > 0 {
		return
	}
	sh := s.shardOf(c.number)
	sh.mu.Lock()
	sh.dirty = slices.DeleteFunc(sh.dirty, func(o *chain) bool { return o == c })
	sh.mu.Unlock()
	s.retire(c)
}

// writePending writes every pending image home and flushes. It returns what it wrote.
func (s *Store) writePending() ([]wal.Image, error) {
	e := s.epochs
	e.home.Lock()
	list := make([]wal.Image, 0, len(e.pending))
	for _, i := range e.pending {
		list = append(list, i)
	}
	for _, h := range e.late {
		_, _ = s.home.WriteAt(h.data, s.size.Offset(h.number)+int64(h.off))
	}
	e.late = nil
	e.home.Unlock()
	slices.SortFunc(list, func(a, b wal.Image) int { return int(int64(a.Number) - int64(b.Number)) })
	for _, i := range list {
		if err := s.writeImage(i); err != nil {
			return nil, e.fail(err)
		}
	}
	if err := s.home.Sync(); err != nil {
		return nil, e.fail(fmt.Errorf("flush the image: %w", err))
	}
	return list, nil
}

// writeImage writes a sealed block home, unless it was freed or sealed anew meanwhile: a later copy of it is in the journal then.
func (s *Store) writeImage(i wal.Image) error {
	e := s.epochs
	e.home.Lock()
	defer e.home.Unlock()
	if now, ok := e.pending[i.Number]; !ok || &now.Data[0] != &i.Data[0] {
		return nil
	}
	if _, err := s.home.WriteAt(i.Data, s.size.Offset(i.Number)); err != nil {
		return fmt.Errorf("write %v home: %w", i.Number, err)
	}
	s.clean.Put(i.Number, i.Data)
	return nil
}

// came forgets images that are home.
func (e *epochs) came(list []wal.Image) {
	e.home.Lock()
	defer e.home.Unlock()
	for _, i := range list {
		if now, ok := e.pending[i.Number]; ok && &now.Data[0] == &i.Data[0] {
			delete(e.pending, i.Number)
		}
	}
}

// checkpointSealed writes what is durable home, gives up the journal's part that is not needed any more (J4), and drops the chains of blocks that
// were not changed since.
func (s *Store) checkpointSealed() error {
	e := s.epochs
	if p := e.err.Load(); p != nil {
		return *p
	}
	e.io.Lock()
	mark, last := e.opts.Journal.Next(), block.Seq(e.durable.Load())
	if mutant.Off(mutant.J4) || mutant.Off(mutant.W6) {
		_ = e.opts.Journal.Trim(mark)
	}
	e.io.Unlock()
	dirty := s.takeDirty()
	list, err := s.writePending()
	if err != nil {
		s.relist(dirty)
		return err
	}
	e.io.Lock()
	err = e.opts.Journal.Trim(mark)
	e.used.Store(int64(e.opts.Journal.Used()))
	e.io.Unlock()
	if err != nil {
		s.relist(dirty)
		return e.fail(err)
	}
	e.came(list)
	// A later epoch may have sealed a block anew that no commit had changed since: then neither image of it is home yet, and its chain stays.
	waits := map[block.Number]bool{}
	e.home.Lock()
	for n := range e.pending {
		waits[n] = true
	}
	e.home.Unlock()
	for _, c := range dirty {
		s.dropSealed(c, last, waits[c.number])
	}
	return nil
}

// dropSealed gives up a chain whose newest version is home, unless there is something older in it. The cache has the sealed copy.
func (s *Store) dropSealed(c *chain, last block.Seq, waits bool) {
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead {
		return
	}
	if c.head.Load().seq > last || c.inEpoch || waits {
		s.shardOf(c.number).listDirty(c)
		return
	}
	c.dirty = false
	c.settle(s)
	c.prune(s, nil)
	if c.history > 0 {
		c.idle = true // collect drops it when the last snapshot has gone
		return
	}
	s.retire(c)
}

// credits is how many blocks a transaction under way is taken to add to the epoch.
const credits = 24

// holdCredits waits until the epoch has room for one more transaction (J9).
func (s *Store) holdCredits(ctx context.Context) error {
	e := s.epochs
	limit := int64(e.opts.Journal.Largest()) - sealerBlocks
	for {
		held := e.held.Add(credits)
		blocks := e.blocks.Load()
		if blocks+held <= max(limit, 2*credits) || mutant.Off(mutant.J9) {
			return nil
		}
		e.held.Add(-credits)
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if blocks > 0 {
			if err := s.wait(s.Published()); err != nil {
				return err
			}
		}
		if held > credits {
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// sealerBlocks is how many blocks the sealer is taken to add to an epoch.
const sealerBlocks = 16

// epochTimer ends epochs at intervals. Where nothing happened between two of them it writes home what is left, so that an idle store holds no versions.
func (s *Store) epochTimer() {
	last := s.Published()
	t := time.NewTicker(s.epochs.opts.Every)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			now := s.Published()
			if s.wait(now) != nil {
				return
			}
			if now == last && s.chains.Load() > 0 {
				s.askCheckpoint()
			}
			last = now
		}
	}
}
