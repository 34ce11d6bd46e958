package ext4

import (
	"bytes"
	"errors"
	"io"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// ClearPrivileges says which bits a change of contents takes away, where the kernel leaves that to the file system:
// setuid, setgid and capabilities.
type ClearPrivileges bool

// maxJournalled bounds the bytes that one transaction writes to the journal as file data, in blocks.
const maxJournalled = 16

// writing distinguishes the kinds of writes.
type writing struct {
	clear     ClearPrivileges
	whole     bool // nothing is written where there is no room for all
	gathered  bool // whole pages, which the kernel took before; so it has seen to capabilities
	allocated bool // set by the write: the file has got blocks
}

// Write writes data into a regular file at an offset, and makes it longer where needed. It returns how much was
// written: less than all together with an error only.
func (w *Writable) Write(cred Cred, node Node, offset int64, data []byte, clear ClearPrivileges) (int, error) {
	return w.writeAll(cred, node, offset, data, &writing{clear: clear})
}

// WriteBack is Write for whole pages that write(2) or a mapping has filled before: those of an append-only file begin
// with what it has already. allocated reports whether the file has got blocks by it.
func (w *Writable) WriteBack(
	cred Cred,
	node Node,
	offset int64,
	data []byte,
	clear ClearPrivileges,
) (n int, allocated bool, err error) {
	how := &writing{clear: clear, gathered: true}
	n, err = w.writeAll(cred, node, offset, data, how)
	return n, how.allocated, err
}

// WriteWhole is Write that writes nothing where there is no room for all; with data in the journal, which takes several
// transactions, some of it.
func (w *Writable) WriteWhole(cred Cred, node Node, offset int64, data []byte, clear ClearPrivileges) (int, error) {
	return w.writeAll(cred, node, offset, data, &writing{clear: clear, whole: true})
}

func (w *Writable) writeAll(cred Cred, node Node, offset int64, data []byte, how *writing) (int, error) {
	if offset < 0 {
		return 0, ErrInvalid
	}
	bs := int64(w.super.BlockSize)
	done, most := 0, len(data)
	for done < len(data) {
		piece := data[done:][:min(most, len(data)-done)]
		if w.opts.JournalData {
			piece = piece[:min(int64(len(piece)), maxJournalled*bs-(offset+int64(done))%bs)]
		}
		err := w.do(opWrite, cred, func(o *op) error {
			n, err := o.inode(node)
			if err != nil {
				return err
			}
			took := len(o.took)
			err = o.write(n, uint64(offset)+uint64(done), piece, how)
			how.allocated = how.allocated || len(o.took) > took
			return err
		})
		skip := (offset + int64(done)) % bs
		if (errors.Is(err, ErrNoSpace) || errors.Is(err, ErrQuota)) && !how.whole && skip+int64(len(piece)) > bs {
			most = max(len(piece)/2, 1) // what there is room for is written, down to the part in one block
			if int64(most) < bs {
				most = int(bs - skip)
			}
			continue
		}
		if err != nil {
			return done, err
		}
		done += len(piece)
		most = max(most, int(bs))
	}
	return done, nil
}

// maxSize is the greatest size of a file in bytes.
func (w *Writable) maxSize(n *Inode) uint64 {
	bs := uint64(w.super.BlockSize)
	if n.Has(disk.InodeExtents) || n.Has(disk.InodeInlineData) && w.super.Incompat&disk.IncompatExtents != 0 {
		return (1<<32 - 1) * bs
	}
	per := bs / pointerSize
	return min((directPointers+per+per*per+per*per*per)*bs, 1<<32*512)
}

// write is the part of Write that is one transaction.
func (o *op) write(n *Inode, offset uint64, data []byte, how *writing) error {
	switch {
	case n.IsDir():
		return ErrIsDir
	case !n.IsRegular():
		return ErrInvalid
	case n.Has(disk.InodeImmutable):
		return ErrNotPermit
	case n.Has(disk.InodeAppend) && offset < n.Size:
		if !how.gathered || !n.leavesUnchanged(offset, data) {
			return ErrNotPermit
		}
	}
	if err := n.writableContents(); err != nil {
		return err
	}
	switch {
	case offset+uint64(len(data)) > o.w.maxSize(n):
		return ErrTooBig
	case len(data) == 0:
		return nil
	}
	if offset+uint64(len(data)) > n.Size {
		if err := o.checkCut(n); err != nil {
			return err
		}
	}
	if err := o.dependMap(n); err != nil {
		return err
	}
	if err := o.clearPrivileges(n, how); err != nil {
		return err
	}
	from, left := offset, data
	if n.Has(disk.InodeInlineData) {
		var err error
		if from, left, err = o.writeInline(n, offset, data); err != nil {
			return err
		}
	}
	if err := o.writeBlocks(n, from, left); err != nil {
		return err
	}
	if end := offset + uint64(len(data)); end > n.Size {
		if err := o.setSize(n, end, true); err != nil {
			return err
		}
	}
	err := o.stamp(n, disk.OffMtime, disk.OffCtime)
	o.reach("inode")
	return err
}

// writeBlocks writes data into a file's blocks, and allocates those that it does not have.
func (o *op) writeBlocks(n *Inode, offset uint64, data []byte) error {
	bs := uint64(o.w.super.BlockSize)
	for at, end := offset/bs, (offset+uint64(len(data))+bs-1)/bs; at < end; {
		r, err := n.Map(FileBlock(at))
		if err != nil {
			return err
		}
		length := min(r.Len, end-at)
		switch r.Kind {
		case Data:
			err = o.overwrite(r.Start, at, length, offset, data, offset+uint64(len(data)) > n.Size)
			o.reach("data")
		case Unwritten:
			err = o.writeFresh(r.Start, at, length, offset, data)
			o.reach("data")
			if err == nil {
				o.promised = true // fallocate said that these blocks can be written
				err = o.remap(n, disk.Extent{File: FileBlock(at), Len: uint32(length), Start: r.Start})
				o.promised = false
			}
		default:
			var got disk.Extent
			want := uint32(min(length, uint64(disk.MaxExtentLen(false))))
			if got, err = o.allocateFor(n, at, want, offset+uint64(len(data))); err == nil {
				length = uint64(got.Len)
				err = o.writeFresh(got.Start, at, length, offset, data)
			}
			o.reach("data")
			if err == nil {
				err = o.mapBlocks(n, got)
			}
		}
		if err != nil {
			return err
		}
		at += length
	}
	return nil
}

// leavesUnchanged reports whether a write at an offset changes no byte of the file.
func (n *Inode) leavesUnchanged(offset uint64, data []byte) bool {
	old := make([]byte, min(uint64(len(data)), n.Size-offset))
	k, err := n.ReadAt(old, int64(offset))
	return k == len(old) && (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(old, data[:k])
}

// allocateFor allocates blocks for a hole of a file at at, of which a write goes on to end.
func (o *op) allocateFor(n *Inode, at uint64, want uint32, end uint64) (disk.Extent, error) {
	bs := uint64(o.w.super.BlockSize)
	if end > minGrown && at > 0 && at == (n.Size+bs-1)/bs {
		return o.blocksFor(n, at, want, func(goal block.Number, want uint32) (run, error) {
			return o.allocateGrowing(n, goal, want, end)
		})
	}
	return o.blocksFor(n, at, want, o.allocate)
}

// goal is where the blocks of a file should lie: behind the one before, else at a place of the inode's group that
// differs from file to file.
func (o *op) goal(n *Inode, at uint64) block.Number {
	if at > 0 {
		if r, err := n.Map(FileBlock(at - 1)); err == nil && r.Kind != Hole {
			return r.Start + 1
		}
	}
	s := o.w.super
	g := disk.Group(uint32(n.Ino-1) / s.InodesPerGroup)
	return s.GroupFirst(g) + block.Number(uint32(n.Ino)%16*(s.BlocksPerGroup/16))%block.Number(s.GroupBlocks(g))
}

// remap makes unwritten blocks written, or the other way round.
func (o *op) remap(n *Inode, e disk.Extent) error {
	if _, err := o.cutExtents(n, uint64(e.File), endOf(e), false, 1<<30); err != nil {
		return err
	}
	for e.Len > 0 {
		part := e
		part.Len = min(e.Len, disk.MaxExtentLen(e.Unwritten))
		if err := o.insertExtent(n, part); err != nil {
			return err
		}
		e.File, e.Start, e.Len = e.File+FileBlock(part.Len), e.Start+block.Number(part.Len), e.Len-part.Len
	}
	return nil
}

// overwrite writes what of data (at an offset of the file) falls into length blocks of the file from at on, which lie
// at start. ordered says that the commit lets more be read of them than before: a size that grows, or zeros that a
// later size will show.
func (o *op) overwrite(start block.Number, at, length, offset uint64, data []byte, ordered bool) error {
	bs := uint64(o.w.super.BlockSize)
	from, to := max(at*bs, offset), min((at+length)*bs, offset+uint64(len(data)))
	piece := data[from-offset : to-offset]
	skip := from - at*bs
	if !o.w.opts.JournalData {
		return o.writeHome(start+block.Number(skip/bs), uint32(skip%bs), piece, ordered)
	}
	for len(piece) > 0 {
		k := min(uint64(len(piece)), bs-skip%bs)
		if err := o.edit(start+block.Number(skip/bs), kindPlain, 0, merge.SetBlind(uint32(skip%bs), piece[:k])); err != nil {
			return err
		}
		piece, skip = piece[k:], skip+k
	}
	return nil
}

// writeFresh is overwrite for blocks that hold nothing of the file yet: what data does not cover becomes zeros.
func (o *op) writeFresh(start block.Number, at, length, offset uint64, data []byte) error {
	bs := uint64(o.w.super.BlockSize)
	for i := uint64(0); i < length; {
		from := (at + i) * bs
		whole := uint64(0)
		if from >= offset && offset+uint64(len(data)) > from && !o.w.opts.JournalData {
			whole = min(length-i, (offset+uint64(len(data))-from)/bs)
		}
		if whole > 0 {
			if err := o.writeHome(start+block.Number(i), 0, data[from-offset:from-offset+whole*bs], true); err != nil {
				return err
			}
			i += whole
			continue
		}
		p := make([]byte, bs)
		a, b := max(from, offset), min(from+bs, offset+uint64(len(data)))
		if a < b {
			copy(p[a-from:], data[a-offset:b-offset])
		}
		if err := o.writeBlock(start+block.Number(i), p); err != nil {
			return err
		}
		i++
	}
	return nil
}

// writeBlock gives a newly allocated block of file data its contents.
func (o *op) writeBlock(at block.Number, p []byte) error {
	if o.w.opts.JournalData {
		return o.edit(at, kindPlain, 0, merge.Whole(p))
	}
	return o.writeHome(at, 0, p, true)
}

// zero writes zeros over part of one mapped block of a file.
func (o *op) zero(n *Inode, at uint64, from, to uint64) error {
	r, err := n.Map(FileBlock(at))
	if err != nil || r.Kind != Data || from >= to {
		return err
	}
	bs := uint64(o.w.super.BlockSize)
	return o.overwrite(r.Start, at, 1, at*bs+from, make([]byte, to-from), true)
}
