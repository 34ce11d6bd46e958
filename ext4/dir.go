package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Dirent is one name in a directory. Name is valid during the call that hands it out.
type Dirent struct {
	Ino  Ino
	Type uint8 // disk.FileTypeUnknown where the file system does not keep types
	Name []byte
	// Next is the position to read on from behind this entry.
	Next int64
}

// ReadDir calls visit for each entry from position on ("." and ".." among them) until it returns false. Position 0 is
// the start; other positions are the Next of an entry. The order is that of the blocks, which is not sorted. If the
// directory may change between two calls it is the order of the names' hashes, as in the kernel: a name that stays is
// visited once, wherever splits move it.
//
// Damaged blocks and names that no path can hold are passed over, all other entries are visited, and then the first
// damage is returned. A position remembers that there was damage before it, so a caller that reads a directory in
// parts gets the error with the last one.
func (n *Inode) ReadDir(position int64, visit func(Dirent) bool) error {
	if !n.IsDir() {
		return fmt.Errorf("inode %d: %w", n.Ino, ErrNotDir)
	}
	if n.fs.fast != nil {
		if d := n.fs.fast.dirs[n.Ino]; d != nil {
			return d.readDir(n, position, visit)
		}
	}
	return n.readDirIn(position, position&hashedPosition != 0 || position == 0 && n.movesNames(), visit)
}

// damagedPosition is set in positions behind damage.
const damagedPosition = 1 << 61

// maxDamaged is how many damaged blocks of a directory are passed over before reading it is given up.
const maxDamaged = 64

// dirReader is one call of ReadDir.
type dirReader struct {
	dir    *Inode
	format disk.DirentFormat
	naming naming
	visit  func(Dirent) bool

	stopped bool // visit returned false
	damage  error
	damaged int
}

// readDirHome is ReadDir by the directory's own blocks, in their order.
func (n *Inode) readDirHome(position int64, visit func(Dirent) bool) error {
	return n.readDirIn(position, false, visit)
}

func (n *Inode) readDirIn(position int64, byHash bool, visit func(Dirent) bool) error {
	r := &dirReader{dir: n, format: n.fs.super.DirentFormat(n.Flags), visit: visit}
	if position&damagedPosition != 0 {
		position &^= damagedPosition
		r.damage = ondisk.Corruptf(n.where(), "some of the directory's names are missing, because they are damaged")
	}
	var err error
	if r.naming, err = n.noKeyNaming(); err != nil {
		return err
	}
	if byHash {
		err = r.hashed(position)
	} else {
		err = r.stored(position)
	}
	if r.stopped {
		return nil
	}
	if r.damage != nil {
		return r.damage
	}
	return err
}

// failed notes damage, and reports whether reading may go on.
func (r *dirReader) failed(err error) bool {
	if r.damage == nil {
		r.damage = err
	}
	r.damaged++
	return r.damaged <= maxDamaged && errors.Is(err, ondisk.ErrCorrupt)
}

// stored reads the entries from position on as they are stored.
func (r *dirReader) stored(position int64) error {
	if r.dir.Has(disk.InodeInlineData) {
		return r.inline(position)
	}
	return r.blocks(position)
}

// blocks reads the directory's blocks from position on.
func (r *dirReader) blocks(position int64) error {
	n := r.dir
	bs := int64(n.fs.super.BlockSize)
	for position < int64(n.Size) && !r.stopped {
		b := position / bs
		if b >= maxFileBlocks {
			return ondisk.Corruptf(n.where(), "directory of %d bytes", n.Size)
		}
		run, err := n.Map(FileBlock(b))
		if err != nil {
			return err
		}
		if run.Kind != Data {
			position = (b + int64(run.Len)) * bs // holes hold no names
			continue
		}
		p, leaf, err := n.dirBlock(FileBlock(b), run)
		if err != nil {
			if !r.failed(err) {
				return err
			}
		} else if leaf {
			r.entries(p, b*bs, position-b*bs)
		}
		position = (b + 1) * bs
	}
	return nil
}

// dirBlock reads and checks block b of a directory. leaf is false for blocks of a hash tree's index that hold no
// names; the tree's root holds "." and "..".
func (n *Inode) dirBlock(b FileBlock, run Run) (p []byte, leaf bool, err error) {
	p, err = n.fs.block(run.Start)
	if err != nil {
		return nil, false, fmt.Errorf("directory %d, block %d: %w", n.Ino, b, err)
	}
	leaf = true
	switch {
	case n.hasIndex() && b == 0:
		_, err = n.fs.decoder(run.Start).DecodeHtreeRoot(n.seed(), p)
	case n.hasIndex() && binary.LittleEndian.Uint32(p) == 0 && n.spansBlock(p):
		leaf = false
	default:
		err = n.fs.decoder(run.Start).CheckDirBlock(n.seed(), p)
	}
	if err != nil {
		return nil, false, fmt.Errorf("directory %d, block %d (%v): %w", n.Ino, b, run.Start, err)
	}
	return p, leaf, nil
}

// spansBlock reports whether a block's first record is as long as the block, as it is in inner nodes of a hash tree.
func (n *Inode) spansBlock(p []byte) bool {
	v := binary.LittleEndian.Uint16(p[4:])
	return int(v) == len(p) || len(p) == 1<<16 && (v == 0 || v == 0xffff)
}

// hasIndex reports whether the directory has a hash tree that may be used.
func (n *Inode) hasIndex() bool {
	return n.Has(disk.InodeIndex) && n.fs.super.Compat&disk.CompatDirIndex != 0
}

// entries visits the entries of a block, or of a part of an inline directory, from the given offset on. Records are
// walked from the start, so that a position that is none of an entry's cannot be mistaken for one. base is the
// position of p.
func (r *dirReader) entries(p []byte, base, from int64) {
	for at := 0; at < len(p); {
		e, err := r.format.Decode(p, at)
		if err != nil {
			r.failed(fmt.Errorf("directory %d, position %d: %w", r.dir.Ino, base, err))
			return
		}
		next := at + e.RecLen
		if e.Ino != 0 && int64(at) >= from && !r.entry(&e, base+int64(next)) {
			r.stopped = true
			return
		}
		at = next
	}
}

// entry visits one entry, and reports whether visit wants more.
func (r *dirReader) entry(e *disk.Dirent, next int64) bool {
	if name := r.naming.name(e); goodName(name) {
		if r.damage != nil {
			next |= damagedPosition
		}
		return r.visit(Dirent{Ino: e.Ino, Type: e.Type, Name: name, Next: next})
	}
	r.failed(ondisk.Corruptf(r.dir.where(), "%q is no name", e.Name))
	return true
}

// goodName reports whether a path can hold a name. One that it cannot must never reach a caller that makes a path of
// it.
func goodName(name []byte) bool {
	return len(name) > 0 && bytes.IndexByte(name, '/') < 0 && bytes.IndexByte(name, 0) < 0
}

// Positions in an inline directory: "." and ".." are not stored (but for the parent's number), then come the entries
// of both parts.
const (
	inlineDotDot  = 1
	inlineEntries = 4
)

// inline reads a directory whose entries lie in its inode (ext4 doc, "Inline Data").
func (r *dirReader) inline(position int64) error {
	n := r.dir
	head, tail, err := n.inlineParts()
	if err != nil {
		return err
	}
	parent := Ino(binary.LittleEndian.Uint32(head))
	dots := []disk.Dirent{
		{Ino: n.Ino, Type: disk.FileTypeDir, Name: []byte("."), RecLen: inlineDotDot},
		{Ino: parent, Type: disk.FileTypeDir, Name: []byte(".."), RecLen: inlineEntries},
	}
	for i := range dots {
		if next := int64(dots[i].RecLen); position < next && !r.entry(&dots[i], next) {
			r.stopped = true
			return nil
		}
	}
	r.entries(head[inlineEntries:], inlineEntries, position-inlineEntries)
	if base := int64(len(head)); !r.stopped && len(tail) > 0 {
		r.entries(tail, base, position-base)
	}
	return nil
}
