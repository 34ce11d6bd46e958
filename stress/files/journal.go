package files

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// CheckJournal checks what a trace wrote to an image's journal: no logged block begins with the magic (J6), no
// transaction has more than a quarter of the journal's blocks (J9), nothing was written to the fast-commit area (J8),
// and no sequence comes twice (J5).
func CheckJournal(image []byte, tr *blockcache.Trace) error {
	fs, err := ext4.Open(blockcache.Memory(image), ext4.Options{})
	if err != nil {
		return err
	}
	places, _, err := fs.JournalPlaces()
	if err != nil {
		return err
	}
	size := fs.Superblock().BlockSize
	c := journalCheck{number: map[block.Number]uint32{}, seen: map[jbd2.Sequence]bool{}}
	for i, at := range places {
		c.number[at] = uint32(i)
	}
	for _, e := range tr.Events() {
		for at := 0; at+int(size) <= len(e.Data) && e.Offset%int64(size) == 0; at += int(size) {
			n, ok := c.number[block.Number((e.Offset+int64(at))/int64(size))]
			if !ok {
				continue
			}
			if err := c.block(n, e.Data[at:at+int(size)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// journalCheck is what CheckJournal has seen so far.
type journalCheck struct {
	number map[block.Number]uint32 // of each block of the journal
	super  *jbd2.Superblock
	logged int // blocks of the last descriptor that are still to come
	images int // logged blocks of the transaction at hand so far
	seen   map[jbd2.Sequence]bool
}

// block checks one write: block n of the journal gets the bytes p.
func (c *journalCheck) block(n uint32, p []byte) (err error) {
	switch {
	case n == 0:
		c.super, err = jbd2.DecodeSuperblock(p)
		return err
	case c.super == nil:
		return fmt.Errorf("block %d of the journal was written before its superblock", n)
	case n >= c.super.End():
		return fmt.Errorf("block %d of the journal was written: it is part of the fast-commit area, which begins at %d", n,
			c.super.End())
	case c.logged > 0:
		c.logged--
		if binary.BigEndian.Uint32(p) == jbd2.Magic {
			return fmt.Errorf("block %d of the journal holds a logged block that begins with the magic", n)
		}
		return nil
	}
	h, ok := jbd2.DecodeHeader(p)
	if !ok {
		return nil
	}
	switch h.Type {
	case jbd2.TypeDescriptor:
		tags, err := c.super.DecodeDescriptor(h.Sequence, p)
		if err != nil {
			return err
		}
		c.logged = len(tags)
		if c.images += len(tags); c.images > int(c.super.End()-c.super.First)/4 {
			return fmt.Errorf("transaction %d has more than a quarter of the journal's %d blocks", h.Sequence, c.super.Blocks)
		}
	case jbd2.TypeCommit:
		if c.seen[h.Sequence] {
			return fmt.Errorf("sequence %d comes twice", h.Sequence)
		}
		c.seen[h.Sequence], c.images = true, 0
	}
	return nil
}
