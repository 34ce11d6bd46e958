package mvcc

import (
	"context"
	"fmt"
	"time"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/wal"
)

// credits is how many blocks a transaction under way is taken to add to the epoch.
const credits = 24

// admit waits until the epoch has room for one more transaction (J9).
func (e *journalEpochs) admit(ctx context.Context) error {
	limit := int64(e.opts.Journal.Largest()) - sealerBlocks
	for {
		held := e.held.Add(credits)
		blocks := e.blocks.Load()
		if blocks+held <= max(limit, 2*credits) || mutant.Off(mutant.J9) {
			return nil
		}
		e.release()
		if err := e.s.Err(); err != nil {
			return err
		}
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if blocks > 0 {
			if err := e.wait(orBackground(ctx), e.s.Published()); err != nil {
				return err
			}
		}
		if held > credits {
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// errEpochFull asks for a wait until the epoch has ended.
var errEpochFull = fmt.Errorf("%w: the epoch has no room for it", ErrConflict)

// fits keeps an epoch within half of the journal, also if transactions add more than their credits: one that the
// journal cannot take would end the store. A quarter (J9) is what admit aims at; the other half is for what the sealer
// adds.
func (e *journalEpochs) fits(tx *Tx) error {
	blocks := len(tx.writes)
	largest := 2 * e.opts.Journal.Largest()
	switch {
	case mutant.Off(mutant.EpochFits):
		return nil
	case blocks > largest:
		return fmt.Errorf(
			"%w: it changes %d blocks, and the journal takes %d at a time; split it, or make a larger journal",
			wal.ErrTooLarge,
			blocks,
			largest,
		)
	case e.blocks.Load()+int64(blocks) > int64(largest):
		return errEpochFull
	}
	return nil
}

// awaitRoom waits until the epoch has ended.
func (e *journalEpochs) awaitRoom(ctx context.Context, _ *Tx) error {
	return e.wait(ctx, e.s.Published())
}

func (e *journalEpochs) noRoom() error { return nil } // the journal has its place

// release gives back what admit took: the transaction's blocks are in the epoch, or nowhere.
func (e *journalEpochs) release() { e.held.Add(-credits) }

// sealerBlocks is how many blocks the sealer is taken to add to an epoch.
const sealerBlocks = 16
