package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// MaxName is the length of the longest name, in bytes.
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

// LookupIno finds the inode number that a directory has for a name. Names of a case-folded directory match in any case;
// those of an encrypted one match in their no-key form. ErrNotDir: n is no directory; ErrNotExist: it has no such name;
// ErrTooLong: no name can be so long; ondisk.ErrCorrupt: a damaged block may have had the name.
func (n *Inode) LookupIno(name string) (Ino, error) {
	if !n.IsDir() {
		return 0, fmt.Errorf("inode %d: %w", n.Ino, ErrNotDir)
	}
	switch {
	case len(name) == 0:
		return 0, ErrNotExist
	case len(name) > MaxName && !n.Has(disk.InodeEncrypt): // a no-key form may be longer than the name
		return 0, ErrTooLong
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

// readDirBlock reads block b of a directory, which must not be a hole, and gives the superblock to decode it with.
func (n *Inode) readDirBlock(b FileBlock) ([]byte, *disk.Superblock, error) {
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

// blockAt is where block b of a directory lies. A block past the directory's end, or a hole, is damage.
func (n *Inode) blockAt(b FileBlock) (block.Number, error) {
	if blocks := n.Size / uint64(n.fs.super.BlockSize); uint64(b) >= blocks {
		return 0, ondisk.Corruptf(n.where(), "hash tree points at block %d of %d", b, blocks)
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

// matcher compares names with the one looked for.
type matcher struct {
	name   []byte
	folded []byte // the case-folded form, where the directory ignores case
}

// matcher makes the matcher of a name in the directory.
func (n *Inode) matcher(name string) matcher {
	m := matcher{name: []byte(name)}
	if n.Has(disk.InodeCasefold) && !n.Has(disk.InodeEncrypt) && n.fs.super.Incompat&disk.IncompatCasefold != 0 {
		m.folded = fold(m.name)
	}
	return m
}

// is reports whether a stored name is the one looked for.
func (m matcher) is(stored []byte) bool {
	if bytes.Equal(m.name, stored) {
		return true
	}
	return m.folded != nil && bytes.Equal(m.folded, fold(stored))
}

// entry reports whether an entry, of a block that is being changed, has the name.
func (m matcher) entry(e *disk.Dirent) bool { return m.is(e.Name) }

// validName reports whether the directory takes a name: a directory that ignores case strictly takes UTF-8 only.
func (n *Inode) validName(name string) bool {
	s := n.fs.super
	strict := n.Has(disk.InodeCasefold) && s.Incompat&disk.IncompatCasefold != 0 &&
		s.EncodingFlags&disk.EncodingStrict != 0
	return !strict || utf8.ValidString(name)
}

// hashed is the form of the name that the directory's hash is computed from.
func (m matcher) hashed() []byte {
	if m.folded != nil {
		return m.folded
	}
	return m.name
}
