package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
)

// Name indexes of extended attributes (ext4 doc, "Extended Attributes").
const (
	XattrUser            = 1
	XattrACLAccess       = 2
	XattrACLDefault      = 3
	XattrTrusted         = 4
	XattrLustre          = 5
	XattrSecurity        = 6
	XattrSystem          = 7
	XattrRichACL         = 8
	XattrEncryption      = 9
	XattrHurd            = 10
	xattrMagic           = 0xea020000
	xattrEntrySize       = 16
	xattrBlockHeader     = 32
	xattrInodeHeader     = 4
	maxXattrValue        = 1 << 16
	xattrEncryptionOnly  = "c"
	inlineDataName       = "data"
	xattrBlockCsumOffset = 16
)

var xattrPrefixes = map[uint8]string{
	XattrUser: "user.", XattrACLAccess: "system.posix_acl_access", XattrACLDefault: "system.posix_acl_default",
	XattrTrusted: "trusted.", XattrLustre: "lustre.", XattrSecurity: "security.", XattrSystem: "system.",
	XattrRichACL: "system.richacl", XattrHurd: "gnu.",
}

// Xattr is one extended attribute (ext4 doc, "Extended Attributes").
type Xattr struct {
	Index    uint8
	Name     []byte // without the prefix that Index stands for; points into the block
	Value    []byte // points into the block; nil where ValueIno is set
	Size     uint32 // bytes of the value
	ValueIno Ino    // the inode that holds the value (ea_inode), or 0
	Hash     uint32
}

// FullName is the name that getxattr(2) knows it by, and false where it has none: attributes that are internal to the
// file system (encryption contexts, inline data) or whose index is not known.
func (x *Xattr) FullName() (string, bool) {
	prefix, ok := xattrPrefixes[x.Index]
	if !ok || x.IsInlineData() {
		return "", false
	}
	return prefix + string(x.Name), true
}

// IsInlineData reports whether the attribute is the second part of inline data.
func (x *Xattr) IsInlineData() bool {
	return x.Index == XattrSystem && string(x.Name) == inlineDataName
}

// IsEncryptionContext reports whether the attribute is a file's encryption context.
func (x *Xattr) IsEncryptionContext() bool {
	return x.Index == XattrEncryption && string(x.Name) == xattrEncryptionOnly
}

// DecodeInodeXattrs decodes the attributes in an inode's XattrArea. An area without the magic has none.
func DecodeInodeXattrs(ino Ino, area []byte) ([]Xattr, error) {
	if len(area) < xattrInodeHeader || binary.LittleEndian.Uint32(area) != xattrMagic {
		return nil, nil
	}
	p := area[xattrInodeHeader:]
	return decodeXattrs(fmt.Sprintf("extended attributes in inode %d", ino), p, p, 0)
}

// HasInodeXattrs reports whether an inode's XattrArea holds attributes, without decoding them.
func HasInodeXattrs(area []byte) bool {
	return len(area) >= xattrInodeHeader+4 && binary.LittleEndian.Uint32(area) == xattrMagic &&
		binary.LittleEndian.Uint32(area[xattrInodeHeader:]) != 0
}

// DecodeXattrBlock decodes the block of attributes at number n:
//
//	0x0 magic 0xEA020000  0x4 references  0x8 blocks (1)  0xc hash  0x10 CRC32C  0x20 entries
//
// Entries grow from the front, values from the back; a value's offset counts from the block's start.
func (s *Superblock) DecodeXattrBlock(n block.Number, p []byte) ([]Xattr, error) {
	where := fmt.Sprintf("extended attributes in block %d", uint64(n))
	le := binary.LittleEndian
	if len(p) < xattrBlockHeader {
		return nil, ondisk.Corruptf(where, "only %d bytes long", len(p))
	}
	if m := le.Uint32(p); m != xattrMagic {
		return nil, ondisk.Corruptf(where, "magic is 0x%08x, expected 0x%08x", m, uint32(xattrMagic))
	}
	if b := le.Uint32(p[8:]); b != 1 {
		return nil, ondisk.Corruptf(where, "spans %d blocks, expected 1", b)
	}
	if s.verifies() {
		var nr [8]byte
		le.PutUint64(nr[:], uint64(n))
		sum := CRC32C(uint32(s.seed), nr[:])
		sum = CRC32C(sum, p[:xattrBlockCsumOffset])
		sum = CRC32C(sum, []byte{0, 0, 0, 0})
		sum = CRC32C(sum, p[xattrBlockCsumOffset+4:])
		if stored := le.Uint32(p[xattrBlockCsumOffset:]); stored != sum {
			return nil, ondisk.Checksum(where, stored, sum)
		}
	}
	return decodeXattrs(where, p[xattrBlockHeader:], p, xattrBlockHeader)
}

// decodeXattrs decodes entries up to the four zero bytes that end them. Value offsets count from the start of values;
// first is where the entries begin in it.
func decodeXattrs(where string, p, values []byte, first int) ([]Xattr, error) {
	le := binary.LittleEndian
	var out []Xattr
	at, lowest := 0, len(values)
	for {
		if at+4 > len(p) {
			return out, ondisk.Corruptf(where, "entries have no end")
		}
		if le.Uint32(p[at:]) == 0 {
			break
		}
		if at+xattrEntrySize > len(p) || at+xattrEntrySize+int(p[at]) > len(p) {
			return out, ondisk.Corruptf(where, "entry at byte %d crosses the end", first+at)
		}
		q := p[at:]
		nameLen := int(q[0])
		x := Xattr{
			Index: q[1], Name: q[xattrEntrySize : xattrEntrySize+nameLen],
			ValueIno: Ino(le.Uint32(q[4:])), Size: le.Uint32(q[8:]), Hash: le.Uint32(q[12:]),
		}
		if x.Size > maxXattrValue {
			return out, ondisk.Corruptf(where, "value at byte %d is %d bytes long", first+at, x.Size)
		}
		if x.ValueIno == 0 && x.Size > 0 {
			offset := int(le.Uint16(q[2:]))
			if offset+int(x.Size) > len(values) {
				return out, ondisk.Corruptf(
					where,
					"value of entry at byte %d is %d bytes at %d, past the end",
					first+at,
					x.Size,
					offset,
				)
			}
			x.Value = values[offset : offset+int(x.Size)]
			lowest = min(lowest, offset)
		}
		out = append(out, x)
		at += (xattrEntrySize + nameLen + 3) &^ 3
	}
	if lowest < first+at+4 {
		return nil, ondisk.Corruptf(where, "a value at byte %d overlaps the entries", lowest)
	}
	return out, nil
}
