package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/varvefs/varve/internal/block"
)

// Version is the format that this package writes and reads.
const Version = 1

// Identity distinguishes images.
type Identity [16]byte

// position counts the bytes of the log: segment number times segment size, plus the offset in the segment.
type position uint64

const (
	controlSize = 4096 // each of two slots; the block itself fits a sector
	controlArea = 2 * controlSize
	headerSize  = 512
	// maxCount bounds every number of the log, positions too, so that no sum of them overflows.
	maxCount = 1 << 61
)

// control is the log's anchor, little-endian, in two slots that are written in turn:
//
//	0   8    magic
//	8   u32  format version
//	12  u32  block size
//	16  16   identity of the image
//	32  u64  incarnation: one more at each opening
//	40  u64  segment size
//	48  u64  number of the first segment that recovery reads
//	56  u64  first sequence in it
//	64  u64  generation: the slot with the greater one counts
//	72  u64  size of the image in bytes
//	80  u64  epoch that ended last
//	88  u64  position up to which the log was flushed when this was written; 0: not known
//	508 u32  CRC32C of the 508 bytes before
type control struct {
	size        block.Size
	identity    Identity
	incarnation uint64
	segment     uint64
	start       uint64
	startSeq    block.Seq
	generation  uint64
	image       uint64
	epoch       block.Epoch
	flushed     position
}

const controlMagic = "varveWAL"

func (c control) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, controlMagic)
	le.PutUint32(b[8:], Version)
	le.PutUint32(b[12:], uint32(c.size))
	copy(b[16:], c.identity[:])
	for i, v := range []uint64{c.incarnation, c.segment, c.start, uint64(c.startSeq), c.generation, c.image,
		uint64(c.epoch), uint64(c.flushed)} {
		le.PutUint64(b[32+8*i:], v)
	}
	le.PutUint32(b[508:], crc32.Checksum(b[:508], castagnoli))
	return b
}

var errNoControl = errors.New("no control block")

func decodeControl(b []byte) (control, error) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != controlMagic {
		return control{}, errNoControl
	}
	if v := le.Uint32(b[8:]); v > Version {
		return control{}, fmt.Errorf("%w: version %d, this program knows %d; use a newer varve", ErrNewer, v, Version)
	}
	if le.Uint32(b[508:]) != crc32.Checksum(b[:508], castagnoli) {
		return control{}, errNoControl
	}
	c := control{size: block.Size(le.Uint32(b[12:])), identity: Identity(b[16:32])}
	seq, epoch, flushed := uint64(0), uint64(0), uint64(0)
	for i, v := range []*uint64{&c.incarnation, &c.segment, &c.start, &seq, &c.generation, &c.image, &epoch, &flushed} {
		*v = le.Uint64(b[32+8*i:])
	}
	c.startSeq, c.epoch, c.flushed = block.Seq(seq), block.Epoch(epoch), position(flushed)
	if seq == 0 || c.start == 0 || c.incarnation == 0 || c.generation == 0 ||
		max(seq, c.start, c.incarnation, c.generation, c.image, epoch, flushed) > maxCount {
		return control{}, fmt.Errorf("%w: control block with numbers that no log has: %+v", ErrCorrupt, c)
	}
	if !c.size.Valid() || c.segment < minSegment || c.segment > maxSegment || c.segment%segmentUnit != 0 {
		return control{}, fmt.Errorf("%w: control block with block size %d, segment size %d", ErrCorrupt, c.size, c.segment)
	}
	if c.start > maxCount/c.segment {
		return control{}, fmt.Errorf("%w: control block with first segment %d", ErrCorrupt, c.start)
	}
	return c, nil
}

// header begins a segment, little-endian:
//
//	0   8    magic
//	8   u64  incarnation
//	16  u64  segment number
//	24  u64  first sequence
//	32  u64  position up to which the log was flushed when this was written
//	40  32   digest of the segment before, zero for the first
//	508 u32  CRC32C of the 508 bytes before
type header struct {
	incarnation uint64
	number      uint64
	first       block.Seq
	flushed     position
	before      [32]byte
}

const headerMagic = "varveSEG"

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, headerMagic)
	for i, v := range []uint64{h.incarnation, h.number, uint64(h.first), uint64(h.flushed)} {
		binary.LittleEndian.PutUint64(b[8+8*i:], v)
	}
	copy(b[40:], h.before[:])
	binary.LittleEndian.PutUint32(b[508:], crc32.Checksum(b[:508], castagnoli))
	return b
}

func decodeHeader(b []byte) (header, bool) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != headerMagic || le.Uint32(b[508:]) != crc32.Checksum(b[:508], castagnoli) {
		return header{}, false
	}
	return header{
		le.Uint64(b[8:]),
		le.Uint64(b[16:]),
		block.Seq(le.Uint64(b[24:])),
		position(le.Uint64(b[32:])),
		[32]byte(b[40:72]),
	}, true
}

// plausible reports whether a log with segments of so many bytes can have such a header.
func (h header) plausible(segment uint64) bool {
	return h.number > 0 && h.number <= maxCount/segment &&
		max(h.incarnation, uint64(h.first), uint64(h.flushed)) <= maxCount
}
