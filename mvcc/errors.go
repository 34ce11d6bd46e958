package mvcc

import (
	"errors"
	"fmt"

	"github.com/varvefs/varve/internal/block"
)

// Errors of transactions and stores. Errors of packages merge and wal, and of the devices, are wrapped beside them.
var (
	// ErrConflict: another transaction committed first, and no proof shows that both may stand. Nothing of the
	// transaction remains. Update runs it again.
	ErrConflict = errors.New("another transaction committed first")
	// ErrInDoubt: the commit is visible, and it is unknown whether it is durable, because the flush failed or the context
	// ended. After a crash it is there or not; to run it again may do it twice.
	ErrInDoubt = errors.New("the commit is visible, and may not be durable")
	// ErrReadOnly: a transaction with TxOptions.ReadOnly changes nothing.
	ErrReadOnly = errors.New("the transaction is read-only")
	// ErrDone: the transaction was committed or rolled back before.
	ErrDone = errors.New("the transaction has ended")
	// ErrNoBlock: the device has no such block.
	ErrNoBlock = errors.New("outside the device")
	// ErrEdited: WriteNew is for blocks that the transaction did not edit before.
	ErrEdited = errors.New("the transaction has edited the block before")
	// ErrClosed: the store was closed or abandoned.
	ErrClosed = errors.New("the store is closed")
)

// PushBackError is the error of writers where versions cannot be dropped because a snapshot still reads them.
type PushBackError struct {
	Snapshot string // name of its transaction
	Seq      block.Seq
	History  int64 // bytes
}

func (e *PushBackError) Error() string {
	return fmt.Sprintf("too many old versions (%d bytes) are kept for the snapshot of %s, taken at commit %d; end it, "+
		"or give the store more memory", e.History, e.Snapshot, e.Seq)
}
