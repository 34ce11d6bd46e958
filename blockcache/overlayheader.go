package blockcache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// OverlayState says how far an overlay's commit has come.
type OverlayState uint32

// The states of an overlay.
const (
	OverlayOpen       OverlayState = iota
	OverlayCommitting              // its blocks are being copied to the base: only that may go on
	OverlayCommitted               // they are all there
)

// overlayHeader is the first sector of an overlay's file. Its layout is drawn at Overlay.
type overlayHeader struct {
	state    OverlayState
	baseSize int64 // bytes
	size     int64 // of the device, in bytes
	identity [64]byte
}

const (
	overlayMagic   = "varveOVL"
	overlayVersion = 2
	overlayHead    = 512     // bytes
	maxExtra       = 1 << 30 // bytes behind the base
)

var overlayTable = crc32.MakeTable(crc32.Castagnoli)

func (h overlayHeader) encode() []byte {
	b := make([]byte, overlayHead)
	le := binary.LittleEndian
	copy(b, overlayMagic)
	le.PutUint32(b[8:], overlayVersion)
	le.PutUint32(b[12:], uint32(h.state))
	le.PutUint64(b[16:], uint64(h.baseSize))
	le.PutUint64(b[24:], uint64(h.size))
	copy(b[32:], h.identity[:])
	le.PutUint32(b[508:], crc32.Checksum(b[:508], overlayTable))
	return b
}

// decodeOverlay decodes a header: ErrNoOverlay where it is none, or is damaged.
func decodeOverlay(b []byte) (h overlayHeader, err error) {
	le := binary.LittleEndian
	if len(b) < overlayHead || string(b[:8]) != overlayMagic ||
		le.Uint32(b[508:]) != crc32.Checksum(b[:508], overlayTable) {
		return h, ErrNoOverlay
	}
	switch v := le.Uint32(b[8:]); {
	case v > overlayVersion:
		return h, fmt.Errorf("has format %d of overlays, this program knows %d: use a newer varve", v, overlayVersion)
	case v < overlayVersion:
		return h, fmt.Errorf("has format %d of overlays, this program knows %d: commit it with the varve that made it",
			v, overlayVersion)
	}
	h = overlayHeader{
		state:    OverlayState(le.Uint32(b[12:])),
		baseSize: int64(le.Uint64(b[16:])),
		size:     int64(le.Uint64(b[24:])),
		identity: [64]byte(b[32:96]),
	}
	if h.baseSize < 0 || h.size < h.baseSize || h.size-h.baseSize > overlayBlock+maxExtra || h.size%overlayBlock != 0 {
		return h, fmt.Errorf("%w: sizes %d and %d", ErrNoOverlay, h.baseSize, h.size)
	}
	return h, nil
}

// readOverlayHeader reads the header of an overlay's file. A file that ends within it has none: ErrNoOverlay.
func readOverlayHeader(r io.ReaderAt) (overlayHeader, error) {
	b := make([]byte, overlayHead)
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return overlayHeader{}, fmt.Errorf("read the overlay's header: %w", err)
	}
	return decodeOverlay(b)
}

// ReadOverlayState reads the state of an overlay from its file: ErrNoOverlay where that is none.
func ReadOverlayState(r io.ReaderAt) (OverlayState, error) {
	h, err := readOverlayHeader(r)
	return h.state, err
}
