package wal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"lukechampine.com/blake3"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/invariant"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
)

// Policy is when an epoch ends without a waiter.
type Policy int

// The policies. With Always the store waits for each commit; OnDemand ends epochs only for Wait and Sync.
const (
	Interval Policy = iota
	Always
	OnDemand
)

// Options of a log. The zero value is good.
type Options struct {
	Identity    Identity
	Policy      Policy
	Every       time.Duration // of Interval: 5 s where 0
	SegmentSize int64         // bytes, a multiple of 4096: 4 MiB where 0
	MaxBytes    int64         // of segments before commits are held back: 256 MiB where 0
	Gather      int           // bytes of commits that are gathered in memory before they are written: 256 KiB where 0
	OnEpoch     func(e block.Epoch, last block.Seq, took time.Duration)
}

func (o Options) defaults() (Options, error) {
	if o.SegmentSize != 0 && (o.SegmentSize < minSegment || o.SegmentSize > maxSegment || o.SegmentSize%segmentUnit != 0) {
		return o, fmt.Errorf(
			"segment size %d: it is a multiple of %d bytes from %d to %d",
			o.SegmentSize,
			segmentUnit,
			minSegment,
			maxSegment,
		)
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegment
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	o.MaxBytes = max(o.MaxBytes, 4*o.SegmentSize)
	if o.Gather == 0 {
		o.Gather = 256 << 10
	}
	return o, nil
}

// Log is a write-ahead log. Open makes one.
type Log struct {
	dev  blockcache.Writable
	home blockcache.Writable
	opts Options
	salt salt

	io      yield.Mutex // held while the device is written; guards the next group
	ctl     control
	segs    segments
	tail    tail
	flushed position // up to here the device was flushed
	epoch   block.Epoch
	first   block.Epoch // that had ended when the log was opened
	spare   []byte

	mu          sync.Mutex    // guards the next group; held for moments
	pending     []byte        // whole records that are not written yet
	last        block.Seq     // the last sequence in pending, or before it
	flushing    bool          // a caller ends an epoch
	shared      bool          // the last epoch served several
	plan        plan          // behind pending
	limit       uint64        // number of the last segment that has a place
	epochsTaken uint64        // epochs whose records were taken
	ended       [2]*sync.Cond // by taken: the epoch that gathers has ended, or the log has failed

	durable   atomic.Uint64 // block.Seq
	ordered   atomic.Bool   // ordered data went home since the last flush of home
	err       atomic.Pointer[error]
	noRoom    atomic.Pointer[error]
	bytes     atomic.Uint64
	flushes   atomic.Uint64
	flushTime atomic.Int64 // nanoseconds
	used      atomic.Int64 // bytes of live segments
	gather    atomic.Int64 // bytes pending
	room      atomic.Int64 // bytes: a commit that is no longer, with its epoch's record, fits

	kick   chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup
	halted sync.Once
}

func newLog(dev, home blockcache.Writable, ctl control, o Options) *Log {
	l := &Log{dev: dev, home: home, opts: o, ctl: ctl, salt: saltOf(ctl.incarnation),
		kick: make(chan struct{}, 1), stop: make(chan struct{})}
	l.ended = [2]*sync.Cond{sync.NewCond(&l.mu), sync.NewCond(&l.mu)}
	l.segs.length = int64(ctl.segment)
	// the options may have asked for smaller segments than the log has
	l.opts.MaxBytes = max(l.opts.MaxBytes, 4*l.segs.length)
	l.tail.sum = blake3.New(32, nil)
	return l
}

// begin opens the first segment of this incarnation and starts the writer.
func (l *Log) begin(number uint64, next block.Seq) error {
	l.tail.number = number - 1
	l.last = next - 1
	l.durable.Store(uint64(next - 1))
	l.ctl.start, l.ctl.startSeq = number, next
	l.io.Lock()
	defer l.io.Unlock()
	if err := l.reserve(1); err != nil {
		return err
	}
	if err := l.open(next); err != nil {
		return err
	}
	if err := l.dev.Sync(); err != nil {
		return fmt.Errorf("flush the log: %w", err)
	}
	l.flushed = l.tail.position(l.segs.length)
	if err := l.writeControl(); err != nil {
		return err
	}
	l.used.Store(l.segs.length)
	l.account()
	l.done.Go(l.background)
	return nil
}

// writeControl makes the control block durable. The caller holds io.
func (l *Log) writeControl() error {
	l.ctl.generation++
	l.ctl.epoch, l.ctl.flushed = l.epoch, l.flushed
	if _, err := l.dev.WriteAt(l.ctl.encode(), int64(l.ctl.generation%2)*controlSize); err != nil {
		return fmt.Errorf("write the control block of the log: %w", err)
	}
	if err := l.dev.Sync(); err != nil {
		return fmt.Errorf("flush the log: %w", err)
	}
	return nil
}

// Append takes the record of a commit. The caller appends in sequence order, one call at a time. The bytes are copied.
func (l *Log) Append(r *Record, seq block.Seq) {
	r.end(seq, l.salt)
	l.mu.Lock()
	l.pending = append(l.pending, r.bytes...)
	l.plan.addCommit(int64(len(r.bytes)), l.segs.length)
	l.setRoom()
	l.last = seq
	n := len(l.pending)
	l.mu.Unlock()
	l.gather.Store(int64(n))
	if n >= l.opts.Gather {
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
}

// Ordered notes that data was written home that the commits from here on point at (W3).
func (l *Log) Ordered() { l.ordered.Store(true) }

// Pressure is the share of the log's space, or of its memory, that is in use: 1 is all that the options allow.
func (l *Log) Pressure() float64 {
	pending := l.gather.Load()
	return max(
		float64(l.used.Load()-l.segs.length+pending)/float64(l.opts.MaxBytes),
		float64(pending)/float64(32*l.opts.Gather),
	)
}

// Durable is the last sequence that is durable.
func (l *Log) Durable() block.Seq { return block.Seq(l.durable.Load()) }

// Bytes is how many bytes were written.
func (l *Log) Bytes() uint64 { return l.bytes.Load() }

// FlushTime is how long ending epochs took in all.
func (l *Log) FlushTime() time.Duration { return time.Duration(l.flushTime.Load()) }

// Flushes is how many epochs have ended.
func (l *Log) Flushes() uint64 { return l.flushes.Load() }

// Err is the error that ended the log, if any.
func (l *Log) Err() error {
	if p := l.err.Load(); p != nil {
		return *p
	}
	return nil
}

// fail ends the log. Nothing is tried again: after a failed flush the contents of the device are unknown.
func (l *Log) fail(err error) error {
	l.err.CompareAndSwap(nil, &err)
	l.wakeAll()
	return l.Err()
}

// Wait returns when a sequence that was appended is durable (W1). Those that wait at a time share one flush. If the
// context ends first the sequence may be durable, or become so later.
func (l *Log) Wait(ctx context.Context, seq block.Seq) error {
	if mutant.Off(mutant.W1) {
		return nil
	}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, l.wakeAll)()
	}
	l.mu.Lock()
	for {
		var err error
		switch {
		case l.Durable() >= seq:
			l.passOn()
			l.mu.Unlock()
			return nil
		case l.Err() != nil:
			err = l.Err()
		case ctx.Err() != nil && !mutant.Off(mutant.WaitContext):
			err = ctx.Err()
			l.passOn()
		case l.flushing:
			l.shared = true
			l.ended[l.epochsTaken%2].Wait()
			continue
		default:
			err = l.lead()
		}
		if err != nil {
			l.mu.Unlock()
			return err
		}
	}
}

// passOn gives the turn to lead to another waiter: it may have been this one's. The caller holds mu.
func (l *Log) passOn() {
	if !l.flushing {
		l.ended[l.epochsTaken%2].Signal()
	}
}

// lead ends an epoch for all that wait. It wakes those that it has served, and one of those that came too late, to
// lead the next: to wake all each time made every commit of a crowd wake twice. The caller holds mu.
func (l *Log) lead() error {
	l.flushing = true
	crowd := l.shared
	l.shared = false
	l.mu.Unlock()
	yield.At("lead")
	if crowd {
		runtime.Gosched() // those that the last epoch woke commit before this one ends
	}
	err := l.end()
	yield.At("led")
	l.mu.Lock()
	l.flushing = false
	l.ended[(l.epochsTaken+1)%2].Broadcast()
	l.ended[l.epochsTaken%2].Signal()
	return err
}

func (l *Log) wakeAll() {
	l.mu.Lock()
	l.ended[0].Broadcast()
	l.ended[1].Broadcast()
	l.mu.Unlock()
}

// Sync ends the epoch at hand and returns when all that was appended is durable.
func (l *Log) Sync() error {
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	return l.Wait(context.Background(), last)
}

// Flush writes appended records to the device without flushing it: nothing becomes durable by it (E1).
func (l *Log) Flush() error {
	l.io.Lock()
	defer l.io.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	durable := l.Durable()
	batch, _ := l.takePending(false)
	err := l.makeRoom(batch)
	if err != nil {
		l.putBack(batch)
		return err
	}
	err = l.writeBatch(batch)
	if invariant.On {
		invariant.Must(invariant.FlushIsNotDurable(durable, l.Durable()))
	}
	return err
}

// takePending takes the gathered records; epoch says that they are the last of one. The caller holds io.
func (l *Log) takePending(epoch bool) ([]byte, block.Seq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch {
		l.epochsTaken++
	}
	batch := l.pending
	l.pending, l.spare = l.spare[:0], nil
	l.gather.Store(0)
	return batch, l.last
}

// writeBatch writes records and keeps their buffer for the next ones. The caller holds io.
func (l *Log) writeBatch(batch []byte) error {
	if err := l.write(batch); err != nil {
		return l.fail(err)
	}
	if cap(batch) <= 4*l.opts.Gather {
		l.spare = batch[:0]
	}
	l.used.Store(int64(len(l.segs.live)) * l.segs.length)
	l.account()
	return nil
}

// end ends one epoch: ordered data home (W3), then the records and the epoch's own, then one flush.
func (l *Log) end() error {
	l.io.Lock()
	defer l.io.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	began := time.Now()
	batch, last := l.takePending(true)
	if last == l.Durable() && len(batch) == 0 {
		l.spare = batch
		return nil
	}
	// The data of the batch's commits went home before they were appended.
	ordered, homeFlushed := l.ordered.Swap(false), false
	if ordered && !mutant.Off(mutant.W3) {
		if err := l.home.Sync(); err != nil {
			return l.fail(fmt.Errorf("flush ordered data: %w", err))
		}
		homeFlushed = true
	}
	if invariant.On {
		invariant.Must(invariant.MetadataAfterData(ordered && !homeFlushed, l.epoch+1))
	}
	commits := len(batch)
	batch = appendEpoch(batch, l.epoch+1, last, l.flushed, l.salt)
	if err := l.makeRoom(batch); err != nil {
		l.putBack(batch[:commits])
		return err
	}
	if err := l.writeBatch(batch); err != nil {
		return err
	}
	if err := l.dev.Sync(); err != nil {
		return l.fail(fmt.Errorf("flush the log: %w", err))
	}
	if invariant.On {
		invariant.Must(invariant.CrossEpochOrder(block.Epoch(l.flushes.Load())+l.first, l.epoch+1, l.Durable(), last))
	}
	l.epoch++
	l.flushed = l.tail.position(l.segs.length)
	l.durable.Store(uint64(last))
	l.flushes.Add(1)
	l.flushTime.Add(int64(time.Since(began)))
	if l.opts.OnEpoch != nil {
		l.opts.OnEpoch(l.epoch, last, time.Since(began))
	}
	return nil
}

// background writes what gathers, and ends epochs at intervals.
func (l *Log) background() {
	var tick <-chan time.Time
	if l.opts.Policy == Interval {
		t := time.NewTicker(l.opts.Every)
		defer t.Stop()
		tick = t.C
	}
	for {
		var err error
		select {
		case <-l.stop:
			return
		case <-l.kick:
			err = l.Flush()
		case <-tick:
			err = l.Sync()
		}
		if err != nil && !errors.Is(err, ErrNoRoom) {
			return
		}
	}
}

// Close makes all that was appended durable and ends the log. After Close or Abandon both do nothing.
func (l *Log) Close() error {
	err := l.Sync()
	if err == nil {
		err = l.mark()
	}
	l.halt()
	return err
}

// mark notes in the control block how far the log was flushed: damage of the last epoch is not taken for a crash then.
func (l *Log) mark() error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.Err() != nil || l.epoch == l.first || mutant.Off(mutant.ClosingMark) {
		return nil
	}
	if err := l.writeControl(); err != nil {
		return l.fail(err)
	}
	return nil
}

// Abandon ends the log as a crash would, without making anything durable.
func (l *Log) Abandon() { l.halt() }

func (l *Log) halt() {
	l.halted.Do(func() {
		l.err.CompareAndSwap(nil, &errClosed)
		close(l.stop)
		l.done.Wait()
		l.wakeAll()
	})
}

var errClosed error = ErrClosed

func recordLength(b []byte) int { return int(binary.LittleEndian.Uint32(b[4:]) & maxRecord) }

func recordSeq(b []byte) block.Seq { return block.Seq(binary.LittleEndian.Uint64(b[8:])) }

// readFull reads as many bytes as the device has, and zeros for the rest. A short device is no error.
func readFull(d io.ReaderAt, b []byte, off int64) (int, error) {
	n, err := d.ReadAt(b, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	clear(b[n:])
	return n, err
}
