package dump

import (
	"fmt"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// maxDamagedBlocks is how many blocks of a directory that cannot be read are shown before the rest is left out.
const maxDamagedBlocks = 64

// Dir shows the blocks of a directory and all their entries, free ones and checksums among them.
func Dir(fs *ext4.FS, ino ext4.Ino, found Sink) error {
	n, at, problem, err := fs.StoredInode(ino)
	if err != nil {
		return err
	}
	if !n.IsDir() {
		return fmt.Errorf("inode %d: %w", ino, ext4.ErrNotDir)
	}
	if n.Has(disk.InodeInlineData) {
		r := &Record{Kind: "inline directory", Which: fmt.Sprint(ino)}
		r.at(at.Block, at.Offset+disk.OffBlock, n.Block).wrong(problem)
		return inlineDir(n, r, found)
	}
	if problem != nil {
		r := &Record{Kind: "directory", Which: fmt.Sprint(ino)}
		if err := found(r.at(at.Block, at.Offset, nil).wrong(problem)); err != nil {
			return err
		}
	}
	return eachDirBlock(n, func(b ext4.FileBlock, at block.Number, p []byte) error {
		if kind := n.DirBlockKind(b, p); kind != ext4.DirLeaf {
			if err := htreeBlock(n, b, at, p, found); err != nil || kind == ext4.HtreeNode {
				return err
			}
			return dirEntries(n, p, found) // "." and ".."
		}
		r := &Record{Kind: "directory block", Which: fmt.Sprintf("%d of inode %d", b, n.Ino)}
		r.at(at, 0, p).wrong(fs.Superblock().CheckDirBlock(n.Seed(), p))
		if err := found(r); err != nil {
			return err
		}
		return dirEntries(n, p, found)
	}, found)
}

// eachDirBlock calls visit for each block of a directory that is not a hole.
func eachDirBlock(n *ext4.Inode, visit func(ext4.FileBlock, block.Number, []byte) error, found Sink) error {
	s := n.FS().Superblock()
	size := uint64(s.BlockSize)
	bad := func(b uint64, err error) error {
		r := &Record{Kind: "directory block", Which: fmt.Sprintf("%d of inode %d", b, n.Ino)}
		return found(r.wrong(err))
	}
	if n.Size/size > uint64(s.Blocks) {
		return bad(0, ondisk.Corruptf(fmt.Sprintf("inode %d", n.Ino), "directory of %d bytes on an image of %d blocks",
			n.Size, uint64(s.Blocks)))
	}
	failed := 0
	for b, end := uint64(0), n.Size/size; b < end && failed < maxDamagedBlocks; {
		run, err := n.Map(ext4.FileBlock(b))
		if err != nil {
			return bad(b, err)
		}
		if run.Kind == ext4.Hole {
			b += run.Len
			continue
		}
		p, err := n.FS().Block(run.Start)
		if err == nil {
			err = visit(ext4.FileBlock(b), run.Start, p)
		} else {
			failed++
			err = bad(b, err)
		}
		if err != nil {
			return err
		}
		b++
	}
	return nil
}

// dirEntries shows the entries of a block, up to the first that is none.
func dirEntries(n *ext4.Inode, p []byte, found Sink) error {
	format := n.FS().Superblock().DirentFormat(n.Flags)
	for at := 0; at < len(p); {
		e, err := format.Decode(p, at)
		r := &Record{Kind: "entry", Offset: at, line: true}
		if err != nil {
			return found(r.wrong(err))
		}
		r.Contents = p[at : at+e.RecLen]
		r.number("inode", uint64(e.Ino)).number("rec_len", uint64(e.RecLen)).number("name_len", uint64(len(e.Name)))
		r.number("file_type", uint64(e.Type)).note(direntType(e.Type)).text("name", string(e.Name))
		if e.Hash != 0 || e.MinorHash != 0 {
			r.number("hash", uint64(e.Hash)).number("minor_hash", uint64(e.MinorHash))
		}
		if e.IsTail() {
			r.Kind, r.Fields = "tail", nil
			r.number("det_checksum", uint64(disk.GroupDescLayout.Order.Uint32(p[at+8:])))
		}
		if err := found(r); err != nil {
			return err
		}
		at += e.RecLen
	}
	return nil
}

// direntType names the type in a directory's entry.
func direntType(t uint8) string {
	names := [...]string{"unknown", "regular", "directory", "character device", "block device", "fifo", "socket",
		"symlink"}
	if int(t) < len(names) {
		return names[t]
	}
	return "no type"
}

// inlineDir shows a directory whose entries lie in its inode.
func inlineDir(n *ext4.Inode, r *Record, found Sink) error {
	head, tail, err := n.InlineParts()
	r.number("parent", uint64(disk.InodeLayout.Order.Uint32(head))).wrong(err)
	if err := found(r); err != nil {
		return err
	}
	if err := dirEntries(n, head[4:], found); err != nil || len(tail) == 0 {
		return err
	}
	if err := found((&Record{Kind: "inline directory, second part", Contents: tail}).number("bytes",
		uint64(len(tail)))); err != nil {
		return err
	}
	return dirEntries(n, tail, found)
}

// Htree shows the index of a hashed directory: its root and its inner nodes.
func Htree(fs *ext4.FS, ino ext4.Ino, found Sink) error {
	n, _, problem, err := fs.StoredInode(ino)
	switch {
	case err != nil:
		return err
	case !n.IsDir():
		return fmt.Errorf("inode %d: %w", ino, ext4.ErrNotDir)
	case !n.Has(disk.InodeIndex) || n.Has(disk.InodeInlineData):
		return fmt.Errorf("inode %d: %w: the directory has no hash tree", ino, ext4.ErrNotExist)
	}
	if problem != nil {
		if err := found((&Record{Kind: "directory", Which: fmt.Sprint(ino)}).wrong(problem)); err != nil {
			return err
		}
	}
	return eachDirBlock(n, func(b ext4.FileBlock, at block.Number, p []byte) error {
		if b > 0 && n.DirBlockKind(b, p) == ext4.DirLeaf {
			return nil
		}
		return htreeBlock(n, b, at, p, found)
	}, found)
}

// htreeBlock shows a block of a hash tree's index.
func htreeBlock(n *ext4.Inode, b ext4.FileBlock, at block.Number, p []byte, found Sink) error {
	s := n.FS().Superblock()
	r := &Record{Kind: "hash tree node", Which: fmt.Sprintf("in block %d of inode %d", b, n.Ino)}
	r.at(at, 0, p)
	l, decode := disk.HtreeNodeLayout, (*disk.Superblock).DecodeHtreeNode
	notes := map[string]string{}
	if b == 0 {
		r.Kind = "hash tree root"
		l, decode = disk.HtreeRootLayout, (*disk.Superblock).DecodeHtreeRoot
		notes["hash_version"] = HashName(p[0x1c])
	}
	node, err := decode(s, n.Seed(), p)
	r.stored(l, p, notes).wrong(err)
	if err != nil {
		if node, err = decode(s.Unsealed(), n.Seed(), p); err != nil {
			return found(r)
		}
	}
	if err := found(r); err != nil {
		return err
	}
	for i := range node.Count() {
		e := &Record{Kind: "index", line: true}
		e.text("hash", fmt.Sprintf("0x%08x", node.Hash(i))).number("block", uint64(node.Child(i)))
		if err := found(e); err != nil {
			return err
		}
	}
	return nil
}
