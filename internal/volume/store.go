package volume

import (
	"context"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/mvcc"
)

// store is an mvcc store as package ext4 wants one.
type store struct {
	*mvcc.Store
	between func() // between an operation and its commit, for tests; nil otherwise
}

// tx is a transaction as package ext4 wants one.
type tx struct{ *mvcc.Tx }

// Tag follows ext4.Tx.
func (t tx) Tag(n block.Number, kind uint8, owner uint64) error {
	return t.Tx.Tag(n, mvcc.Tag{Kind: kind, Owner: owner})
}

// View follows ext4.Store.
func (s store) View(ctx context.Context, name string, fn func(ext4.Tx) error) error {
	return s.Store.ViewNamed(ctx, name, func(t *mvcc.Tx) error { return fn(tx{t}) })
}

// Update follows ext4.Store.
func (s store) Update(ctx context.Context, fn func(ext4.Tx) error) (ext4.Outcome, error) {
	out, err := s.Store.UpdateWith(ctx, mvcc.TxOptions{}, func(t *mvcc.Tx) error {
		err := fn(tx{t})
		if err == nil && s.between != nil {
			s.between()
		}
		return err
	})
	return ext4.Outcome(out), err
}

// Oldest follows ext4.Store.
func (s store) Oldest() (name string, ok bool) {
	_, name, ok = s.Store.OldestSnapshot()
	return name, ok
}

// epoch is an epoch that closes, as package ext4 wants one.
type epoch struct{ *mvcc.ClosingEpoch }

// Blocks follows ext4.Epoch.
func (e epoch) Blocks(do func(n block.Number, kind uint8, owner uint64)) {
	e.ClosingEpoch.Blocks(func(n block.Number, t mvcc.Tag) { do(n, t.Kind, t.Owner) })
}

// Last follows ext4.Epoch.
func (e epoch) Last() block.Seq { return e.ClosingEpoch.Last }
