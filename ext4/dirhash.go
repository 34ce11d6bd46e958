package ext4

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Positions in the order of hashes have hashedPosition set, and below it the entry's place: the name's hash (31 bits),
// 8 bits of its minor hash, and its number among the names with both, which are sorted. "." and ".." have the places 0
// and 1. (The kernel, fs/ext4: ext4_dx_readdir, has more bits of the minor hash and no number.)
const (
	hashedPosition = 1 << 62
	minorBits      = 8
	numberBits     = 22
	firstNumber    = 2 // 0 and 1 are the dots', at hash 0
	lastHash       = 1<<32 - 2
)

// movesNames reports whether names of the directory may move to other blocks between two calls of ReadDir: a hash tree
// splits its leaves, and one block, or an inode with entries, becomes a tree (kernel, fs/ext4: is_dx_dir).
func (n *Inode) movesNames() bool {
	super := n.fs.super
	if !n.fs.view.changing() || super.Compat&disk.CompatDirIndex == 0 || n.Has(disk.InodeEncrypt) ||
		mutant.Off(mutant.ListingOrder) {
		return false
	}
	return n.Has(disk.InodeIndex|disk.InodeInlineData) || n.Size <= uint64(super.BlockSize)
}

// hashedEntry is an entry with its place in the order of hashes.
type hashedEntry struct {
	Dirent
	place uint64
}

// hashedReader reads a directory in the order of its names' hashes.
type hashedReader struct {
	*dirReader
	from    uint64 // the place of the first entry to visit
	version uint8
	batch   []hashedEntry
	unknown bool // a name has no hash
}

// hashed visits the entries from a position on in the order of hashes. If the tree is damaged, all entries are visited
// as they are stored, those again that were visited before: none is missing.
func (r *dirReader) hashed(position int64) error {
	h := &hashedReader{dirReader: r, from: uint64(position &^ hashedPosition), version: r.dir.fs.super.HashVersion}
	visit := r.visit
	err := h.read(visit)
	r.visit = visit
	if r.stopped || !h.unknown && !errors.Is(err, ondisk.ErrCorrupt) {
		return err
	}
	if err != nil && !r.failed(err) {
		return err
	}
	return r.stored(0)
}

func (h *hashedReader) read(visit func(Dirent) bool) error {
	n := h.dir
	h.visit = h.collect
	if !n.hasIndex() || n.Has(disk.InodeInlineData) {
		h.version = n.fs.super.EffectiveHash(h.version)
		if err := h.stored(0); err != nil {
			return err
		}
		h.deliver(0, lastHash, visit)
		return nil
	}
	root, err := n.hashRoot()
	if err != nil {
		return err
	}
	h.version = n.fs.super.EffectiveHash(root.node.HashVersion)
	if h.from < firstNumber {
		if err := h.block(0); err != nil {
			return err
		}
		h.deliver(0, 0, visit)
	}
	return h.leaves(root, visit)
}

// leaves visits the tree's leaves. Those that share a hash are one batch.
func (h *hashedReader) leaves(root hashStep, visit func(Dirent) bool) error {
	n := h.dir
	path, err := n.hashPath(nil, root, uint32(h.from>>(minorBits+numberBits))<<1, nil)
	if err != nil {
		return err
	}
	low := uint32(0)
	for _, step := range path {
		low = max(low, step.node.Hash(step.entry)&^1)
	}
	for !h.stopped {
		b := path[len(path)-1].child()
		if b == 0 {
			return ondisk.Corruptf(n.where(), "hash tree points at its own root")
		}
		if err := h.block(b); err != nil && !h.failed(err) {
			return err
		}
		level, next := bumpPath(path)
		if level < 0 {
			h.deliver(low, lastHash, visit)
			return nil
		}
		if next&1 == 0 {
			h.deliver(low, max(low, next-2), visit)
			low = max(low, next)
		}
		if err := n.descend(path, level); err != nil {
			return err
		}
	}
	return nil
}

// block collects the entries of a block.
func (h *hashedReader) block(b FileBlock) error {
	at, err := h.dir.blockAt(b)
	if err != nil {
		return err
	}
	p, leaf, err := h.dir.dirBlock(b, Run{Start: at, Kind: Data, Len: 1})
	if err == nil && leaf {
		h.entries(p, 0, 0)
	}
	return err
}

// collect adds an entry to the batch.
func (h *hashedReader) collect(e Dirent) bool {
	place := uint64(0)
	switch string(e.Name) {
	case ".":
	case "..":
		place = 1
	default:
		hash, minor, ok := h.dir.fs.super.NameHash(h.version, h.dir.matcher(string(e.Name)).hashed())
		h.unknown = h.unknown || !ok
		place = placeOf(hash, minor)
	}
	h.batch = append(h.batch, hashedEntry{e, place})
	return true
}

func placeOf(hash, minor uint32) uint64 {
	return (uint64(hash>>1)<<minorBits|uint64(minor>>(32-minorBits)))<<numberBits | firstNumber
}

// deliver visits the batch in the order of places, and empties it. Its hashes lie from low to high; places of others,
// in a damaged tree, are moved there, so that positions only grow.
func (h *hashedReader) deliver(low, high uint32, visit func(Dirent) bool) {
	batch := h.batch
	h.batch = h.batch[:0]
	if h.unknown {
		return
	}
	for i := range batch {
		if e := &batch[i]; e.place >= firstNumber {
			e.place = min(max(e.place, placeOf(low, 0)), placeOf(high, 1<<32-1))
		}
	}
	slices.SortFunc(batch, func(a, b hashedEntry) int {
		return cmp.Or(cmp.Compare(a.place, b.place), bytes.Compare(a.Name, b.Name))
	})
	number, last := uint64(0), uint64(0)
	for _, e := range batch {
		if number++; e.place != last || e.place < firstNumber {
			number, last = 0, e.place
		}
		if number >= 1<<numberBits-firstNumber-1 {
			h.failed(ondisk.Corruptf(h.dir.where(), "%d names have one hash", number))
			return
		}
		place := e.place + number
		if place < h.from {
			continue
		}
		e.Next = hashedPosition | int64(place+1)
		if h.damage != nil {
			e.Next |= damagedPosition
		}
		if !visit(e.Dirent) {
			h.stopped = true
			return
		}
	}
}
