package ext4

import (
	"sync"

	"github.com/varvefs/varve/internal/block"
)

// grown are blocks that directories got since the last epoch closed. Without a journal nothing keeps an epoch's blocks
// together: a leaf that was split must not lose entries on the image before the new leaf has them, and the inode has
// the new leaf.
type grown struct {
	mu     sync.Mutex // guards blocks
	blocks map[block.Number]growth
}

// growth is a directory that got a block, and when.
type growth struct {
	owner uint64
	seq   block.Seq
}

// record notes the blocks that a commit gave to directories.
func (g *grown) record(seq block.Seq, owners map[block.Number]uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.blocks == nil {
		g.blocks = map[block.Number]growth{}
	}
	for n, owner := range owners {
		g.blocks[n] = growth{owner, seq}
	}
}

// until gives the blocks of the epoch that ends with a commit, and the directories that got them.
func (g *grown) until(last block.Seq) (blocks map[block.Number]bool, owners map[uint64]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	blocks, owners = map[block.Number]bool{}, map[uint64]bool{}
	for n, b := range g.blocks {
		if b.seq <= last {
			blocks[n], owners[b.owner] = true, true
		}
	}
	return blocks, owners
}

// closed forgets the blocks of an epoch that ends with a commit.
func (g *grown) closed(last block.Seq) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n, b := range g.blocks {
		if b.seq <= last {
			delete(g.blocks, n)
		}
	}
}
