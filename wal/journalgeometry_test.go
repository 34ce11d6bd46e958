package wal

import (
	"errors"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// TestOpenJournal_Geometry: a journal whose superblock does not agree with where it lies is refused.
func TestOpenJournal_Geometry(t *testing.T) {
	places := make([]block.Number, 1024)
	for i := range places {
		places[i] = block.Number(i)
	}
	outside := append(places[:1023:1023], 2048)
	for name, c := range map[string]struct {
		size   block.Size
		blocks uint32
		places []block.Number
		good   bool
	}{
		"as it is":          {size, 1024, places, true},
		"no blocks":         {size, 1024, nil, false},
		"too few places":    {size, 1024, places[:1023], false},
		"outside":           {size, 1024, outside, false},
		"another blocksize": {2 * size, 1024, places, false},
	} {
		dev := blockcache.NewRAM(make([]byte, 2048*size))
		if _, err := dev.WriteAt(jbd2.NewSuperblock(c.size, c.blocks, [16]byte{1}, jbd2.IncompatRevoke), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(dev, size, c.places, 1); (err == nil) != c.good ||
			err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
