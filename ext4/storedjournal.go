package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// Journal is a file system's journal as it is stored. Its blocks are numbered from its own start.
type Journal struct {
	Super *jbd2.Superblock
	Start uint32 // the block that has the superblock
	Ino   Ino    // 0: on a device of its own

	log *log
}

// Transaction is a whole transaction of the log that is not yet recovered.
type Transaction struct {
	Sequence jbd2.Sequence
	Blocks   int // copies of blocks
	Revoked  int // blocks whose older copies do not count
}

// Journal opens the journal, or the log beside the image. One that is on another device needs Options.Journal.
func (fs *FS) Journal() (*Journal, error) {
	if fs.super.Compat&disk.CompatHasJournal == 0 && !fs.super.NeedsLog {
		return nil, fmt.Errorf("journal: %w: the file system has none", ErrNotExist)
	}
	l, err := fs.openLog()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &Journal{Super: l.super, Start: l.start, Ino: fs.super.JournalIno, log: l}, nil
}

// Block reads block b of the journal, and tells where on its device it lies.
func (j *Journal) Block(b uint32) (p []byte, at block.Number, err error) {
	if at, err = j.log.place(b); err != nil {
		return nil, 0, err
	}
	p, err = j.log.block(b)
	return p, at, err
}

// Next is the block of the log behind b: behind the last comes the first.
func (j *Journal) Next(b uint32) uint32 {
	if b+1 >= j.Super.End() {
		return j.Super.First
	}
	return b + 1
}

// Pending lists the transactions that recovery would bring home, and the records of fast commits behind them.
func (j *Journal) Pending() ([]Transaction, []jbd2.FastRecord, error) {
	if j.Super.Start == 0 {
		return nil, nil, nil
	}
	l := *j.log
	l.seen = nil
	whole, err := l.transactions()
	if err != nil {
		return nil, nil, err
	}
	var out []Transaction
	for _, tx := range whole {
		out = append(out, Transaction{tx.sequence, len(tx.copies), len(tx.revokes)})
	}
	if j.Super.FastBlocks == 0 {
		return out, nil, nil
	}
	fast, err := l.fastRecords()
	return out, fast, err
}
