package pack

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"path"
	"time"

	"github.com/varvefs/varve/internal/importer"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Allocation units that space is counted in: 1 KiB to 1 MiB.
const (
	smallestUnit = 10 // the logarithm of its bytes
	units        = 11 // how many there are, each twice the one before
)

// need is what a tree takes in a file system, of which neither the size of blocks nor the features are known yet.
type need struct {
	inodes uint64
	bytes  uint64 // of contents
	newest time.Time
	blocks [units]uint64 // in units of 1 KiB << i

	names  map[string]uint64 // bytes of entries, by directory
	digest hash.Hash         // of all but contents
}

// entryFill is the share of a directory's blocks that its entries take, in percent, where the hash tree has split them.
const entryFill = 55

// inodeRoom is the bytes of attributes that an inode of 256 bytes has room for.
const inodeRoom = 92

// add counts one entry. Contents are read where the entry may have holes.
func (n *need) add(_ context.Context, e importer.Entry) error {
	if n.names == nil {
		n.names, n.digest = map[string]uint64{}, sha256.New()
	}
	if e.Mtime.After(n.newest) {
		n.newest = e.Mtime
	}
	_, _ = fmt.Fprintf(n.digest, "%q %o %d:%d %d:%d %q %q %d %d %q\n", e.Path, e.Mode, e.UID, e.GID, e.Major, e.Minor,
		e.Target, e.Link, e.Mtime.UnixNano(), e.Size, e.Xattrs)
	clean := path.Clean("/" + e.Path)
	n.names[path.Dir(clean)] += 8 + uint64(len(path.Base(clean))+3)&^3
	if e.Link != "" {
		return nil
	}
	n.inodes++
	if e.Mode&disk.ModeType == disk.ModeDir {
		n.names[clean] += 24 // "." and ".."
	}
	data, err := contents(e)
	if err != nil {
		return err
	}
	n.bytes += data
	n.take(data)
	if len(e.Target) >= 60 {
		n.take(uint64(len(e.Target)))
	}
	attrs := 0
	for _, x := range e.Xattrs {
		attrs += 16 + len(x.Name) + len(x.Value)
	}
	if attrs > inodeRoom {
		n.take(uint64(attrs))
	}
	n.take(data >> 26) // a block of the extent tree for 64 MiB at most, which one extent may have twice
	return nil
}

// contents is the bytes of an entry that are no hole.
func contents(e importer.Entry) (uint64, error) {
	if e.Mode&disk.ModeType != disk.ModeRegular || !e.Sparse {
		return e.Size, nil
	}
	data := uint64(0)
	err := e.Contents(func(p []byte, _ int64) error {
		data += uint64(len(p)+importer.HoleBytes-1) &^ (importer.HoleBytes - 1)
		return nil
	})
	return data, err
}

// take counts what so many bytes take that begin a block of their own.
func (n *need) take(bytes uint64) {
	for i := range n.blocks {
		unit := uint64(1) << (smallestUnit + i)
		n.blocks[i] += (bytes + unit - 1) / unit
	}
}

// within is the blocks that the tree takes in a file system, with those that it keeps back for nodes of extent trees.
func (n *need) within(s *disk.Superblock) uint64 {
	unit := s.ClusterSize()
	i := 0
	for i < units-1 && uint64(1)<<(smallestUnit+i) < unit {
		i++
	}
	total := n.blocks[i]
	for _, bytes := range n.names {
		total += (bytes*100/entryFill + unit - 1) / unit
	}
	total = total * unit / uint64(s.BlockSize)
	return total + min(uint64(s.Blocks)/50, 4096) + total/100 + 16
}

// uuid makes a UUID from the tree's names and attributes (RFC 9562, version 8), so that the same tree gives the same
// image.
func (n *need) uuid() string {
	var sum [sha256.Size]byte
	if n.digest != nil {
		n.digest.Sum(sum[:0])
	}
	sum[6], sum[8] = sum[6]&0xf|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", binary.BigEndian.Uint32(sum[:]), sum[4:6], sum[6:8], sum[8:10],
		sum[10:16])
}
