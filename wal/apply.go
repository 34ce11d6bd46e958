package wal

import (
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
)

// applyBytes bounds the blocks that recovery gathers before it writes them home.
const applyBytes = 16 << 20

// applier writes the changes of records home.
type applier struct {
	home   blockcache.Writable
	size   block.Size
	blocks map[block.Number][]byte
	bytes  int64
	fresh  map[block.Number]block.Seq
}

// commit applies one record. Its checksum was right, so that a malformed one is no crash's work.
func (a *applier) commit(r record) error {
	var err error
	ok := r.changes(a.size, func(n block.Number, off uint32, data []byte) {
		var b []byte
		if data == nil || r.seq < a.fresh[n] {
			return
		}
		if err == nil {
			b, err = a.block(n)
		}
		if err == nil {
			copy(b[off:], data)
		}
	})
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w: commit %d is malformed", ErrCorrupt, r.seq)
	}
	return nil
}

func (a *applier) block(n block.Number) ([]byte, error) {
	if b := a.blocks[n]; b != nil {
		return b, nil
	}
	if n >= block.Number(a.home.Size()/int64(a.size)) {
		return nil, fmt.Errorf("%w: a commit changes %v, which the image does not have", ErrCorrupt, n)
	}
	if len(a.blocks)*int(a.size) >= applyBytes { // one record may name more blocks than there is memory for
		if err := a.flush(); err != nil {
			return nil, err
		}
	}
	b := make([]byte, a.size)
	if _, err := a.home.ReadAt(b, a.size.Offset(n)); err != nil {
		return nil, fmt.Errorf("read %v: %w", n, err)
	}
	a.blocks[n] = b
	return b, nil
}

func (a *applier) flush() error {
	for _, n := range slices.Sorted(maps.Keys(a.blocks)) {
		if _, err := a.home.WriteAt(a.blocks[n], a.size.Offset(n)); err != nil {
			return fmt.Errorf("write %v home: %w", n, err)
		}
		a.bytes += int64(a.size)
	}
	clear(a.blocks)
	return nil
}
