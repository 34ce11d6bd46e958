package ext4

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// MaxName is the longest name in bytes.
const MaxName = 255

// Lookup finds a name in a directory and reads its inode. A name that is not there is ErrNotExist.
func (n *Inode) Lookup(name string) (*Inode, error) {
	c := new(Inode)
	if err := n.LookupInto(c, name); err != nil {
		return nil, err
	}
	return c, nil
}

// LookupInto is Lookup into memory that the caller has at hand.
func (n *Inode) LookupInto(c *Inode, name string) error {
	ino, err := n.LookupIno(name)
	if err != nil {
		return err
	}
	if name == "." || name == ".." {
		return n.fs.ReadInode(c, ino)
	}
	return n.ReadChild(c, name, ino)
}

// LookupIno finds the inode number that a directory has for a name. Names of a case-folded directory match whatever
// their case; those of an encrypted one match in their no-key form.
func (n *Inode) LookupIno(name string) (Ino, error) {
	if !n.IsDir() {
		return 0, fmt.Errorf("inode %d: %w", n.Ino, ErrNotDir)
	}
	if len(name) == 0 || len(name) > MaxName && !n.Has(disk.InodeEncrypt) {
		return 0, ErrNotExist
	}
	if n.fs.fast != nil {
		if d := n.fs.fast.dirs[n.Ino]; d != nil {
			if ino, ok := d.names[name]; ok {
				if ino == 0 {
					return 0, ErrNotExist
				}
				return ino, nil
			}
		}
	}
	match := n.matcher(name)
	if n.hasIndex() && !n.Has(disk.InodeInlineData|disk.InodeEncrypt) && name != "." && name != ".." {
		ino, err := n.lookupHashed(match)
		if err == nil || !errors.Is(err, ondisk.ErrCorrupt) {
			return ino, err
		}
		// The kernel falls back to reading all blocks where the tree is damaged.
	}
	return n.lookupLinear(match)
}

// lookupLinear reads the blocks one after the other. Damage in one of them is an error only where the name is in none
// of the others.
func (n *Inode) lookupLinear(match matcher) (Ino, error) {
	var found Ino
	err := n.readDirHome(0, func(e Dirent) bool {
		if match.is(e.Name) {
			found = e.Ino
		}
		return found == 0
	})
	switch {
	case found != 0:
		return found, nil
	case err != nil:
		return 0, err
	}
	return 0, ErrNotExist
}

// fileBlock reads block b of a directory, which must not be a hole, and gives the superblock to decode it with.
func (n *Inode) fileBlock(b FileBlock) ([]byte, *disk.Superblock, error) {
	at, err := n.blockAt(b)
	if err != nil {
		return nil, nil, err
	}
	p, err := n.fs.block(at)
	if err != nil {
		return nil, nil, fmt.Errorf("directory %d, block %d: %w", n.Ino, b, err)
	}
	return p, n.fs.decoder(at), nil
}

// blockAt is where block b of a directory lies.
func (n *Inode) blockAt(b FileBlock) (block.Number, error) {
	if uint64(b) >= n.Size/uint64(n.fs.super.BlockSize) {
		return 0, ondisk.Corruptf(n.where(), "hash tree points at block %d of %d", b, n.Size/uint64(n.fs.super.BlockSize))
	}
	run, err := n.Map(b)
	if err != nil {
		return 0, err
	}
	if run.Kind != Data {
		return 0, ondisk.Corruptf(n.where(), "directory block %d is a hole", b)
	}
	return run.Start, nil
}

// htreeLevel is one node on the way from a hash tree's root to a leaf, and the entry taken in it.
type htreeLevel struct {
	node  disk.HtreeNode
	entry int
}

// lookupHashed walks the hash tree (ext4 doc, "Hash Tree Directories"). The number of levels is the root's, so the
// walk ends whatever the blocks say; leaves are visited in ascending order of entries, so that ends, too.
func (n *Inode) lookupHashed(match matcher) (Ino, error) {
	root, err := n.htreeRoot()
	if err != nil {
		return 0, err
	}
	hash, _, ok := n.fs.super.NameHash(n.fs.super.EffectiveHash(root.HashVersion), match.hashed())
	if !ok {
		return n.lookupLinear(match)
	}
	var room [4]htreeLevel
	path := append(room[:0], htreeLevel{root, root.Search(hash)})
	for len(path) <= root.Levels {
		top := path[len(path)-1]
		node, err := n.htreeNode(top.node.Child(top.entry))
		if err != nil {
			return 0, err
		}
		path = append(path, htreeLevel{node, node.Search(hash)})
	}
	for {
		leaf := path[len(path)-1]
		ino, err := n.lookupLeaf(leaf.node.Child(leaf.entry), match)
		if err != nil || ino != 0 {
			return ino, err
		}
		more, err := n.nextLeaf(path, hash)
		if err != nil {
			return 0, err
		}
		if !more {
			return 0, ErrNotExist
		}
	}
}

func (n *Inode) htreeNode(b FileBlock) (disk.HtreeNode, error) {
	p, super, err := n.fileBlock(b)
	if err != nil {
		return disk.HtreeNode{}, err
	}
	node, err := super.DecodeHtreeNode(n.seed(), p)
	if err != nil {
		return node, fmt.Errorf("directory %d, block %d: %w", n.Ino, b, err)
	}
	return node, nil
}

// nextLeaf moves path to the next leaf if names with this hash go on there: its entry then has the same hash with the
// lowest bit set.
func (n *Inode) nextLeaf(path []htreeLevel, hash uint32) (bool, error) {
	level := len(path) - 1
	for path[level].entry+1 >= path[level].node.Count() {
		if level == 0 {
			return false, nil
		}
		level--
	}
	path[level].entry++
	if path[level].node.Hash(path[level].entry) != hash|1 {
		return false, nil
	}
	for ; level+1 < len(path); level++ {
		node, err := n.htreeNode(path[level].node.Child(path[level].entry))
		if err != nil {
			return false, err
		}
		path[level+1] = htreeLevel{node, 0}
	}
	return true, nil
}

// lookupLeaf looks for a name in one leaf block. 0 means that it is not there.
func (n *Inode) lookupLeaf(b FileBlock, match matcher) (Ino, error) {
	p, super, err := n.fileBlock(b)
	if err != nil {
		return 0, err
	}
	if b == 0 {
		return 0, ondisk.Corruptf(n.where(), "hash tree points at its own root")
	}
	if err := super.CheckDirBlock(n.seed(), p); err != nil {
		return 0, fmt.Errorf("directory %d, block %d: %w", n.Ino, b, err)
	}
	format := n.fs.super.DirentFormat(n.Flags)
	for at := 0; at < len(p); {
		e, err := format.Decode(p, at)
		if err != nil {
			return 0, fmt.Errorf("directory %d, block %d: %w", n.Ino, b, err)
		}
		if e.Ino != 0 && match.is(e.Name) {
			return e.Ino, nil
		}
		at += e.RecLen
	}
	return 0, nil
}

// matcher compares names with the one looked for.
type matcher struct {
	name   []byte
	folded []byte // the case-folded form, where the directory ignores case
}

func (n *Inode) matcher(name string) matcher {
	m := matcher{name: []byte(name)}
	if n.Has(disk.InodeCasefold) && !n.Has(disk.InodeEncrypt) && n.fs.super.Incompat&disk.IncompatCasefold != 0 {
		m.folded = fold(m.name)
	}
	return m
}

func (m matcher) is(stored []byte) bool {
	if bytes.Equal(m.name, stored) {
		return true
	}
	return m.folded != nil && bytes.Equal(m.folded, fold(stored))
}

// hashed is the form of the name that the directory's hash is computed from.
func (m matcher) hashed() []byte {
	if m.folded != nil {
		return m.folded
	}
	return m.name
}
