package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/ondisk"
)

// Types in Dirent.Type (ext4 doc, "Directory Entries").
const (
	FileTypeUnknown = 0
	FileTypeRegular = 1
	FileTypeDir     = 2
	FileTypeChar    = 3
	FileTypeBlock   = 4
	FileTypeFIFO    = 5
	FileTypeSocket  = 6
	FileTypeSymlink = 7
	fileTypeTail    = 0xde
)

const (
	direntHeader   = 8
	direntTailSize = 12
	direntHashSize = 8 // the hash behind the name in directories both encrypted and case-folded
)

// Dirent is one entry of a directory block: inode, record length, name length, type, name.
type Dirent struct {
	Ino    Ino
	RecLen int
	Type   uint8
	Name   []byte // points into the block
	// Hash and MinorHash follow the name where the directory is both encrypted and case-folded.
	Hash, MinorHash uint32
}

// DirentFormat says how a directory's entries are to be read.
type DirentFormat struct {
	Filetype bool // the entry has a type; otherwise the name length has 16 bits
	Hashed   bool // a hash follows each name
	Inodes   uint32
}

// DirentFormat is the format of the entries of a directory with the given inode flags.
func (s *Superblock) DirentFormat(flags uint32) DirentFormat {
	return DirentFormat{
		Filetype: s.Incompat&IncompatFiletype != 0,
		Hashed:   flags&InodeEncrypt != 0 && flags&InodeCasefold != 0,
		Inodes:   s.Inodes,
	}
}

// decodeRecLen decodes a record length, in which a block of 64 KiB does not fit as it is.
func decodeRecLen(v uint16, size int) int {
	if size < 1<<16 {
		return int(v)
	}
	if v == 0xffff || v == 0 {
		return size
	}
	return int(v&^3) | int(v&3)<<16
}

// Decode decodes the entry at offset of a directory block p (or of a part of one, for inline directories) and checks
// that it stays inside p. The next entry is RecLen further.
func (f DirentFormat) Decode(p []byte, offset int) (Dirent, error) {
	bad := func(format string, args ...any) (Dirent, error) {
		return Dirent{}, ondisk.Corruptf(
			"directory block",
			"entry at byte %d: "+format,
			append([]any{offset}, args...)...)
	}
	if offset < 0 || offset+direntHeader > len(p) {
		return bad("does not fit into %d bytes", len(p))
	}
	le := binary.LittleEndian
	q := p[offset:]
	e := Dirent{Ino: Ino(le.Uint32(q)), RecLen: decodeRecLen(le.Uint16(q[4:]), len(p))}
	nameLen := int(q[6])
	switch {
	case f.Filetype:
		e.Type = q[7]
	case e.Ino == 0 && e.RecLen == direntTailSize && q[6] == 0 && q[7] == fileTypeTail:
		e.Type = fileTypeTail // the checksum is marked by a type also where entries have none
	default:
		nameLen |= int(q[7]) << 8
	}
	need := direntHeader + nameLen
	if f.Hashed && e.Ino != 0 && e.Type != fileTypeTail && !isDots(q, nameLen) {
		need += direntHashSize
	}
	switch {
	case e.RecLen < direntTailSize || e.RecLen%4 != 0:
		return bad("record length is %d", e.RecLen)
	case offset+e.RecLen > len(p):
		return bad("record of %d bytes crosses the end at %d", e.RecLen, len(p))
	case need > e.RecLen:
		return bad("name of %d bytes in a record of %d", nameLen, e.RecLen)
	case uint32(e.Ino) > f.Inodes:
		return bad("inode %d of %d", e.Ino, f.Inodes)
	case nameLen > 255:
		return bad("name of %d bytes", nameLen)
	}
	e.Name = q[direntHeader : direntHeader+nameLen]
	if need > direntHeader+nameLen {
		at := (direntHeader + nameLen + 3) &^ 3
		if at+direntHashSize > e.RecLen {
			return bad("no room for its hash in a record of %d", e.RecLen)
		}
		e.Hash, e.MinorHash = le.Uint32(q[at:]), le.Uint32(q[at+4:])
	}
	return e, nil
}

func isDots(q []byte, nameLen int) bool {
	return nameLen == 1 && q[direntHeader] == '.' ||
		nameLen == 2 && len(q) >= direntHeader+2 && q[direntHeader] == '.' && q[direntHeader+1] == '.'
}

// IsTail reports whether the entry is the checksum at the end of a block and no name.
func (e *Dirent) IsTail() bool {
	return e.Ino == 0 && e.Type == fileTypeTail && e.RecLen == direntTailSize
}

// CheckDirBlock checks the checksum at the end of a linear directory block (ext4 doc, "Linear Directories", tail).
// Blocks of a hash tree's index carry theirs elsewhere: see DecodeHtreeRoot.
func (s *Superblock) CheckDirBlock(seed Seed, p []byte) error {
	if !s.HasMetadataCsum() {
		return nil
	}
	t := p[len(p)-direntTailSize:]
	le := binary.LittleEndian
	if le.Uint32(t) != 0 || le.Uint16(t[4:]) != direntTailSize || t[6] != 0 || t[7] != fileTypeTail {
		return ondisk.Corruptf("directory block", "has no room for its checksum")
	}
	if s.unsealed {
		return nil
	}
	stored := le.Uint32(t[8:])
	if sum := CRC32C(uint32(seed), p[:len(p)-direntTailSize]); sum != stored {
		return ondisk.Checksum("directory block", stored, sum)
	}
	return nil
}
