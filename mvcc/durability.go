package mvcc

import (
	"context"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/wal"
)

// Durability says how a store's commits become durable: NativeLog or EpochJournal.
type Durability interface {
	// open joins a store with what makes its commits durable, and recovers the device where that is its task.
	open(s *Store) (wal.Recovery, error)
}

// noLog is the Durability of a store without one.
type noLog struct{}

func (noLog) open(s *Store) (rec wal.Recovery, err error) {
	s.durability = volatile{s}
	return rec, nil
}

// durability makes a store's commits durable: volatile does not, nativeLog and journalEpochs do. A store has one. Its
// methods may be called concurrently; those that a commit calls say which latches the caller holds.
type durability interface {
	// admit waits for room for one more transaction. release gives the room back; it is called once for each admit that
	// returned nil.
	admit(ctx context.Context) error
	release()

	// wroteHome notes that a transaction that has not committed yet wrote home; ordered: the data must be durable
	// before the commit (W3).
	wroteHome(ordered bool)
	// encode makes a resolved transaction's record, which may have size bytes.
	encode(tx *Tx, size int) error
	// fits reports whether there is room for a transaction that is encoded. If there will be room, the error is a
	// conflict, and awaitRoom waits for it. The caller of fits holds the sequencer's latch.
	fits(tx *Tx) error
	awaitRoom(ctx context.Context, tx *Tx) error
	// noRoom is the device's error that keeps the log from growing now, if any.
	noRoom() error
	// changed notes that a chain is about to have a new version. The caller holds the chain's latch, and the
	// sequencer's until that is published.
	changed(c *chain)
	// freed takes the blocks that a commit frees. The caller holds the sequencer's latch.
	freed(blocks []block.Number, seq block.Seq)
	// append takes a commit, in sequence. The caller holds the sequencer's latch.
	append(tx *Tx, seq block.Seq)

	// durable is the sequence up to which commits are durable.
	durable() block.Seq
	// outlasts reports whether a commit cannot be undone by a crash any more, so that what it freed may be used again
	// (W4).
	outlasts(seq block.Seq) bool
	// wait returns when a sequence is durable (W1), or with the error that prevents it, or the context's.
	wait(ctx context.Context, seq block.Seq) error
	// sync is wait, for a caller that asked for it.
	sync(ctx context.Context, seq block.Seq) error
	// writeOut writes what is buffered without making it durable (E1).
	writeOut() error

	// pressure is how full the log is: 0 to 1, and in a moment of need beyond.
	pressure() float64
	// checkpoint writes home what is published, once it is durable (W2), and gives up the part of the log that only
	// this needed.
	checkpoint() error
	// homeCached reports whether the cache has what lies home when a chain is dropped: else the store puts the newest
	// version there.
	homeCached() bool

	// err is the error that ended it by itself, if any; fail ends it.
	err() error
	fail(err error)
	// count fills in its part of the statistics.
	count(out *Stats)

	// run does the work in the background until the store's stop is closed.
	run()
	// halt makes waits return; close and abandon end it, after run has ended.
	halt()
	close() error
	abandon()
}

// volatile is the durability of a store without a log: commits are in memory until a checkpoint, and a crash may leave
// half of one.
type volatile struct{ s *Store }

func (volatile) admit(context.Context) error             { return nil }
func (volatile) release()                                {}
func (volatile) wroteHome(bool)                          {}
func (volatile) encode(*Tx, int) error                   { return nil }
func (volatile) fits(*Tx) error                          { return nil }
func (volatile) awaitRoom(context.Context, *Tx) error    { return nil }
func (volatile) noRoom() error                           { return nil }
func (volatile) changed(*chain)                          {}
func (volatile) freed([]block.Number, block.Seq)         {}
func (volatile) append(*Tx, block.Seq)                   {}
func (volatile) durable() block.Seq                      { return 0 }
func (volatile) outlasts(block.Seq) bool                 { return true }
func (volatile) wait(context.Context, block.Seq) error   { return nil }
func (v volatile) sync(context.Context, block.Seq) error { return v.s.Checkpoint() }
func (volatile) writeOut() error                         { return nil }
func (volatile) pressure() float64                       { return 0 }
func (volatile) homeCached() bool                        { return false }
func (volatile) err() error                              { return nil }
func (v volatile) fail(err error)                        { _ = v.s.fail(err) }
func (volatile) count(*Stats)                            {}
func (volatile) run()                                    {}
func (volatile) halt()                                   {}
func (volatile) close() error                            { return nil }
func (volatile) abandon()                                {}

func (v volatile) checkpoint() error {
	return v.s.checkpoints.run(func(*Tx) error { return nil }, func(block.Seq) error { return nil })
}
