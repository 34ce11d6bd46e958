package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// A record, little-endian:
//
//	0   u32  CRC32C of the incarnation (u64) and of all that follows in the record
//	4   u24  length of the record in bytes, these included
//	7   u8   type
//	8   u64  commit sequence
//	16  …    body
const recordHeader = 16

type recordType uint8

const (
	typeCommit recordType = 1 // body: changes
	typeEpoch  recordType = 2 // body: magic, epoch u64, flushed u64; the sequence is the epoch's last
	typeEnd    recordType = 3 // body: BLAKE3-256 of the segment up to this record
)

const (
	epochMagic  = "vEpoch\r\n"
	epochLength = recordHeader + 8 + 8 + 8
	endLength   = recordHeader + 32
	// MaxRecord is the greatest length of a record in bytes.
	MaxRecord = 1<<24 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Salt begins the checksum of each record, so that those which an earlier incarnation left behind are not taken for new ones.
type Salt uint32

func saltOf(incarnation uint64) Salt {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], incarnation)
	return Salt(crc32.Update(0, castagnoli, b[:]))
}

// BeginCommit appends the beginning of a commit record with a number of changed blocks. AppendChange adds each of them, EndRecord
// completes it.
func BeginCommit(to []byte, seq block.Seq, blocks int) []byte {
	to = beginRecord(to, typeCommit, seq)
	return binary.AppendUvarint(to, uint64(blocks))
}

// SetSeq gives the record at the beginning of b another sequence. EndRecord comes after.
func SetSeq(b []byte, seq block.Seq) { binary.LittleEndian.PutUint64(b[8:], uint64(seq)) }

// AppendChange appends the bytes of data that lie in ranges: the resolved delta of one block (W7).
func AppendChange(to []byte, n block.Number, ranges []merge.Range, data []byte) []byte {
	to = binary.AppendUvarint(to, uint64(n))
	to = binary.AppendUvarint(to, uint64(len(ranges)))
	for _, r := range ranges {
		to = binary.AppendUvarint(to, uint64(r.Off))
		to = binary.AppendUvarint(to, uint64(r.Len))
		to = append(to, data[r.Off:r.End()]...)
	}
	return to
}

// AppendFresh appends, instead of a change, that a newly allocated block got its contents at home (W3): what earlier commits did
// to it is of its former life, and recovery leaves it alone. A change without ranges says so.
func AppendFresh(to []byte, n block.Number) []byte {
	return append(binary.AppendUvarint(to, uint64(n)), 0)
}

func beginRecord(to []byte, t recordType, seq block.Seq) []byte {
	to = append(to, 0, 0, 0, 0, 0, 0, 0, byte(t))
	return binary.LittleEndian.AppendUint64(to, uint64(seq))
}

// EndRecord fills in the length and the checksum of the record that begins at start.
func EndRecord(b []byte, start int, salt Salt) {
	r := b[start:]
	binary.LittleEndian.PutUint32(r[4:], uint32(len(r))|uint32(r[7])<<24)
	binary.LittleEndian.PutUint32(r, crc32.Update(uint32(salt), castagnoli, r[4:]))
}

func appendEpoch(to []byte, e block.Epoch, last block.Seq, flushed position, salt Salt) []byte {
	start := len(to)
	to = append(beginRecord(to, typeEpoch, last), epochMagic...)
	to = binary.LittleEndian.AppendUint64(to, uint64(e))
	to = binary.LittleEndian.AppendUint64(to, uint64(flushed))
	EndRecord(to, start, salt)
	return to
}

func appendEnd(to []byte, last block.Seq, sum [32]byte, salt Salt) []byte {
	start := len(to)
	to = append(beginRecord(to, typeEnd, last), sum[:]...)
	EndRecord(to, start, salt)
	return to
}

// record is a decoded record. body lies in the bytes that it was decoded from.
type record struct {
	kind   recordType
	seq    block.Seq
	length int
	body   []byte
}

var errNoRecord = errors.New("no whole record")

// decodeRecord decodes the record at the beginning of b.
func decodeRecord(b []byte, salt Salt) (record, error) {
	if len(b) < recordHeader {
		return record{}, errNoRecord
	}
	n := int(binary.LittleEndian.Uint32(b[4:]) & MaxRecord)
	if n < recordHeader || n > len(b) || binary.LittleEndian.Uint32(b) != crc32.Update(uint32(salt), castagnoli, b[4:n]) {
		return record{}, errNoRecord
	}
	r := record{kind: recordType(b[7]), seq: block.Seq(binary.LittleEndian.Uint64(b[8:])), length: n, body: b[recordHeader:n]}
	switch {
	case r.kind == typeCommit, r.kind == typeEnd && n == endLength:
		return r, nil
	case r.kind == typeEpoch && n == epochLength && string(r.body[:8]) == epochMagic:
		return r, nil
	}
	return record{}, errNoRecord
}

func (r record) epoch() (block.Epoch, position) {
	return block.Epoch(binary.LittleEndian.Uint64(r.body[8:])), position(binary.LittleEndian.Uint64(r.body[16:]))
}

// changes calls do for each range of a commit record, and with no data for each block that is fresh. It reports whether the body is well formed; do may have been called before
// that shows.
func (r record) changes(size block.Size, do func(n block.Number, off uint32, data []byte)) bool {
	b, ok := r.body, true
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	for blocks := number(); ok && blocks > 0; blocks-- {
		n := block.Number(number())
		ranges := number()
		if ok && ranges == 0 {
			do(n, 0, nil)
		}
		for ; ok && ranges > 0; ranges-- {
			off, length := number(), number()
			if !ok || off > uint64(size) || length > uint64(size)-off || length > uint64(len(b)) {
				return false
			}
			do(n, uint32(off), b[:length])
			b = b[length:]
		}
	}
	return ok && len(b) == 0
}
