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

// EpochJournal has epochs go, as whole and sealed blocks, into a journal instead of a log of byte ranges. The store's
// home is recovered already.
type EpochJournal struct {
	Journal wal.EpochLog
	Apart   bool // it is on another device than home, which its flushes do not reach
	// Seal completes the copies of an epoch's blocks: it computes the fields that derive from other bytes, which no
	// transaction edits.
	Seal  func(*ClosingEpoch) error
	Every time.Duration // an epoch ends at least so often: 5 s where 0
}

// journalEpochs is the durability of a store whose epochs go into a journal: one is written while the next one fills.
//
// A block's way: changed by a commit → its chain is listed in the epoch → copied at the epoch's last sequence, and
// sealed → in the journal → pending until a checkpoint has written it home → its chain is dropped, and the cache has
// the sealed copy.
type journalEpochs struct {
	s    *Store
	opts EpochJournal

	io yield.Mutex // held while an epoch is closed; guards the journal

	home    yield.Mutex // guards pending, and is held while one of its blocks is written home
	pending map[block.Number]wal.Image

	mu       sync.Mutex // guards the fields up to full; held for moments
	ended    *sync.Cond
	closing  bool
	frees    []freedBlock
	waits    int           // calls of wait that are not served yet
	expected int           // how many there were, served and not, when the last epoch ended
	full     chan struct{} // closed when as many wait again; nil where none is expected

	listed chainList // changed in the epoch that fills

	last      atomic.Uint64 // block.Seq of the last durable commit
	failed    atomic.Pointer[error]
	blocks    atomic.Int64 // in the epoch that fills
	held      atomic.Int64 // blocks that transactions under way may add
	closed    atomic.Uint64
	closeTime atomic.Int64 // nanoseconds
	used      atomic.Int64 // blocks of the journal
	ordered   atomic.Bool  // ordered data was written since the last epoch closed
}

type freedBlock struct {
	number block.Number
	seq    block.Seq
}

func (o EpochJournal) open(s *Store) (rec wal.Recovery, err error) {
	s.durability = newJournalEpochs(s, o)
	return rec, nil
}

func newJournalEpochs(s *Store, o EpochJournal) *journalEpochs {
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	e := &journalEpochs{s: s, opts: o, pending: map[block.Number]wal.Image{}}
	e.ended = sync.NewCond(&e.mu)
	return e
}

// wait returns when a sequence is durable (W1), or with the context's error.
func (e *journalEpochs) wait(ctx context.Context, seq block.Seq) error {
	if mutant.Off(mutant.W1) {
		return nil
	}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, e.wakeAll)()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.durable() >= seq {
		return nil
	}
	e.waits++
	defer func() { e.waits-- }()
	if e.full != nil && e.waits >= e.expected {
		close(e.full)
		e.full = nil
	}
	for e.durable() < seq {
		if p := e.failed.Load(); p != nil {
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
		e.awaitOthers()
		if err := e.lead(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lead ends the epoch for all that wait. If the context ends first, the epoch ends by itself later: the device may be
// stuck. The caller holds mu, which is released meanwhile.
func (e *journalEpochs) lead(ctx context.Context) error {
	var err error
	led := false
	end := func() {
		closed := e.closeEpoch()
		e.mu.Lock()
		err, led = closed, true
		e.closing, e.expected = false, e.waits
		e.ended.Broadcast()
	}
	if ctx.Done() == nil {
		e.mu.Unlock()
		end()
		return err
	}
	go func() {
		end()
		e.mu.Unlock()
	}()
	for !led && ctx.Err() == nil {
		e.ended.Wait()
	}
	return err
}

func (e *journalEpochs) wakeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended.Broadcast()
}

// awaitOthers waits, for at most the time of a flush, until as many callers wait as when the last flush ended: the
// callers that it woke are about to commit again, and one flush serves all (kernel, fs/jbd2: the batching of
// synchronous handles). The caller holds mu, which is released meanwhile.
func (e *journalEpochs) awaitOthers() {
	if e.waits >= e.expected || e.expected > maxAwaited {
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
	// maxGather bounds how long a durable wait waits for others.
	maxGather = 2 * time.Millisecond
	// maxCrowd is how many wait for one another. A flush for more of them takes its time for what they wrote, and is
	// better used meanwhile: 64 jobs lost a tenth.
	maxAwaited = 32
)

// changed lists a chain in the epoch that fills.
func (e *journalEpochs) changed(c *chain) {
	c.freed = 0
	if !c.inEpoch {
		c.inEpoch = true
		e.list(c)
	}
}

// list puts a chain into the list of the epoch that fills.
func (e *journalEpochs) list(c *chain) {
	e.blocks.Add(1)
	e.listed.add(c)
}

// closeEpoch ends the epoch that fills: all that is published now.
func (e *journalEpochs) closeEpoch() error {
	e.io.Lock()
	defer e.io.Unlock()
	if p := e.failed.Load(); p != nil {
		return *p
	}
	began := time.Now()
	tx := e.s.begin(context.Background(), TxOptions{ReadOnly: true, Name: "epoch"})
	defer e.s.finish(tx)
	if tx.snap == e.durable() {
		return nil
	}
	if err := e.clearJournal(); lacksSpace(err) {
		return err
	} else if err != nil {
		return e.abort(err)
	}
	yield.At("epoch snapshot")
	ordered := e.ordered.Swap(false) // after the snapshot was taken
	sealing := &ClosingEpoch{
		Last:    tx.snap,
		ordered: ordered,
		tx:      tx,
		images:  map[block.Number][]byte{},
		tags:    map[block.Number]Tag{},
		freed:   map[block.Number]bool{},
	}
	err := e.gather(sealing)
	if err == nil {
		err = e.opts.Seal(sealing)
	}
	if err != nil {
		return e.abort(fmt.Errorf("close an epoch: %w", err))
	}
	tx.end()
	yield.At("epoch sealed")
	failpoint.At("epoch", "sealed")
	if err := e.commitEpoch(sealing); err != nil {
		return e.abort(err)
	}
	e.closeTime.Add(int64(time.Since(began)))
	e.s.flushed(block.Epoch(e.closed.Load()), sealing.Last, time.Since(began))
	return nil
}

// fail ends the store's commits and all writing for a reason that is none of the journal's.
func (e *journalEpochs) fail(err error) { e.failed.CompareAndSwap(nil, &err) }

// abort ends the store's commits and all writing for an error, which the next mount is to know, and returns it.
// Nothing is noted where they had ended before. The caller holds io.
func (e *journalEpochs) abort(err error) error {
	if e.failed.CompareAndSwap(nil, &err) {
		e.opts.Journal.Abort()
	}
	return err
}

// commitEpoch writes a sealed epoch. The caller holds io.
func (e *journalEpochs) commitEpoch(sealing *ClosingEpoch) error {
	images := make([]wal.Image, 0, len(sealing.images))
	for n, p := range sealing.images {
		images = append(images, wal.Image{Number: n, Data: p, Late: sealing.late[n]})
	}
	slices.SortFunc(images, func(a, b wal.Image) int { return int(int64(a.Number) - int64(b.Number)) })
	freed := make([]block.Number, 0, len(sealing.freed))
	for n := range sealing.freed {
		freed = append(freed, n)
	}
	if !e.opts.Journal.Fits(len(images), freed) {
		if err := e.trimAll(); err != nil {
			return err
		}
	}
	if len(images)+len(freed) == 0 { // file data alone, in its place
		if err := e.s.home.Sync(); err != nil {
			return fmt.Errorf("flush the image: %w", err)
		}
		e.publishDurable(sealing.Last, nil, nil)
		return nil
	}
	if mutant.Off(mutant.W2) {
		for _, i := range images {
			_, _ = e.s.home.WriteAt(i.Data, e.s.size.Offset(i.Number))
		}
	}
	ordered := sealing.ordered
	if e.opts.Apart && ordered && !mutant.Off(mutant.LogApart) {
		if err := e.s.home.Sync(); err != nil {
			return fmt.Errorf("flush the image: %w", err)
		}
		ordered = false
	}
	if err := e.opts.Journal.Commit(images, freed, ordered); err != nil {
		return err
	}
	e.used.Store(int64(e.opts.Journal.Used()))
	if e.opts.Journal.Home() {
		for _, i := range images {
			e.s.clean.Put(i.Number, i.Data)
		}
		images = nil
	}
	e.publishDurable(sealing.Last, images, freed)
	return nil
}

// run ends epochs at intervals, and writes home what is durable when no commit came for a while: an idle store holds
// no versions, and has next to nothing left to do when it is closed. Then it rests until the next commit.
func (e *journalEpochs) run() {
	last, before := e.s.Published(), e.s.Published()
	every, idle := time.NewTicker(e.opts.Every), time.NewTicker(min(e.opts.Every, idleAfter))
	defer every.Stop()
	defer idle.Stop()
	for {
		select {
		case <-e.s.stop:
			return
		case <-every.C:
			now := e.s.Published()
			if e.wait(context.Background(), now) != nil {
				if e.failed.Load() != nil {
					return
				}
				continue
			}
			if now == last && e.s.chains.count.Load() > 0 {
				e.s.checkpoints.request()
			}
			last = now
		case <-idle.C:
			now := e.s.Published()
			if now == before && now == e.durable() && e.used.Load() > 0 {
				e.s.checkpoints.request()
			}
			before = now
		}
	}
}

// idleAfter is how long no commit comes before what is durable goes home. It ends no epoch: that is the interval's to
// decide.
const idleAfter = time.Second

// wroteHome is called after the writes, and before the commit can be seen: the epoch that has the commit, or an
// earlier one, flushes them.
func (e *journalEpochs) wroteHome(ordered bool) {
	if ordered && !mutant.Off(mutant.W3) || e.opts.Apart {
		e.ordered.Store(true)
	}
}

// freed keeps the blocks for the epoch, which revokes them. Store.Reusable reports when they may be used again.
func (e *journalEpochs) freed(blocks []block.Number, seq block.Seq) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range blocks {
		e.frees = append(e.frees, freedBlock{n, seq})
	}
}

func (e *journalEpochs) encode(*Tx, int) error       { return nil }
func (e *journalEpochs) append(*Tx, block.Seq)       {}
func (e *journalEpochs) durable() block.Seq          { return block.Seq(e.last.Load()) }
func (e *journalEpochs) outlasts(seq block.Seq) bool { return seq <= e.durable() }
func (e *journalEpochs) writeOut() error             { return nil }
func (e *journalEpochs) homeCached() bool            { return true } // the sealed copy, since that came home

func (e *journalEpochs) sync(ctx context.Context, seq block.Seq) error { return e.wait(ctx, seq) }

func (e *journalEpochs) pressure() float64 {
	return float64(e.used.Load()) / float64(e.opts.Journal.Blocks())
}

func (e *journalEpochs) err() error {
	if p := e.failed.Load(); p != nil {
		return fmt.Errorf("no more changes are taken: %w; unmount, mend what is wrong, and mount again", *p)
	}
	return nil
}

func (e *journalEpochs) count(out *Stats) {
	out.FlushSeconds, out.Durable, out.Flushes = time.Duration(e.closeTime.Load()).
		Seconds(),
		e.last.Load(), e.closed.Load()
	out.WALBytes, out.Pressure = e.opts.Journal.Bytes(), e.pressure()
}

func (e *journalEpochs) close() error { return nil }
func (e *journalEpochs) abandon()     {}

// halt ends all writing: an epoch that is being closed has ended when it returns.
func (e *journalEpochs) halt() {
	e.failed.CompareAndSwap(nil, &errStoreClosed)
	e.io.Lock()
	defer e.io.Unlock()
}
