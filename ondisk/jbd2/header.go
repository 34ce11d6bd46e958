package jbd2

import "encoding/binary"

// Magic begins every block of the journal that is no logged block.
const Magic = 0xc03b3998

// Block types of a Header.
const (
	TypeDescriptor   = 1
	TypeCommit       = 2
	TypeSuperblockV1 = 3
	TypeSuperblockV2 = 4
	TypeRevoke       = 5
)

const headerSize = 12

// Header begins each journal block (ext4 doc, Journal, "Block Header").
type Header struct {
	Type     uint32
	Sequence Sequence
}

// DecodeHeader decodes a header. It reports false where the magic is missing: the end of the log, or a logged block.
func DecodeHeader(p []byte) (Header, bool) {
	be := binary.BigEndian
	if len(p) < headerSize || be.Uint32(p) != Magic {
		return Header{}, false
	}
	return Header{Type: be.Uint32(p[4:]), Sequence: Sequence(be.Uint32(p[8:]))}, true
}

// Unescape puts the magic back into a logged block that began with it and was escaped. p is changed.
func Unescape(p []byte) { binary.BigEndian.PutUint32(p, Magic) }
