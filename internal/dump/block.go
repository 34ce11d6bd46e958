package dump

import (
	"fmt"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Block shows a block: its group, its place among the group's tables, and whether it is in use.
func Block(fs *ext4.FS, n block.Number, found Sink) error {
	s := fs.Superblock()
	if n >= s.Blocks {
		return fmt.Errorf("block %d: %w: the image has blocks 0 to %d", uint64(n), ext4.ErrNotExist, uint64(s.Blocks)-1)
	}
	p, err := fs.Block(n)
	if err != nil {
		return err
	}
	r := &Record{Kind: "block", Which: fmt.Sprint(uint64(n))}
	r.at(n, 0, p)
	if n >= s.FirstDataBlock {
		g := disk.Group((n - s.FirstDataBlock) / block.Number(s.BlocksPerGroup))
		r.number("group", uint64(g))
		used, err := inUse(fs, g, n)
		r.text("state", used).wrong(err)
	}
	what, err := fs.TableOf(n)
	if what != "" {
		r.text("what", what)
	}
	return found(r.wrong(err))
}

// inUse says what the block bitmap says of a block.
func inUse(fs *ext4.FS, g disk.Group, n block.Number) (string, error) {
	bitmap, err := fs.BlockBitmap(g)
	if err != nil {
		return "unknown", err
	}
	s := fs.Superblock()
	at := uint64(n-s.GroupFirst(g)) / uint64(s.ClusterBlocks)
	if bitmap[at/8]>>(at%8)&1 == 1 {
		return "in use", nil
	}
	return "free", nil
}
