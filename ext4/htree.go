package ext4

import (
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// hashStep is an index block on the way from a hash tree's root to a leaf (ext4 doc, "Hash Tree Directories"): where it
// lies, where its entries begin, and the entry that is taken.
type hashStep struct {
	at    block.Number
	base  int // offset of the entries in the block
	entry int
	node  disk.HtreeNode
}

// The offsets at which the entries of the root, and of other index blocks, begin.
const (
	hashRootBase = 0x20
	hashNodeBase = 8
)

// isRoot reports whether the index block is the tree's root.
func (s hashStep) isRoot() bool { return s.base == hashRootBase }

// child is the block of the directory that the entry points at: an index block, or a leaf.
func (s hashStep) child() FileBlock { return s.node.Child(s.entry) }

// hashRoot reads the root of the directory's hash tree.
func (n *Inode) hashRoot() (hashStep, error) { return n.hashBlock(0, hashRootBase) }

func (n *Inode) hashBlock(b FileBlock, base int) (s hashStep, err error) {
	at, err := n.blockAt(b)
	if err != nil {
		return s, err
	}
	s = hashStep{at: at, base: base}
	p, err := n.fs.block(at)
	if err == nil && base == hashRootBase {
		s.node, err = n.fs.decoder(at).DecodeHtreeRoot(n.seed(), p)
	} else if err == nil {
		s.node, err = n.fs.decoder(at).DecodeHtreeNode(n.seed(), p)
	}
	if err != nil {
		return s, fmt.Errorf("directory %d, block %d: %w", n.Ino, b, err)
	}
	return s, nil
}

// hashPath appends the steps from the root to the index block whose entry points at the leaf that a hash belongs to.
// The number of levels is the root's, so the walk ends in a damaged tree, too. visit, which may be nil, is called for
// each step before the next block is read.
func (n *Inode) hashPath(path []hashStep, root hashStep, hash uint32, visit func(hashStep) error) ([]hashStep, error) {
	step, err := root, error(nil)
	for level := 0; ; level++ {
		step.entry = step.node.Search(hash)
		if visit != nil {
			if err := visit(step); err != nil {
				return nil, err
			}
		}
		path = append(path, step)
		if level == root.node.Levels {
			return path, nil
		}
		if step, err = n.hashBlock(step.child(), hashNodeBase); err != nil {
			return nil, err
		}
	}
}

// nextHashed moves a path to the next leaf if names with this hash go on there: its entry then has the same hash with
// the lowest bit set. Leaves are visited in ascending order of entries, so that ends, too.
func (n *Inode) nextHashed(path []hashStep, hash uint32) (bool, error) {
	level, next := bumpPath(path)
	if level < 0 || next != hash|1 {
		return false, nil
	}
	return true, n.descend(path, level)
}

// bumpPath moves a path to the next entry of the lowest level that has one, and gives that level and the entry's hash.
// A negative level says that there is none.
func bumpPath(path []hashStep) (level int, hash uint32) {
	for level = len(path) - 1; level >= 0; level-- {
		if step := &path[level]; step.entry+1 < step.node.Count() {
			step.entry++
			return level, step.node.Hash(step.entry)
		}
	}
	return level, 0
}

// descend reads the steps of a path below a level, the first entry of each.
func (n *Inode) descend(path []hashStep, level int) error {
	for ; level+1 < len(path); level++ {
		step, err := n.hashBlock(path[level].child(), hashNodeBase)
		if err != nil {
			return err
		}
		path[level+1] = step
	}
	return nil
}

// lookupHashed finds a name by the directory's hash tree.
func (n *Inode) lookupHashed(match matcher) (Ino, error) {
	root, err := n.hashRoot()
	if err != nil {
		return 0, err
	}
	hash, _, ok := n.fs.super.NameHash(n.fs.super.EffectiveHash(root.node.HashVersion), match.hashed())
	if !ok {
		return n.lookupLinear(match)
	}
	var room [4]hashStep
	path, err := n.hashPath(room[:0], root, hash, nil)
	if err != nil {
		return 0, err
	}
	for {
		ino, err := n.lookupLeaf(path[len(path)-1].child(), match)
		if err != nil || ino != 0 {
			return ino, err
		}
		more, err := n.nextHashed(path, hash)
		if err != nil {
			return 0, err
		}
		if !more {
			return 0, ErrNotExist
		}
	}
}

// lookupLeaf looks for a name in one leaf block. 0 means that it is not there.
func (n *Inode) lookupLeaf(b FileBlock, match matcher) (Ino, error) {
	p, super, err := n.readDirBlock(b)
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
