// Package enginetest opens stores and journals for tests. Every store is checked when its test ends.
package enginetest

import (
	"errors"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/mvcc"
	"github.com/varvefs/varve/ondisk/jbd2"
	"github.com/varvefs/varve/wal"
)

// Open opens a store. Blocks have 4,096 bytes and home is 4 MiB in memory where the options have neither. When the test
// ends, a store that takes commits is checked and ended; one that an error or the test has ended is left as it is.
func Open(t testing.TB, o mvcc.Options) *mvcc.Store {
	t.Helper()
	if o.BlockSize == 0 {
		o.BlockSize = 4096
	}
	if o.Home == nil {
		o.Home = blockcache.NewRAM(make([]byte, 4<<20))
	}
	s, _, err := mvcc.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if errors.Is(s.Err(), mvcc.ErrClosed) {
			return
		}
		if err := s.Check(); err != nil {
			t.Errorf("the store at the end of the test: %v", err)
		}
		s.Abandon()
	})
	return s
}

// Journal makes an empty journal in blocks of a device, from first on, and opens it.
func Journal(t testing.TB, dev blockcache.Writable, size block.Size, first block.Number, blocks int) *wal.Journal {
	t.Helper()
	places := make([]block.Number, blocks)
	for i := range places {
		places[i] = first + block.Number(i)
	}
	super := jbd2.NewSuperblock(size, uint32(blocks), [16]byte{1}, jbd2.IncompatRevoke)
	if _, err := dev.WriteAt(super, size.Offset(first)); err != nil {
		t.Fatal(err)
	}
	j, err := wal.OpenJournal(dev, size, places, 1)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
