package mvcc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/wal"
)

// Options of a store. BlockSize and Home are needed; the rest has defaults.
type Options struct {
	BlockSize block.Size
	Home      blockcache.Writable // the blocks' own places
	// Durability is a NativeLog or a EpochJournal. nil: commits live in memory until a checkpoint, and a crash may leave
	// half of one.
	Durability Durability
	Policy     Policy
	Isolation  Isolation
	Memory     int64 // bytes for versions, history and clean blocks: 256 MiB where 0
	ChainCap   int   // deltas of one block before its writers are held back: 4096 where 0
	// PushBack is how long writers are held back for a snapshot before they get an error: 1 s where 0. If it is negative
	// they wait until the snapshot ends.
	PushBack  time.Duration
	LostRaces int // lost races before a transaction waits in a queue (M5): 8 where 0
	Pack      PackPolicy
	Observer  Observer // of the events; nil: none
}

func (o Options) defaults() (Options, error) {
	switch {
	case !o.BlockSize.Valid():
		return o, fmt.Errorf(
			"block size %d: it is a power of two from %d to %d bytes",
			o.BlockSize,
			block.MinSize,
			block.MaxSize,
		)
	case o.Home == nil:
		return o, errors.New("a store needs a home device")
	case o.Home.Size() < int64(o.BlockSize):
		return o, fmt.Errorf("the home device has %d bytes, less than one block of %d", o.Home.Size(), o.BlockSize)
	}
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	o.Memory = max(o.Memory, 64*int64(o.BlockSize))
	if o.ChainCap == 0 {
		o.ChainCap = 4096
	}
	if o.PushBack == 0 {
		o.PushBack = time.Second
	}
	if o.LostRaces == 0 {
		o.LostRaces = 8
	}
	o.Pack = o.Pack.defaults()
	return o, nil
}

// Store is a transactional store over a device. Its methods may be called concurrently.
type Store struct {
	opts       Options
	size       block.Size
	blocks     block.Number
	home       blockcache.Writable
	clean      *blockcache.Cache
	durability durability
	always     bool // every commit waits until it is durable

	_     [64]byte
	order sequencer

	chains    chainTable
	snapshots *registry
	txs       *sync.Pool // of its own: the collector keeps what holds a pool for two rounds

	groups   groups
	stats    stats
	events   events
	queues   waitQueues
	pressure backPressure

	checkpoints checkpointer
	collector   collector

	stop    chan struct{}
	running sync.WaitGroup
	ending  atomic.Bool // no more commits; set under the sequencer's latch
	closed  atomic.Bool
	failed  atomic.Pointer[error]
}

// Open recovers the device from its log and opens a store over it. The store does not own the devices.
func Open(o Options) (*Store, wal.Recovery, error) {
	o, err := o.defaults()
	if err != nil {
		return nil, wal.Recovery{}, err
	}
	s := &Store{opts: o, size: o.BlockSize, home: o.Home, blocks: block.Number(o.Home.Size() / int64(o.BlockSize)),
		snapshots: new(registry), txs: new(sync.Pool), events: events{o.Observer}, stop: make(chan struct{})}
	if o.Durability == nil {
		o.Durability = noLog{}
	}
	rec, err := o.Durability.open(s)
	if err != nil {
		return nil, rec, err
	}
	s.clean = blockcache.NewCache(o.Home, nil, o.BlockSize, o.Memory/4)
	s.chains.init(o, s.snapshots)
	s.order.published.Store(uint64(rec.Last))
	s.groups.init()
	s.stats.init()
	s.queues.init()
	s.checkpoints.init(s)
	s.pressure.s, s.collector.s = s, s
	s.running.Go(s.collector.background)
	s.running.Go(s.checkpoints.background)
	s.running.Go(s.durability.run)
	return s, rec, nil
}

// Blocks is the number of blocks of the device, and BlockSize their size in bytes.
func (s *Store) Blocks() block.Number { return s.blocks }

// BlockSize is the size of a block in bytes.
func (s *Store) BlockSize() block.Size { return s.size }

// Begin begins a transaction. It must be ended by Commit or Rollback: until then it holds a snapshot.
func (s *Store) Begin(ctx context.Context, o TxOptions) (*Tx, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if err := s.pressure.admit(ctx); err != nil {
			return nil, err
		}
	}
	tx := s.begin(ctx, o)
	tx.admitted = !o.ReadOnly
	tx.priority = s.queues.newPriority(uint64(tx.snap) + 1)
	return tx, nil
}

// TxOptions are the options of one transaction.
type TxOptions struct {
	ReadOnly     bool
	Serializable bool   // also where the store's isolation is Snapshot
	Durable      bool   // Commit and Update return when the commit is durable (W1)
	Name         string // in messages and events
}

func (s *Store) begin(ctx context.Context, o TxOptions) *Tx {
	tx, _ := s.txs.Get().(*Tx)
	if tx == nil {
		tx = &Tx{s: s, slot: s.snapshots.acquire()}
		runtime.AddCleanup(tx, s.snapshots.release, tx.slot)
	}
	tx.ctx, tx.readonly, tx.done, tx.seq, tx.lost, tx.loser, tx.waited = ctx, o.ReadOnly, false, 0, 0, nil, 0
	tx.overCap = nil
	tx.restart, tx.queueHeld, tx.update, tx.mergedAny, tx.began = nil, false, false, false, time.Time{}
	tx.durable = o.Durable || s.always
	tx.isolation = s.opts.Isolation
	if o.Serializable {
		tx.isolation = Serializable
	}
	if o.Name != "" {
		name := o.Name // else every call would allocate o
		tx.slot.name.Store(&name)
	}
	tx.hooks, tx.sequenced = tx.hooks[:0], tx.sequenced[:0]
	tx.groups, tx.freed, tx.fresh, tx.homes = tx.groups[:0], tx.freed[:0], tx.fresh[:0], tx.homes[:0]
	tx.freshAt = reuseMap(tx.freshAt)
	tx.takeSnapshot()
	return tx
}

// takeSnapshot registers the published sequence as this transaction's snapshot.
func (tx *Tx) takeSnapshot() {
	for {
		p := tx.s.order.published.Load()
		tx.slot.snap.Store(p + 1)
		if tx.s.order.published.Load() == p {
			tx.snap = block.Seq(p)
			return
		}
	}
}

// finish gives an ended transaction's memory back. Now and then it yields the processor: a writer that never waits
// would keep it for the scheduler's whole time slice, and then lose it in the middle of a transaction, with a snapshot
// that grows old.
func (s *Store) finish(tx *Tx) {
	tx.end()
	yield := tx.work >= yieldAfter
	if yield {
		tx.work = 0
	}
	s.txs.Put(tx)
	if yield {
		runtime.Gosched()
	}
}

// yieldAfter is the number of transactions and of blocks that they touched.
const yieldAfter = 128

// Commit ends the transaction. ErrConflict means that nothing of it stays, and that it may be tried again.
func (tx *Tx) Commit() error {
	if tx.done {
		return ErrDone
	}
	err := tx.commit()
	if lacksRoom(err) {
		return errors.Join(err, tx.awaitRoom(err)) // when there is room: a conflict
	}
	if err == nil {
		tx.s.stats.commit(tx)
		tx.end()
		err = tx.awaitDurable()
	}
	tx.end()
	return err
}

// awaitDurable waits for the epoch of a committed transaction, where that was asked for.
func (tx *Tx) awaitDurable() error {
	if !tx.durable || tx.seq == 0 {
		return nil
	}
	if err := tx.s.durability.wait(orBackground(tx.ctx), tx.seq); err != nil {
		return fmt.Errorf("%w: commit %d: %w", ErrInDoubt, tx.seq, err)
	}
	return nil
}

// Rollback ends the transaction without a trace (M7). After Commit it does nothing.
func (tx *Tx) Rollback() { tx.end() }

// Err is the error that made the store stop taking commits, if any: it was closed, or its log failed.
func (s *Store) Err() error {
	if s.ending.Load() {
		return ErrClosed
	}
	return s.failure()
}

// failure is the error that ended the store by itself, if any.
func (s *Store) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return s.durability.err()
}

// fail makes the store stop taking commits.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("the store takes no more commits: %w; close it, mend the device, and open it again", err)
	s.failed.CompareAndSwap(nil, &err)
	return *s.failed.Load()
}

// Fail ends the taking of commits, and all writing to the device, for a reason that lies outside of the store.
func (s *Store) Fail(err error) {
	s.durability.fail(err)
}

// Sync makes every commit so far durable. If the context ends first they may be durable, or become so later.
func (s *Store) Sync(ctx context.Context) error {
	return s.durability.sync(orBackground(ctx), s.Published())
}

// orBackground is a context that is not nil.
func orBackground(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}

// Flush hands the log's records to the device, without making anything durable (E1).
func (s *Store) Flush() error { return s.durability.writeOut() }

// Durable is the sequence up to which commits are durable.
func (s *Store) Durable() block.Seq { return s.durability.durable() }

// end refuses all commits from now on, and reports whether none did so before.
func (s *Store) end() bool {
	s.order.latch.lock()
	defer s.order.latch.unlock()
	return s.ending.CompareAndSwap(false, true)
}

// Close makes everything durable and home, and ends the store. A transaction that has not committed yet gets
// ErrClosed.
func (s *Store) Close() error {
	if !s.end() {
		return ErrClosed
	}
	err := s.failure()
	if err == nil {
		err = s.Checkpoint()
	}
	s.halt()
	if cerr := s.durability.close(); err == nil {
		err = cerr
	}
	return err
}

// Abandon ends the store as a crash would: nothing is made durable.
func (s *Store) Abandon() {
	s.end()
	s.halt()
	s.durability.abandon()
}

func (s *Store) halt() {
	if s.closed.CompareAndSwap(false, true) {
		close(s.stop)
		s.durability.halt()
		s.running.Wait()
		s.checkpoints.mu.Lock() // one that a caller asked for has ended, too: nothing is written any more
		defer s.checkpoints.mu.Unlock()
		for s.txs.Get() != nil { // each of them holds the store
		}
	}
}

var errStoreClosed error = ErrClosed
