package survey

import (
	"errors"

	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Journal describes a journal.
type Journal struct {
	Inode       uint32        `json:"inode,omitempty"` // 0: on a device of its own
	Version     int           `json:"version"`         // of its superblock
	BlockSize   uint32        `json:"block_size_bytes"`
	Blocks      uint32        `json:"blocks"`
	FastBlocks  uint32        `json:"fast_commit_blocks"`
	First       uint32        `json:"first_block"`
	Features    string        `json:"features"`
	UUID        string        `json:"uuid"`
	Sequence    uint32        `json:"sequence"`    // of the next, or the oldest transaction
	Start       uint32        `json:"start_block"` // of the oldest transaction; 0: nothing to recover
	Errno       int32         `json:"errno"`       // why an earlier use of it ended
	Pending     []Transaction `json:"transactions"`
	FastCommits int           `json:"fast_commit_records"`
	Problem     string        `json:"problem,omitempty"`

	Err error `json:"-"` // what Problem is the text of
}

// Transaction is a whole transaction that is not recovered.
type Transaction struct {
	Sequence uint32 `json:"sequence"`
	Blocks   int    `json:"blocks"`
	Revoked  int    `json:"revoked_blocks"`
}

// JournalOf describes the journal of a file system; nil where it has none.
func JournalOf(fs *ext4.FS) *Journal {
	j, err := fs.Journal()
	if errors.Is(err, ext4.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Journal{Inode: uint32(fs.Superblock().JournalIno), Pending: []Transaction{}, Problem: err.Error(), Err: err}
	}
	s := j.Super
	out := &Journal{Inode: uint32(j.Ino), Version: s.Version, BlockSize: uint32(s.BlockSize), Blocks: s.Blocks,
		FastBlocks: s.FastBlocks, First: s.First, Features: s.FeatureNames(), UUID: disk.FormatUUID(s.UUID),
		Sequence: uint32(s.Sequence), Start: s.Start, Errno: s.Errno, Pending: []Transaction{}}
	whole, fast, err := j.Pending()
	if err != nil {
		out.Problem, out.Err = err.Error(), err
	}
	for _, tx := range whole {
		out.Pending = append(out.Pending, Transaction{uint32(tx.Sequence), tx.Blocks, tx.Revoked})
	}
	out.FastCommits = len(fast)
	return out
}
