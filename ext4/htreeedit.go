package ext4

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

const hashEntry = 8

// hashPath walks to the leaf that a hash belongs to. The operation depends on the entries that bound it: if the leaf is
// split first, the operation starts again.
func (d *dirOp) hashPath(name string) (path []hashStep, hash uint32, version uint8, err error) {
	root, err := d.n.hashRoot()
	if err != nil {
		return nil, 0, 0, err
	}
	version = d.w.super.EffectiveHash(root.node.HashVersion)
	hash, _, ok := d.w.super.NameHash(version, d.n.matcher(name).hashed())
	if !ok {
		return nil, 0, 0, ondisk.ErrUnsupported
	}
	path, err = d.n.hashPath(nil, root, hash, d.dependEntry)
	return path, hash, version, err
}

// dependEntry makes the operation depend on an index entry and the one behind it, or, where it is the last one, on how
// many there are. The levels of the tree are the root's.
func (d *dirOp) dependEntry(s hashStep) error {
	if mutant.Off(mutant.D2) {
		return nil
	}
	if s.isRoot() {
		if err := d.tx.Depend(s.at, merge.Range{Off: 0x1c, Len: 4}); err != nil {
			return err
		}
	}
	off := uint32(s.base + hashEntry*s.entry)
	if s.entry == 0 { // its hash is the place of capacity and count
		off += 4
	}
	length := uint32(2*hashEntry) - off%hashEntry
	if s.entry+1 >= s.node.Count() {
		length -= hashEntry
		if err := d.tx.Depend(s.at, merge.Range{Off: uint32(s.base), Len: 4}); err != nil {
			return err
		}
	}
	return d.tx.Depend(s.at, merge.Range{Off: off, Len: length})
}

// findHashed is find by the hash tree.
func (d *dirOp) findHashed(name string, is func(*disk.Dirent) bool) (place, error) {
	path, hash, _, err := d.hashPath(name)
	if err != nil {
		return place{}, err
	}
	for {
		leaf := path[len(path)-1]
		at, err := d.n.blockAt(leaf.child())
		if err != nil {
			return place{}, err
		}
		p, err := d.leafBytes(at)
		if err != nil {
			return place{}, err
		}
		if found, ok := d.search(p, at, is); ok {
			return found, nil
		}
		more, err := d.n.nextHashed(path, hash)
		if err != nil {
			return place{}, err
		}
		if !more {
			return place{}, ErrNotExist
		}
	}
}

func (d *dirOp) leafBytes(at block.Number) ([]byte, error) {
	p, err := d.fs.block(at)
	if err != nil {
		return nil, err
	}
	return p, d.fs.decoder(at).CheckDirBlock(d.n.seed(), p)
}

// insertHashed puts a name into the leaf that its hash belongs to, and splits that where it is full.
func (d *dirOp) insertHashed(name string, ino Ino, typ uint8) error {
	for range 8 { // an index that grows, a node and a leaf that are split
		path, hash, version, err := d.hashPath(name)
		if err != nil {
			return err
		}
		leaf := path[len(path)-1]
		at, err := d.n.blockAt(leaf.child())
		if err != nil {
			return err
		}
		if _, err := d.leafBytes(at); err != nil {
			return err
		}
		others := slices.Clone(path)
		for { // names of this hash may go on in the leaves behind
			more, err := d.n.nextHashed(others, hash)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			last := others[len(others)-1]
			next, err := d.n.blockAt(last.child())
			if err != nil {
				return err
			}
			if err := d.editLeaf(next, d.absent(name)); err != nil {
				return ErrExists
			}
		}
		err = d.editLeaf(at, d.put(name, ino, typ))
		if err == nil || !errors.Is(err, disk.ErrNoRoom) {
			return err
		}
		if err := d.splitLeaf(path, at, version); err != nil {
			return err
		}
	}
	return ErrNoSpace
}

// splitLeaf moves the half of a leaf's names with the greater hashes into a new leaf.
func (d *dirOp) splitLeaf(path []hashStep, at block.Number, version uint8) error {
	if grown, err := d.makeIndexRoom(path); err != nil || grown {
		return err // the path is another one now
	}
	p, err := d.leafBytes(at)
	if err != nil {
		return err
	}
	if err := d.tx.Depend(at, merge.Range{Len: uint32(len(p))}); err != nil {
		return err
	}
	entries, err := d.hashed(p, version)
	if err != nil {
		return err
	}
	if len(entries) < 2 {
		return ErrNoSpace
	}
	sort.SliceStable(entries, func(i, j int) bool { return entries[i].hash < entries[j].hash })
	total, half, cut := 0, 0, 0
	for _, e := range entries {
		total += disk.DirentLen(len(e.Name))
	}
	for cut = 1; cut < len(entries)-1; cut++ {
		if half += disk.DirentLen(len(entries[cut-1].Name)); half >= total/2 {
			break
		}
	}
	split := entries[cut].hash
	if entries[cut-1].hash == split {
		split |= 1 // names of this hash began in the leaf before
	}
	b, err := d.grow(kindDirLeaf, d.pack(entries[cut:]))
	if err != nil {
		return err
	}
	if err := d.editLeaf(at, merge.Set(0, d.pack(entries[:cut])[:d.end])); err != nil {
		return err
	}
	return d.insertIndex(path[len(path)-1], split, b)
}

// insertIndex puts an entry behind the entry of a step. The index block has room.
func (d *dirOp) insertIndex(s hashStep, hash uint32, child FileBlock) error {
	p, err := d.fs.block(s.at)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	count := int(le.Uint16(p[s.base+2:]))
	q := slices.Clone(p[s.base : s.base+hashEntry*(count+1)])
	at := hashEntry * (s.entry + 1)
	copy(q[at+hashEntry:], p[s.base+at:s.base+hashEntry*count])
	le.PutUint32(q[at:], hash)
	le.PutUint32(q[at+4:], uint32(child))
	le.PutUint16(q[2:], uint16(count+1))
	return d.edit(s.at, d.indexKind(s), owner64(d.n), merge.Set(uint32(s.base), q))
}

func (d *dirOp) indexKind(s hashStep) uint8 {
	if s.isRoot() {
		return kindHtreeRoot
	}
	return kindHtreeNode
}

// indexLimit is how many entries an index block holds.
func (d *dirOp) indexLimit(base int) int {
	room := int(d.w.super.BlockSize) - base
	if d.w.super.HasMetadataCsum() {
		room -= 8
	}
	return room / hashEntry
}

// makeIndexRoom makes room for one more entry in the last index block of a path. If that is full, the highest full
// block that has a parent with room is split; if all are full to the root, the root's entries move into a new level
// below it. grown reports that the path must be walked again.
func (d *dirOp) makeIndexRoom(path []hashStep) (grown bool, err error) {
	full := func(s hashStep) bool { return s.node.Count() >= d.indexLimit(s.base) }
	level := len(path) - 1
	if !full(path[level]) {
		return false, nil
	}
	for level > 0 && full(path[level-1]) {
		level--
	}
	s := path[level]
	p, err := d.fs.block(s.at)
	if err != nil {
		return false, err
	}
	entries := slices.Clone(p[s.base : s.base+hashEntry*s.node.Count()])
	if level == 0 {
		if len(path) > d.w.super.MaxHtreeLevels() && !mutant.Off(mutant.HtreeLevels) {
			return false, ErrNoSpace
		}
		return true, d.growIndex(s, entries)
	}
	cut := s.node.Count() / 2
	hash := binary.LittleEndian.Uint32(entries[hashEntry*cut:])
	b, err := d.grow(kindHtreeNode, d.indexBlock(entries[hashEntry*cut:]))
	if err != nil {
		return false, err
	}
	left := merge.Set(0, d.indexBlock(entries[:hashEntry*cut])[:8+hashEntry*cut])
	if err := d.edit(s.at, kindHtreeNode, owner64(d.n), left); err != nil {
		return false, err
	}
	return true, d.insertIndex(path[level-1], hash, b)
}

// growIndex moves the root's entries into a node below it, and so adds a level.
func (d *dirOp) growIndex(root hashStep, entries []byte) error {
	b, err := d.grow(kindHtreeNode, d.indexBlock(entries))
	if err != nil {
		return err
	}
	p, err := d.fs.block(root.at)
	if err != nil {
		return err
	}
	q := slices.Clone(p[0x1c : hashRootBase+hashEntry])
	q[2]++ // levels
	le := binary.LittleEndian
	le.PutUint16(q[6:], 1) // entries
	le.PutUint32(q[8:], uint32(b))
	return d.edit(root.at, kindHtreeRoot, owner64(d.n), merge.Set(0x1c, q))
}

// indexBlock is a node below the root with these entries.
func (d *dirOp) indexBlock(entries []byte) []byte {
	p := make([]byte, d.w.super.BlockSize)
	le := binary.LittleEndian
	le.PutUint16(p[4:], uint16(len(p)))
	copy(p[8:], entries)
	le.PutUint16(p[8:], uint16(d.indexLimit(hashNodeBase)))
	le.PutUint16(p[10:], uint16(len(entries)/hashEntry))
	return p
}

// makeIndex turns a directory of one block, which is full, into one with a hash tree: block 0 becomes the root, and its
// names go into a new leaf.
func (d *dirOp) makeIndex() error {
	at, err := d.n.blockAt(0)
	if err != nil {
		return err
	}
	p, err := d.leafBytes(at)
	if err != nil {
		return err
	}
	if err := d.tx.Depend(at, merge.Range{Len: uint32(len(p))}); err != nil {
		return err
	}
	parent, _, _, err := d.dotDot()
	if err != nil {
		return err
	}
	s := d.w.super
	version := s.EffectiveHash(s.HashVersion)
	entries, err := d.hashed(p, version)
	if err != nil {
		return err
	}
	if len(entries) < 2 || string(entries[0].Name) != "." || string(entries[1].Name) != ".." {
		return ErrNoSpace // an odd directory: it stays linear
	}
	b, err := d.grow(kindDirLeaf, d.pack(entries[2:]))
	if err != nil {
		return err
	}
	root := make([]byte, s.BlockSize)
	d.format.PutDirent(root, 0, 12, d.n.Ino, disk.FileTypeDir, []byte("."))
	d.format.PutDirent(root, 12, len(root)-12, parent, disk.FileTypeDir, []byte(".."))
	le := binary.LittleEndian
	root[0x1c], root[0x1d] = s.HashVersion, 8
	le.PutUint16(root[hashRootBase:], uint16(d.indexLimit(hashRootBase)))
	le.PutUint16(root[0x22:], 1)
	le.PutUint32(root[0x24:], uint32(b))
	if err := d.edit(at, kindHtreeRoot, owner64(d.n), merge.Set(0, root)); err != nil {
		return err
	}
	return d.setFlags(d.n, d.n.Flags|disk.InodeIndex)
}

// setFlags sets an inode's flags.
func (o *op) setFlags(n *Inode, flags uint32) error {
	n.Flags = flags
	return o.setInode(n.Ino, disk.OffFlags, binary.LittleEndian.AppendUint32(nil, flags))
}
