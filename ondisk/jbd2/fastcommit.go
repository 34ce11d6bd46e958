package jbd2

import (
	"encoding/binary"
	"errors"
)

// Tags of fast-commit records (the kernel's fs/ext4/fast_commit.h; ext4 doc, Journal, "Fast commits").
const (
	FastAddRange = 1
	FastDelRange = 2
	FastCreate   = 3
	FastLink     = 4
	FastUnlink   = 5
	FastInode    = 6
	FastPad      = 7
	FastTail     = 8
	FastHead     = 9
)

const (
	fastHeader   = 4
	fastHeadSize = 8
	fastTailSize = 8
)

// FastRecord is one record of the fast-commit area: a tag, its length, and its value.
type FastRecord struct {
	Tag   uint16
	Value []byte
}

// FastScanner collects the records of fast commits block by block, and yields those of whole fast commits only: the
// first begins with a head that names the transaction they follow, and each ends with a tail whose CRC32C covers it.
type FastScanner struct {
	Want Sequence // the transaction that fast commits must belong to

	sum     uint32
	open    []FastRecord
	started bool
	whole   []FastRecord
}

var errFastEnd = errors.New("end of fast commits")

// Add reads one block of the area. It reports false when the block ends the valid fast commits.
func (f *FastScanner) Add(p []byte) bool {
	le := binary.LittleEndian
	for at := 0; at+fastHeader <= len(p); {
		tag, size := le.Uint16(p[at:]), int(le.Uint16(p[at+2:]))
		end := at + fastHeader + size
		if end > len(p) {
			return false
		}
		if err := f.record(tag, p[at:end]); err != nil {
			return false
		}
		at = end
	}
	return true
}

func (f *FastScanner) record(tag uint16, raw []byte) error {
	le := binary.LittleEndian
	value := raw[fastHeader:]
	switch tag {
	case FastHead:
		if len(value) < fastHeadSize || le.Uint32(value) != 0 || Sequence(le.Uint32(value[4:])) != f.Want {
			return errFastEnd
		}
		f.started = true
	case FastTail:
		if !f.started || len(value) < fastTailSize {
			return errFastEnd
		}
		sum := crc32c(f.sum, raw[:fastHeader+4])
		if Sequence(le.Uint32(value)) != f.Want || le.Uint32(value[4:]) != sum {
			return errFastEnd
		}
		f.whole = append(f.whole, f.open...)
		f.sum, f.open = 0, nil
		return nil
	case FastPad:
	case FastAddRange, FastDelRange, FastCreate, FastLink, FastUnlink, FastInode:
		if !f.started {
			return errFastEnd
		}
		f.open = append(f.open, FastRecord{Tag: tag, Value: value})
	default:
		return errFastEnd
	}
	f.sum = crc32c(f.sum, raw)
	return nil
}

// Records are the records of the whole fast commits so far, in order.
func (f *FastScanner) Records() []FastRecord { return f.whole }
