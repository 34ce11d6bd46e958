package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// Layout of a record, little-endian:
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
	maxRecord   = 1<<24 - 1 // bytes
)

// RecordOverhead is an upper bound of the bytes that a record, a block of it, or a range of a block takes beside its
// data.
const RecordOverhead = 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// salt begins the checksum of each record, so that recovery rejects the records of an earlier incarnation.
type salt uint32

func saltOf(incarnation uint64) salt {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], incarnation)
	return salt(crc32.Update(0, castagnoli, b[:]))
}

// Record builds the record of one commit: Begin, then Change or Fresh for each block, then Log.Append. Its memory is
// used again after the next Begin. The zero value is ready for Begin.
type Record struct{ bytes []byte }

// Begin begins a record of so many blocks.
func (r *Record) Begin(blocks int) {
	r.bytes = binary.AppendUvarint(beginRecord(r.bytes[:0], typeCommit, 0), uint64(blocks))
}

// Change adds the bytes of a block that lie in ranges: its resolved delta (W7). data is the whole block; ranges lie
// within it, and there is at least one.
func (r *Record) Change(n block.Number, ranges []merge.Range, data []byte) {
	b := binary.AppendUvarint(r.bytes, uint64(n))
	b = binary.AppendUvarint(b, uint64(len(ranges)))
	for _, rg := range ranges {
		b = binary.AppendUvarint(b, uint64(rg.Off))
		b = binary.AppendUvarint(b, uint64(rg.Len))
		b = append(b, data[rg.Off:rg.End()]...)
	}
	r.bytes = b
}

// Fresh adds a newly allocated block that got its contents at home (W3): earlier commits changed a former use of the
// block, and recovery leaves it alone. On the device it is a change without ranges.
func (r *Record) Fresh(n block.Number) {
	r.bytes = append(binary.AppendUvarint(r.bytes, uint64(n)), 0)
}

// Len is the length of the record in bytes.
func (r *Record) Len() int { return len(r.bytes) }

// end fills in the sequence, the length and the checksum.
func (r *Record) end(seq block.Seq, s salt) {
	binary.LittleEndian.PutUint64(r.bytes[8:], uint64(seq))
	endRecord(r.bytes, s)
}

func beginRecord(to []byte, t recordType, seq block.Seq) []byte {
	to = append(to, 0, 0, 0, 0, 0, 0, 0, byte(t))
	return binary.LittleEndian.AppendUint64(to, uint64(seq))
}

// endRecord fills in the length and the checksum of a record.
func endRecord(r []byte, s salt) {
	binary.LittleEndian.PutUint32(r[4:], uint32(len(r))|uint32(r[7])<<24)
	binary.LittleEndian.PutUint32(r, crc32.Update(uint32(s), castagnoli, r[4:]))
}

func appendEpoch(to []byte, e block.Epoch, last block.Seq, flushed position, s salt) []byte {
	start := len(to)
	to = append(beginRecord(to, typeEpoch, last), epochMagic...)
	to = binary.LittleEndian.AppendUint64(to, uint64(e))
	to = binary.LittleEndian.AppendUint64(to, uint64(flushed))
	endRecord(to[start:], s)
	return to
}

func appendEnd(to []byte, last block.Seq, digest [32]byte, s salt) []byte {
	start := len(to)
	to = append(beginRecord(to, typeEnd, last), digest[:]...)
	endRecord(to[start:], s)
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
func decodeRecord(b []byte, s salt) (record, error) {
	if len(b) < recordHeader {
		return record{}, errNoRecord
	}
	n := int(binary.LittleEndian.Uint32(b[4:]) & maxRecord)
	if n < recordHeader || n > len(b) || binary.LittleEndian.Uint32(b) != crc32.Update(uint32(s), castagnoli, b[4:n]) {
		return record{}, errNoRecord
	}
	seq := block.Seq(binary.LittleEndian.Uint64(b[8:]))
	r := record{kind: recordType(b[7]), seq: seq, length: n, body: b[recordHeader:n]}
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

// changes calls do for each range of a commit record, and with no data for each block that is fresh. It reports
// whether the body is well formed; do may have been called before that shows.
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
