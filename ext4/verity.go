package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// verityChunk is how many bytes of a file are read and verified at a time, and at least one block of its tree.
const verityChunk = 128 << 10

// verified reports whether the file's contents are read through its Merkle tree.
func (n *Inode) verified() bool {
	return n.IsRegular() && n.Has(disk.InodeVerity) && !mutant.Off(mutant.Verity)
}

// verifier reads a file under verity. It remembers the newest verified block of each level of the tree: the blocks of a
// read that goes on have the same ones above them.
type verifier struct {
	*disk.Verity
	n      *Inode
	start  int64 // of the tree, in the file
	newest [disk.MaxVerityLevels]struct {
		block uint64
		p     []byte
	}
}

// Verity reads the description of the file's Merkle tree. A file that is not under verity is ErrInvalid.
func (n *Inode) Verity() (*disk.Verity, error) {
	v, err := n.verifier()
	if err != nil {
		return nil, err
	}
	return v.Verity, nil
}

// verifier finds the descriptor: it ends at the end of the last block of the file, which holds its size in the last
// four bytes, and begins with a block (kernel, fs/ext4/verity.c).
func (n *Inode) verifier() (*verifier, error) {
	bs := int64(n.fs.super.BlockSize)
	switch {
	case !n.IsRegular() || !n.Has(disk.InodeVerity):
		return nil, ErrInvalid
	case !n.Has(disk.InodeExtents) || n.Size > uint64(maxFileBlocks*bs):
		return nil, ondisk.Corruptf(n.where(), "a file under verity of %d bytes without extents", n.Size)
	}
	start := (int64(n.Size) + disk.VerityAlign - 1) / disk.VerityAlign * disk.VerityAlign
	end, err := n.mappedEnd(start)
	if err != nil {
		return nil, err
	}
	if end <= start {
		return nil, ondisk.Corruptf(n.where(), "a file under verity without its descriptor")
	}
	var tail [4]byte
	if err := n.readRaw(tail[:], end-int64(len(tail))); err != nil {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(tail[:]))
	at := (end - int64(len(tail)) - size) / bs * bs
	if size < disk.VerityDescriptorSize || size > disk.MaxVerityDescriptor || at < start {
		return nil, ondisk.Corruptf(n.where(), "a verity descriptor of %d bytes", size)
	}
	p := make([]byte, size)
	if err := n.readRaw(p, at); err != nil {
		return nil, err
	}
	d, err := disk.DecodeVerity(p)
	switch {
	case err != nil:
		return nil, n.wrap(err)
	case d.DataSize != n.Size:
		return nil, ondisk.Corruptf(n.where(), "%d bytes, by its verity descriptor %d", n.Size, d.DataSize)
	case d.Blocks > uint64(at-start)/uint64(d.BlockSize):
		return nil, ondisk.Corruptf(n.where(), "no room for a Merkle tree of %d blocks", d.Blocks)
	}
	return &verifier{Verity: d, n: n, start: start}, nil
}

// mappedEnd is the end of the last mapped block of the file, in bytes; 0 where none is at or behind start.
func (n *Inode) mappedEnd(start int64) (end int64, err error) {
	bs := int64(n.fs.super.BlockSize)
	for at := uint64(start / bs); at < maxFileBlocks; {
		run, err := n.Map(FileBlock(at))
		if err != nil {
			return 0, err
		}
		at += run.Len
		if run.Kind != Hole {
			end = int64(at) * bs
		}
	}
	return end, nil
}

// readRaw reads bytes at or behind the file's end, which must be mapped or a hole.
func (n *Inode) readRaw(p []byte, offset int64) error {
	segments, err := n.segments(nil, offset, len(p))
	if err != nil {
		return err
	}
	_, err = n.readSegments(p, segments)
	return err
}

// readVerified reads and verifies up to len(p) bytes, and ends at the file's end. The bytes that it returns are
// verified, also together with an error.
func (n *Inode) readVerified(p []byte, offset int64) (done int, err error) {
	if offset < 0 || uint64(offset) >= n.Size || len(p) == 0 {
		return 0, nil
	}
	p = p[:min(uint64(len(p)), n.Size-uint64(offset))]
	v, err := n.verifier()
	if err != nil {
		return 0, err
	}
	bs := int64(v.BlockSize)
	buf := make([]byte, min(max(verityChunk, bs), (int64(len(p))+2*bs-2)/bs*bs))
	for done < len(p) {
		at := offset + int64(done)
		first := at / bs * bs
		data := buf[:min(int64(len(buf)), (offset+int64(len(p))-first+bs-1)/bs*bs)]
		if err := v.read(data, first); err != nil {
			return done, err
		}
		for i := int64(0); i < int64(len(data)); i += bs {
			block := data[i : i+bs]
			if err := v.check(block, uint64((first+i)/bs)); err != nil {
				return done, err
			}
			done += copy(p[done:], block[max(at-first-i, 0):])
		}
	}
	return done, nil
}

// read reads blocks of data. The bytes behind the file's end are zeros.
func (v *verifier) read(p []byte, offset int64) error {
	inside := min(int64(len(p)), int64(v.DataSize)-offset)
	clear(p[inside:])
	return v.n.readRaw(p[:inside], offset)
}

// check compares a block of data with its hash.
func (v *verifier) check(p []byte, block uint64) error {
	want, err := v.hash(0, block)
	if err != nil {
		return err
	}
	if !bytes.Equal(v.Hash(p), want) {
		return v.mismatch("", int64(block)*int64(v.BlockSize))
	}
	return nil
}

// hash is the verified hash of a block: of data at level 0, of the tree's level below otherwise.
func (v *verifier) hash(level int, block uint64) ([]byte, error) {
	if level == len(v.Levels) {
		return v.Root, nil
	}
	per := uint64(v.BlockSize / v.HashSize())
	nth, within := block/per, int(block%per)*v.HashSize()
	newest := &v.newest[level]
	if newest.p == nil || newest.block != nth {
		want, err := v.hash(level+1, nth)
		if err != nil {
			return nil, err
		}
		p := make([]byte, v.BlockSize)
		at := v.start + int64(v.Levels[level]+nth)*int64(v.BlockSize)
		if err := v.n.readRaw(p, at); err != nil {
			return nil, err
		}
		if !bytes.Equal(v.Hash(p), want) {
			return nil, v.mismatch("Merkle tree ", at)
		}
		newest.block, newest.p = nth, p
	}
	return newest.p[within : within+v.HashSize()], nil
}

func (v *verifier) mismatch(of string, offset int64) error {
	return fmt.Errorf("inode %d, %sblock of %d bytes at byte %d: %w", v.n.Ino, of, v.BlockSize, offset, ErrVerity)
}

// verifiedSegments is Segments for a file under verity: verified bytes.
func (n *Inode) verifiedSegments(dst []Segment, offset int64, size int) ([]Segment, error) {
	if offset < 0 || uint64(offset) >= n.Size {
		return dst, nil
	}
	p := make([]byte, min(uint64(size), n.Size-uint64(offset)))
	if _, err := n.readVerified(p, offset); err != nil {
		return dst, err
	}
	return append(dst, Segment{Len: len(p), Image: -1, Bytes: p}), nil
}

// readVerifiedAt is ReadAt for a file under verity.
func (n *Inode) readVerifiedAt(p []byte, offset int64) (int, error) {
	if n.Has(disk.InodeEncrypt) {
		return 0, n.wrap(ErrNoKey)
	}
	done, err := n.readVerified(p, offset)
	if err == nil && done < len(p) {
		err = io.EOF
	}
	return done, err
}

// writableContents refuses to change contents that are encrypted, or fixed by verity.
func (n *Inode) writableContents() error {
	switch {
	case !n.IsRegular():
		return nil
	case n.Has(disk.InodeEncrypt):
		return ErrNoKey
	case n.Has(disk.InodeVerity):
		return ErrNotPermit
	}
	return nil
}
