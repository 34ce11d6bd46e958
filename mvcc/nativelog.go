package mvcc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/wal"
)

// nativeLog is the durability of a store with a log of byte ranges: a commit is one record.
type nativeLog struct {
	s   *Store
	log *wal.Log
}

// NativeLog has commits go into a log of byte ranges on a device of its own. Opening the store recovers its home from
// it.
type NativeLog struct {
	Device  blockcache.Writable
	Options wal.Options
}

func (n NativeLog) open(s *Store) (wal.Recovery, error) {
	if s.events.observed() {
		then := n.Options.OnEpoch
		n.Options.OnEpoch = func(e block.Epoch, last block.Seq, took time.Duration) {
			s.flushed(e, last, took)
			if then != nil {
				then(e, last, took)
			}
		}
	}
	log, rec, err := wal.Open(n.Device, s.home, s.size, n.Options)
	if err != nil {
		return rec, err
	}
	s.events.emit(
		Event{
			Kind:   EventRecovery,
			Count:  int64(rec.Commits),
			Seq:    rec.Last,
			Reason: fmt.Sprintf("%d epochs, %d commits dropped", rec.Epochs, rec.Dropped),
		},
	)
	s.durability, s.always = &nativeLog{s, log}, n.Options.Policy == wal.Always
	return rec, nil
}

func (l *nativeLog) admit(context.Context) error     { return nil }
func (l *nativeLog) release()                        {}
func (l *nativeLog) changed(*chain)                  {}
func (l *nativeLog) freed([]block.Number, block.Seq) {}

// errLogFull asks for a wait until the log has room.
var errLogFull = fmt.Errorf("%w: the log has no room for it", ErrConflict)

// fits admits a commit only where the log has a place for its record: without, a full device would keep a checkpoint
// from becoming durable, which alone makes room in the log.
func (l *nativeLog) fits(tx *Tx) error {
	if l.log.Fits(tx.record.Len()) {
		return nil
	}
	return errLogFull
}

// awaitRoom has the log written, which extends it, and waits for a checkpoint where the device has no room.
func (l *nativeLog) awaitRoom(ctx context.Context, tx *Tx) error {
	if err := l.log.Flush(); err != nil && !errors.Is(err, wal.ErrNoRoom) {
		return err
	}
	fits := func() bool { return l.fits(tx) == nil }
	if fits() {
		return nil
	}
	return l.s.pressure.holdBack(ctx, false, fits)
}

func (l *nativeLog) noRoom() error { return l.log.NoRoom() }

// pressure has a checkpoint begin early where the log cannot grow.
func (l *nativeLog) pressure() float64 {
	if l.log.NoRoom() != nil {
		return max(l.log.Pressure(), stepMarks[flushing].take)
	}
	return l.log.Pressure()
}

// wroteHome has the epoch flush what was written, overwrites too: with its commit, that is durable.
func (l *nativeLog) wroteHome(bool) {
	if !mutant.Off(mutant.HomeFlush) {
		l.log.Ordered()
	}
}

// encode makes the record: ranges as resolved (W7). Its sequence is filled in by append.
func (l *nativeLog) encode(tx *Tx, size int) error {
	fresh := tx.freshBlocks()
	size += len(fresh) * wal.RecordOverhead
	if largest := l.log.Largest(); size > largest {
		return fmt.Errorf(
			"%w: its record may have %d bytes, and %d fit a segment; split it, or open the store with larger segments",
			wal.ErrTooLarge,
			size,
			largest,
		)
	}
	n := len(fresh)
	for _, t := range tx.writes {
		if len(t.next.changed) > 0 {
			n++
		}
	}
	tx.record.Begin(n)
	for _, b := range fresh {
		tx.record.Fresh(b)
	}
	for _, t := range tx.writes {
		if len(t.next.changed) == 0 {
			continue
		}
		data := t.next.data
		if mutant.Off(mutant.W7) {
			data, _ = tx.current(t)
		}
		tx.record.Change(t.number, t.next.changed, data)
	}
	return nil
}

// freshBlocks are the blocks that get their contents at home from this commit on: recovery leaves what the log has of
// their former lives alone.
func (tx *Tx) freshBlocks() (out []block.Number) {
	for _, f := range tx.fresh {
		out = append(out, f.number)
	}
	for _, h := range tx.homes {
		for i := range h.blocks(tx.s.size) {
			if h.ordered && !mutant.Off(mutant.FreshHome) {
				out = append(out, h.number+block.Number(i))
			}
		}
	}
	return out
}

func (l *nativeLog) append(tx *Tx, seq block.Seq) {
	l.log.Append(&tx.record, seq)
}

func (l *nativeLog) durable() block.Seq                            { return l.log.Durable() }
func (l *nativeLog) outlasts(seq block.Seq) bool                   { return seq <= l.log.Durable() }
func (l *nativeLog) wait(ctx context.Context, seq block.Seq) error { return l.log.Wait(ctx, seq) }
func (l *nativeLog) sync(ctx context.Context, seq block.Seq) error { return l.log.Wait(ctx, seq) }
func (l *nativeLog) writeOut() error                               { return l.log.Flush() }
func (l *nativeLog) homeCached() bool                              { return false }

func (l *nativeLog) checkpoint() error {
	return l.s.checkpoints.run(func(tx *Tx) error {
		if mutant.Off(mutant.W2) {
			return nil
		}
		return l.log.Wait(tx.ctx, tx.snap) // what goes home is durable in the log first
	}, l.log.Truncate)
}

func (l *nativeLog) err() error {
	if err := l.log.Err(); err != nil {
		return fmt.Errorf(
			"the store takes no more commits, because its log has failed: %w; close it, mend the device, and open it again",
			err,
		)
	}
	return nil
}

func (l *nativeLog) fail(err error) { _ = l.s.fail(err) }

func (l *nativeLog) count(out *Stats) {
	out.FlushSeconds = l.log.FlushTime().Seconds()
	out.Durable, out.WALBytes, out.Flushes, out.Pressure = uint64(
		l.log.Durable(),
	), l.log.Bytes(), l.log.Flushes(), l.log.Pressure()
}

func (l *nativeLog) run()         {}
func (l *nativeLog) halt()        {}
func (l *nativeLog) close() error { return l.log.Close() }
func (l *nativeLog) abandon()     { l.log.Abandon() }
