package mvcc

import (
	"context"
	"time"

	"github.com/varvefs/varve/internal/mutant"
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

// release gives back what admit took: the transaction's blocks are in the epoch, or nowhere.
func (e *journalEpochs) release() { e.held.Add(-credits) }

// sealerBlocks is how many blocks the sealer is taken to add to an epoch.
const sealerBlocks = 16
