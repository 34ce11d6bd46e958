package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// fastOverlay has the changes of the fast commits behind the last whole transaction (ext4 doc, Journal, "Fast
// commits"). The kernel writes them home at recovery; a reader keeps them beside the image: inodes by number, and for
// the inodes that they touch the mapping and the names that differ.
type fastOverlay struct {
	records []jbd2.FastRecord
	inodes  map[Ino][]byte
	maps    map[Ino]*fastMap
	dirs    map[Ino]*fastDir
}

// replayFast reads the fast-commit area. Records are valid if they follow the last whole transaction.
func (fs *FS) replayFast(l *log) error {
	records, err := l.fastRecords()
	if err != nil || len(records) == 0 {
		return err
	}
	overlay := &fastOverlay{records: records, inodes: map[Ino][]byte{}, maps: map[Ino]*fastMap{},
		dirs: map[Ino]*fastDir{}}
	fs.fast = overlay
	for _, r := range records {
		if err := overlay.apply(fs, r); err != nil {
			return fmt.Errorf("fast commit: %w", err)
		}
	}
	return nil
}

// fastRecords are the records of whole fast commits behind the last transaction.
func (l *log) fastRecords() ([]jbd2.FastRecord, error) {
	scanner := jbd2.FastScanner{Want: l.next}
	for b := l.super.FastFirst(); b < l.super.Blocks; b++ {
		if err := l.once(b); err != nil {
			return nil, err
		}
		p, err := l.block(b)
		if err != nil {
			return nil, err
		}
		if !scanner.Add(p) {
			break
		}
	}
	return scanner.Records(), nil
}

func (o *fastOverlay) apply(fs *FS, r jbd2.FastRecord) error {
	le := binary.LittleEndian
	short := func(n int) error {
		if len(r.Value) < n {
			return ondisk.Corruptf("fast commit", "record with tag %d has %d bytes", r.Tag, len(r.Value))
		}
		return nil
	}
	switch r.Tag {
	case jbd2.FastInode:
		if err := short(4 + 128); err != nil {
			return err
		}
		return o.inode(fs, Ino(le.Uint32(r.Value)), r.Value[4:])
	case jbd2.FastAddRange:
		if err := short(16); err != nil {
			return err
		}
		e := disk.DecodeExtent(r.Value[4:])
		if err := fs.super.CheckExtent(e); err != nil {
			return err
		}
		o.mapOf(Ino(le.Uint32(r.Value))).replace(e.File, uint64(e.Len), &e)
	case jbd2.FastDelRange:
		if err := short(12); err != nil {
			return err
		}
		o.mapOf(Ino(le.Uint32(r.Value))).replace(FileBlock(le.Uint32(r.Value[4:])), uint64(le.Uint32(r.Value[8:])), nil)
	case jbd2.FastCreate, jbd2.FastLink, jbd2.FastUnlink:
		if err := short(9); err != nil {
			return err
		}
		dir, ino := Ino(le.Uint32(r.Value)), Ino(le.Uint32(r.Value[4:]))
		if r.Tag == jbd2.FastUnlink {
			ino = 0
		}
		if o.dirs[dir] == nil {
			o.dirs[dir] = &fastDir{names: map[string]Ino{}}
		}
		o.dirs[dir].names[string(r.Value[8:])] = ino
	}
	return nil
}

// inode takes a logged inode. The root of its extent tree stays the one at home, to which ranges are added, unless the
// number belonged to another inode there, which was deleted since.
func (o *fastOverlay) inode(fs *FS, ino Ino, logged []byte) error {
	if ino == 0 || uint32(ino) > fs.super.Inodes || len(logged) > int(fs.super.InodeSize) {
		return ondisk.Corruptf("fast commit", "inode %d of %d bytes", ino, len(logged))
	}
	raw, err := fs.rawInode(new(Inode), ino)
	if err != nil {
		return err
	}
	raw = append([]byte(nil), raw...)
	root := append([]byte(nil), raw[inodeBlockStart:inodeBlockEnd]...)
	if le := binary.LittleEndian; le.Uint32(raw[disk.OffGeneration:]) != le.Uint32(logged[disk.OffGeneration:]) {
		root = disk.EmptyExtentRoot()
		if le.Uint16(raw[disk.OffLinks:]) > 0 {
			delete(o.maps, ino)
		}
	}
	copy(raw, logged)
	if binary.LittleEndian.Uint32(raw[inodeFlags:])&disk.InodeExtents != 0 {
		if node, err := disk.DecodeExtentRoot(root); err != nil {
			root = disk.EmptyExtentRoot()
		} else if o.maps[ino] == nil && node.Entries() == 0 {
			root = disk.EmptyExtentRoot()
		}
		copy(raw[inodeBlockStart:inodeBlockEnd], root)
	}
	fs.super.SealInode(ino, raw)
	o.inodes[ino] = raw
	return nil
}

// Byte offsets of i_flags and i_block in an inode.
const (
	inodeFlags      = 0x20
	inodeBlockStart = 0x28
	inodeBlockEnd   = 0x64
)

// fastMap is a file's mapping where fast commits changed it: extents that were added, and ranges removed (Len of Start
// zero), by first file block, without overlaps. Blocks that it does not cover are mapped at
// home.
type fastMap struct {
	ranges []fastRange
}

type fastRange struct {
	file FileBlock
	n    uint64
	ext  *disk.Extent // nil: removed
}

func (o *fastOverlay) mapOf(ino Ino) *fastMap {
	if o.maps[ino] == nil {
		o.maps[ino] = &fastMap{}
	}
	return o.maps[ino]
}

// replace makes n blocks from file on those of ext, or a hole.
func (m *fastMap) replace(file FileBlock, n uint64, ext *disk.Extent) {
	start, end := uint64(file), uint64(file)+n
	var kept []fastRange
	for _, r := range m.ranges {
		rStart, rEnd := uint64(r.file), uint64(r.file)+r.n
		if rEnd <= start || rStart >= end {
			kept = append(kept, r)
			continue
		}
		if rStart < start {
			kept = append(kept, fastRange{r.file, start - rStart, r.ext})
		}
		if rEnd > end {
			kept = append(kept, r.cut(end))
		}
	}
	kept = append(kept, fastRange{file, n, ext})
	slices.SortFunc(kept, func(a, b fastRange) int { return int(int64(a.file) - int64(b.file)) })
	m.ranges = kept
}

// cut is the part of a range from file block at on.
func (r fastRange) cut(at uint64) fastRange {
	skip := at - uint64(r.file)
	out := fastRange{FileBlock(at), r.n - skip, r.ext}
	if r.ext != nil {
		e := *r.ext
		e.File, e.Start, e.Len = FileBlock(at), e.Start+block.Number(skip), e.Len-uint32(skip)
		out.ext = &e
	}
	return out
}

// lookup maps file block b of n.
func (m *fastMap) lookup(n *Inode, b FileBlock) (Run, error) {
	next := uint64(maxFileBlocks)
	for _, r := range m.ranges {
		if uint64(b) < uint64(r.file) {
			next = uint64(r.file)
			break
		}
		if uint64(b) < uint64(r.file)+r.n {
			r = r.cut(uint64(b))
			switch {
			case r.ext == nil:
				return Run{Kind: Hole, Len: r.n}, nil
			case r.ext.Unwritten:
				return Run{Kind: Unwritten, Start: r.ext.Start, Len: r.n}, nil
			}
			return Run{Kind: Data, Start: r.ext.Start, Len: r.n}, nil
		}
	}
	run, err := n.mapHome(b)
	run.Len = min(run.Len, next-uint64(b))
	return run, err
}

// fastDir has the changes of fast commits to a directory: names that were added (with their inode) or removed (0).
type fastDir struct {
	names map[string]Ino
}

// fastPosition is where the positions of added names begin, behind all of the directory's own.
const fastPosition = 1 << 62

// readDir visits the directory's own entries that stand, and then the added ones in the order of their names.
func (d *fastDir) readDir(n *Inode, position int64, visit func(Dirent) bool) error {
	more := true
	if position < fastPosition {
		err := n.readDirHome(position, func(e Dirent) bool {
			if _, changed := d.names[string(e.Name)]; changed {
				return true
			}
			more = visit(e)
			return more
		})
		if err != nil || !more {
			return err
		}
		position = fastPosition
	}
	for i, name := range slices.Sorted(maps.Keys(d.names)) {
		ino := d.names[name]
		if ino == 0 || int64(i) < position-fastPosition {
			continue
		}
		e := Dirent{Ino: ino, Name: []byte(name), Next: fastPosition + int64(i) + 1}
		child, err := n.fs.Inode(ino)
		if errors.Is(err, ErrNotExist) {
			continue
		}
		if err == nil {
			e.Type = fileType(child.Mode)
		}
		if !visit(e) {
			return nil
		}
	}
	return nil
}
