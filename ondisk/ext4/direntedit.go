package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Why an entry cannot be put into a directory block, or taken out of it.
var (
	ErrNameExists = errors.New("the name exists")
	ErrNoName     = errors.New("the name is not there")
	ErrNoRoom     = errors.New("the block has no room for the name")
)

// DirentLen is the room that a name of n bytes takes.
func DirentLen(n int) int { return (direntHeader + n + 3) &^ 3 }

// DirEnd is where the entries of a directory block of this file system end: before the checksum, where there is one.
func (s *Superblock) DirEnd() int {
	if s.HasMetadataCsum() {
		return int(s.BlockSize) - direntTailSize
	}
	return int(s.BlockSize)
}

// PutDirent writes an entry at offset of p, with a record of recLen bytes.
func (f DirentFormat) PutDirent(p []byte, offset, recLen int, ino Ino, typ uint8, name []byte) {
	le := binary.LittleEndian
	q := p[offset:]
	le.PutUint32(q, uint32(ino))
	le.PutUint16(q[4:], encodeRecLen(recLen, len(p)))
	q[6], q[7] = byte(len(name)), 0
	if f.Filetype {
		q[7] = typ
	}
	copy(q[direntHeader:], name)
}

func encodeRecLen(n, size int) uint16 {
	if size < 1<<16 || n < 1<<16 {
		return uint16(n)
	}
	return 0xffff
}

// EmptyDirBlock makes p, whose entries end at end, a block without entries.
func (f DirentFormat) EmptyDirBlock(p []byte, end int) {
	clear(p)
	f.PutDirent(p, 0, end, 0, 0, nil)
	if end < len(p) {
		putDirTail(p[end:])
	}
}

// InsertDirent puts a name into a block of entries that ends at end: ErrNameExists where it is there, ErrNoRoom where
// it does not fit. It decides and changes in one pass, so that it can be run again on newer bytes.
func (f DirentFormat) InsertDirent(p []byte, end int, ino Ino, typ uint8, name []byte) error {
	need := DirentLen(len(name))
	at, room := -1, 0
	for off := 0; off < end; {
		e, err := f.Decode(p, off)
		if err != nil {
			return err
		}
		used := 0
		if e.Ino != 0 {
			if bytes.Equal(e.Name, name) {
				return ErrNameExists
			}
			used = DirentLen(len(e.Name))
		}
		if at < 0 && e.RecLen-used >= need {
			at, room = off, used
		}
		off += e.RecLen
	}
	if at < 0 {
		return ErrNoRoom
	}
	recLen := decodeRecLen(binary.LittleEndian.Uint16(p[at+4:]), len(p))
	if room > 0 {
		binary.LittleEndian.PutUint16(p[at+4:], encodeRecLen(room, len(p)))
		at, recLen = at+room, recLen-room
	}
	f.PutDirent(p, at, recLen, ino, typ, name)
	return nil
}

// HasDirent reports whether a block of entries that ends at end has a name, and its inode and type.
func (f DirentFormat) HasDirent(p []byte, end int, name []byte) (ino Ino, typ uint8, found bool) {
	e, found := f.FindDirent(p, end, func(e *Dirent) bool { return bytes.Equal(e.Name, name) })
	return e.Ino, e.Type, found
}

// FindDirent is the first entry in a block of entries that ends at end for which is reports true. Its name points into
// the block.
func (f DirentFormat) FindDirent(p []byte, end int, is func(*Dirent) bool) (Dirent, bool) {
	for off := 0; off < end; {
		e, err := f.Decode(p, off)
		if err != nil {
			break
		}
		if e.Ino != 0 && is(&e) {
			return e, true
		}
		off += e.RecLen
	}
	return Dirent{}, false
}

// RemoveDirent takes a name that refers to ino out of a block of entries that ends at end; otherwise ErrNoName.
func (f DirentFormat) RemoveDirent(p []byte, end int, ino Ino, name []byte) error {
	before := -1
	for off := 0; off < end; {
		e, err := f.Decode(p, off)
		if err != nil {
			return err
		}
		if e.Ino != 0 && bytes.Equal(e.Name, name) {
			if e.Ino != ino {
				return ErrNoName
			}
			if before < 0 {
				binary.LittleEndian.PutUint32(p[off:], 0)
				return nil
			}
			le := binary.LittleEndian
			joined := decodeRecLen(le.Uint16(p[before+4:]), len(p)) + e.RecLen
			le.PutUint16(p[before+4:], encodeRecLen(joined, len(p)))
			clear(p[off : off+direntHeader+len(e.Name)])
			return nil
		}
		before = off
		off += e.RecLen
	}
	return ErrNoName
}

// ReplaceDirent makes a name that refers to from refer to another inode; otherwise ErrNoName.
func (f DirentFormat) ReplaceDirent(p []byte, end int, name []byte, from, to Ino, typ uint8) error {
	for off := 0; off < end; {
		e, err := f.Decode(p, off)
		if err != nil {
			return err
		}
		if e.Ino != 0 && bytes.Equal(e.Name, name) {
			if e.Ino != from {
				return ErrNoName
			}
			binary.LittleEndian.PutUint32(p[off:], uint32(to))
			if f.Filetype {
				p[off+7] = typ
			}
			return nil
		}
		off += e.RecLen
	}
	return ErrNoName
}
