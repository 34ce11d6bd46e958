package mvcc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
	"github.com/varvefs/varve/wal"
)

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

	io yield.Mutex // held while an epoch is closed; guards the journal

	home    yield.Mutex // guards pending, and is held while one of its blocks is written home
	pending map[block.Number]wal.Image
	late    []homeWrite // file data that W3, switched off, has left behind

	mu      sync.Mutex // guards the rest; held for moments
	ended   *sync.Cond
	closing bool
	freed   []freedBlock
	waits   int           // calls of wait that are not served yet
	crowd   int           // how many there were, served and not, when the last epoch ended
	full    chan struct{} // told when as many are there again; nil where nobody gathers

	durable atomic.Uint64 // block.Seq
	err     atomic.Pointer[error]
	blocks  atomic.Int64 // in the epoch that fills
	held    atomic.Int64 // blocks that transactions under way may add
	closed  atomic.Uint64
	spent   atomic.Int64 // nanoseconds
	used    atomic.Int64 // blocks of the journal
	ordered atomic.Bool  // ordered data was written since the last epoch closed
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

// wait returns when a sequence is durable (W1), or with the context's error.
func (s *Store) wait(ctx context.Context, seq block.Seq) error {
	if ctx == nil {
		ctx = context.Background()
	}
	if s.log != nil {
		return s.log.Wait(ctx, seq)
	}
	e := s.epochs
	if e == nil || mutant.Off(mutant.W1) {
		return nil
	}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, e.wakeAll)()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if block.Seq(e.durable.Load()) >= seq {
		return nil
	}
	e.waits++
	defer func() { e.waits-- }()
	if e.full != nil && e.waits >= e.crowd {
		close(e.full)
		e.full = nil
	}
	for block.Seq(e.durable.Load()) < seq {
		if p := e.err.Load(); p != nil {
			return *p
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.closing {
			e.ended.Wait()
			continue
		}
		e.closing = true
		e.awaitCrowd()
		e.mu.Unlock()
		err := s.closeEpoch()
		e.mu.Lock()
		e.closing, e.crowd = false, e.waits
		e.ended.Broadcast()
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *epochs) wakeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended.Broadcast()
}

// awaitCrowd waits, for as long as a flush takes, until as many wait as when the last one ended: those whom that woke are about to commit again, and one flush does for
// all (kernel, fs/jbd2: the batching of synchronous handles). The caller holds mu, which is let go meanwhile.
func (e *epochs) awaitCrowd() {
	if e.waits >= e.crowd || e.crowd > maxCrowd {
		return
	}
	full := make(chan struct{})
	e.full = full
	e.mu.Unlock()
	t := time.NewTimer(min(e.opts.Journal.FlushTime(), maxGather))
	select {
	case <-full:
	case <-t.C:
	}
	t.Stop()
	e.mu.Lock()
	e.full = nil
}

const (
	// maxGather bounds how long one who wants to be durable waits for others.
	maxGather = 2 * time.Millisecond
	// maxCrowd is how many wait for one another. A flush for more of them takes its time for what they wrote, and is better used meanwhile: 64 jobs lost a tenth.
	maxCrowd = 32
)

// listEpoch notes that a chain is changed in the epoch that fills. The caller holds its latch until the change is published.
func (s *Store) listEpoch(c *chain) {
	if s.epochs == nil || c.inEpoch {
		return
	}
	c.inEpoch = true
	s.relistEpoch(c)
}

// relistEpoch puts a chain into the list of the epoch that fills.
func (s *Store) relistEpoch(c *chain) {
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
	yield.At("epoch snapshot")
	ordered := e.ordered.Swap(false) // after the snapshot was taken
	sealing := &Sealing{Last: tx.snap, ordered: ordered, tx: tx, images: map[block.Number][]byte{}, tags: map[block.Number]Tag{}, freed: map[block.Number]bool{}}
	err := s.gather(sealing)
	if err == nil {
		err = e.opts.Seal(sealing)
	}
	if err != nil {
		return e.fail(fmt.Errorf("close an epoch: %w", err))
	}
	tx.end()
	yield.At("epoch sealed")
	failpoint.At("epoch", "sealed")
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
	if !e.opts.Journal.Fits(len(images), freed) {
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
	if err := e.opts.Journal.Commit(images, freed, sealing.ordered); err != nil {
		return err
	}
	e.used.Store(int64(e.opts.Journal.Used()))
	s.settleEpoch(sealing.Last, images, freed)
	return nil
}

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
			if s.wait(context.Background(), now) != nil {
				return
			}
			if now == last && s.chains.Load() > 0 {
				s.askCheckpoint()
			}
			last = now
		}
	}
}
