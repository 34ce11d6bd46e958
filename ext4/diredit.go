package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// checkName refuses what no directory can hold.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return ErrInvalid
	case len(name) > MaxName:
		return ErrTooLong
	case !goodName([]byte(name)):
		return ErrInvalid
	}
	return nil
}

// fileType is the type of an inode as a directory entry has it.
func fileType(mode uint16) uint8 {
	switch mode & disk.ModeType {
	case disk.ModeRegular:
		return disk.FileTypeRegular
	case disk.ModeDir:
		return disk.FileTypeDir
	case disk.ModeChar:
		return disk.FileTypeChar
	case disk.ModeBlock:
		return disk.FileTypeBlock
	case disk.ModeFIFO:
		return disk.FileTypeFIFO
	case disk.ModeSocket:
		return disk.FileTypeSocket
	case disk.ModeSymlink:
		return disk.FileTypeSymlink
	}
	return disk.FileTypeUnknown
}

// dirOp is a directory that is being changed.
type dirOp struct {
	*op
	n      *Inode
	format disk.DirentFormat
	end    int // where the entries of a block end
}

func (o *op) dir(n *Inode) *dirOp {
	return &dirOp{o, n, o.w.super.DirentFormat(n.Flags), o.w.super.DirEnd()}
}

func (d *dirOp) blocks() uint64 { return d.n.Size / uint64(d.w.super.BlockSize) }

// editLeaf makes an edit of a block of entries.
func (d *dirOp) editLeaf(at block.Number, e merge.Edit) error {
	return d.edit(at, kindDirLeaf, owner64(d.n), e)
}

// insert puts a name into the directory. It is an error where the name is there when the transaction commits.
func (d *dirOp) insert(name string, ino Ino, typ uint8) error {
	if !d.n.validName(name) {
		return ErrInvalid
	}
	if !mutant.Off(mutant.D2) {
		if err := d.dependMap(d.n); err != nil {
			return err
		}
	}
	if d.isInline() {
		if left, err := d.insertInline(name, ino, typ); err != nil || !left {
			return err
		}
	}
	if d.n.hasIndex() {
		err := d.insertHashed(name, ino, typ)
		if !errors.Is(err, ondisk.ErrCorrupt) {
			return err
		}
		return fmt.Errorf("%w: repair the directory with e2fsck -D", err)
	}
	return d.insertLinear(name, ino, typ)
}

// put is the edit that inserts a name into a block: run again on newer bytes, it finds its place and checks that the
// name is absent there.
func (d *dirOp) put(name string, ino Ino, typ uint8) merge.Edit {
	format, end, b, match := d.format, d.end, []byte(name), d.n.matcher(name)
	return merge.Reapply(func(p []byte) error {
		if _, found := format.FindDirent(p, end, match.entry); found {
			return disk.ErrNameExists
		}
		return format.InsertDirent(p, end, ino, typ, b)
	})
}

// absent is the check that a name is not in a block.
func (d *dirOp) absent(name string) merge.Edit {
	format, end, match := d.format, d.end, d.n.matcher(name)
	return merge.Check(func(p []byte) bool {
		_, found := format.FindDirent(p, end, match.entry)
		return !found
	})
}

// insertLinear puts a name into the first block that has room, and checks that it is in none of the others.
func (d *dirOp) insertLinear(name string, ino Ino, typ uint8) error {
	if err := d.dependInode(d.n.Ino, disk.OffSizeLow, 4); err != nil {
		return err
	}
	done, match := false, d.n.matcher(name)
	for b := range d.blocks() {
		at, err := d.n.blockAt(FileBlock(b))
		if err != nil {
			return err
		}
		p, err := d.fs.block(at)
		if err != nil {
			return err
		}
		if err := d.fs.decoder(at).CheckDirBlock(d.n.seed(), p); err != nil {
			return fmt.Errorf("directory %d, block %d: %w", d.n.Ino, b, err)
		}
		if _, found := d.format.FindDirent(p, d.end, match.entry); found {
			return ErrExists
		}
		if !done {
			err := d.editLeaf(at, d.put(name, ino, typ))
			if err == nil {
				done = true
				continue
			}
			if !errors.Is(err, disk.ErrNoRoom) {
				return err
			}
		}
		if err := d.editLeaf(at, d.absent(name)); err != nil {
			return ErrExists
		}
	}
	if done {
		return nil
	}
	if d.blocks() == 1 && d.w.super.Compat&disk.CompatDirIndex != 0 {
		if err := d.makeIndex(); err != nil {
			return err
		}
		return d.insertHashed(name, ino, typ)
	}
	p := make([]byte, d.w.super.BlockSize)
	d.format.EmptyDirBlock(p, d.end)
	if err := d.format.InsertDirent(p, d.end, ino, typ, []byte(name)); err != nil {
		return err
	}
	_, err := d.grow(kindDirLeaf, p)
	return err
}

// grow adds a block to the directory. It returns its number in the file.
func (d *dirOp) grow(kind uint8, p []byte) (FileBlock, error) {
	b := d.blocks()
	e, err := d.blocksFor(d.n, b, 1, d.allocate)
	if err != nil {
		return 0, err
	}
	if d.grown == nil {
		d.grown = map[block.Number]uint64{}
	}
	d.grown[e.Start] = owner64(d.n)
	if err := d.edit(e.Start, kind, owner64(d.n), merge.Whole(p)); err != nil {
		return 0, err
	}
	if err := d.mapBlocks(d.n, e); err != nil {
		return 0, err
	}
	return FileBlock(b), d.setSize(d.n, (b+1)*uint64(d.w.super.BlockSize), false)
}

// place is where a name's entry is.
type place struct {
	block block.Number // 0 where the directory is inline
	ino   Ino
	typ   uint8
	name  string // as it is stored: in another case, or encrypted
}

// find looks for a name, which in an encrypted directory is in its no-key form.
func (d *dirOp) find(name string) (place, error) {
	is, err := d.matches(name)
	if err != nil {
		return place{}, err
	}
	if d.isInline() {
		return d.findInline(is)
	}
	if d.n.hasIndex() && !d.n.Has(disk.InodeEncrypt) {
		found, err := d.findHashed(name, is)
		if err == nil || !errors.Is(err, ondisk.ErrCorrupt) {
			return found, err
		}
	}
	for b := range d.blocks() {
		r, err := d.n.Map(FileBlock(b))
		if err != nil {
			return place{}, err
		}
		if r.Kind != Data {
			continue
		}
		p, leaf, err := d.n.dirBlock(FileBlock(b), r)
		if err != nil {
			return place{}, err
		}
		if !leaf || d.n.hasIndex() && b == 0 {
			continue
		}
		if found, ok := d.search(p, r.Start, is); ok {
			return found, nil
		}
	}
	return place{}, ErrNotExist
}

// matches makes the test for entries that a name means.
func (d *dirOp) matches(name string) (func(*disk.Dirent) bool, error) {
	naming, err := d.n.noKeyNaming()
	match := d.n.matcher(name)
	return func(e *disk.Dirent) bool { return match.is(naming.name(e)) }, err
}

// search looks for an entry in a block.
func (d *dirOp) search(p []byte, at block.Number, is func(*disk.Dirent) bool) (place, bool) {
	e, found := d.format.FindDirent(p, d.end, is)
	return place{at, e.Ino, e.Type, string(e.Name)}, found
}

// remove takes an entry out of its block, if it still refers to its inode.
func (d *dirOp) remove(at place) error {
	format, end, b := d.format, d.end, []byte(at.name)
	if d.isInline() {
		return d.editInline(func(area []byte) error { return format.RemoveDirent(area, len(area), at.ino, b) })
	}
	return d.editLeaf(at.block, merge.Reapply(func(p []byte) error { return format.RemoveDirent(p, end, at.ino, b) }))
}

// replace makes an entry refer to another inode.
func (d *dirOp) replace(at place, to Ino, typ uint8) error {
	format, end, b := d.format, d.end, []byte(at.name)
	if d.isInline() {
		return d.editInline(func(area []byte) error {
			return format.ReplaceDirent(area, len(area), b, at.ino, to, typ)
		})
	}
	return d.editLeaf(at.block, merge.Reapply(func(p []byte) error {
		return format.ReplaceDirent(p, end, b, at.ino, to, typ)
	}))
}

// checkEmpty checks that a directory has no names but its own two, and that it stays so: the operation depends on all
// of its blocks.
func (d *dirOp) checkEmpty() error {
	if err := d.dependMap(d.n); err != nil {
		return err
	}
	if err := d.dependInode(d.n.Ino, disk.OffSizeLow, 4); err != nil {
		return err
	}
	if d.isInline() && !mutant.Off(mutant.D3) {
		if err := d.dependInline(d.n); err != nil {
			return err
		}
	}
	empty := true
	err := d.n.readDirHome(0, func(e Dirent) bool {
		empty = string(e.Name) == "." || string(e.Name) == ".."
		return empty
	})
	if err != nil {
		return err
	}
	if !empty {
		return ErrNotEmpty
	}
	for b := range d.blocks() {
		r, err := d.n.Map(FileBlock(b))
		if err != nil {
			return err
		}
		if r.Kind == Data && !mutant.Off(mutant.D3) {
			if err := d.tx.Depend(r.Start, merge.Range{Len: uint32(d.w.super.BlockSize)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// dotDot reads the parent that a directory names, and where. The operation depends on it.
func (d *dirOp) dotDot() (parent Ino, at block.Number, off uint32, err error) {
	if d.isInline() {
		parent, err = d.inlineDotDot()
		return parent, 0, 0, err
	}
	if at, err = d.n.blockAt(0); err != nil {
		return 0, 0, 0, err
	}
	p, err := d.fs.block(at)
	if err != nil {
		return 0, 0, 0, err
	}
	dot, err := d.format.Decode(p, 0)
	if err != nil {
		return 0, 0, 0, d.n.wrap(err)
	}
	e, err := d.format.Decode(p, dot.RecLen)
	if err != nil || !bytes.Equal(e.Name, []byte("..")) {
		return 0, 0, 0, ondisk.Corruptf(d.n.where(), "has no entry for its parent")
	}
	off = uint32(dot.RecLen)
	if mutant.Off(mutant.D4) {
		return e.Ino, at, off, nil
	}
	return e.Ino, at, off, d.tx.Depend(at, merge.Range{Off: off, Len: 4})
}

// setDotDot names another parent.
func (d *dirOp) setDotDot(to Ino) error {
	if d.isInline() {
		return d.setInlineDotDot(to)
	}
	_, at, off, err := d.dotDot()
	if err != nil {
		return err
	}
	kind := uint8(kindDirLeaf)
	if d.n.hasIndex() {
		kind = kindHtreeRoot
	}
	return d.edit(at, kind, owner64(d.n), merge.Set(off, binary.LittleEndian.AppendUint32(nil, uint32(to))))
}

// makeDirBlock is the first block of a new directory.
func (d *dirOp) makeDirBlock(parent Ino) []byte {
	p := make([]byte, d.w.super.BlockSize)
	d.format.EmptyDirBlock(p, d.end)
	d.format.PutDirent(p, 0, disk.DirentLen(1), d.n.Ino, disk.FileTypeDir, []byte("."))
	d.format.PutDirent(p, disk.DirentLen(1), d.end-disk.DirentLen(1), parent, disk.FileTypeDir, []byte(".."))
	return p
}

// named is a directory entry with its hash.
type named struct {
	disk.Dirent
	hash uint32
}

// hashed lists the entries of a block with their hashes, in their order.
func (d *dirOp) hashed(p []byte, version uint8) ([]named, error) {
	var out []named
	for off := 0; off < d.end; {
		e, err := d.format.Decode(p, off)
		if err != nil {
			return nil, d.n.wrap(err)
		}
		off += e.RecLen
		if e.Ino == 0 {
			continue
		}
		e.Name = slices.Clone(e.Name)
		h, _, ok := d.w.super.NameHash(version, d.n.matcher(string(e.Name)).hashed())
		if !ok {
			return nil, ondisk.Corruptf(d.n.where(), "hash version %d", version)
		}
		out = append(out, named{e, h})
	}
	return out, nil
}

// pack makes a block of entries.
func (d *dirOp) pack(entries []named) []byte {
	p := make([]byte, d.w.super.BlockSize)
	d.format.EmptyDirBlock(p, d.end)
	at := 0
	for i, e := range entries {
		length := disk.DirentLen(len(e.Name))
		if i == len(entries)-1 {
			length = d.end - at
		}
		d.format.PutDirent(p, at, length, e.Ino, e.Type, e.Name)
		at += length
	}
	return p
}
