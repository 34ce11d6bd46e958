package blockcache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varvefs/varve/internal/mutant"
)

// overlayMap says which blocks an overlay has: a bit a block, in pages of 4,096 bytes, of eight sectors each. A
// sector, little-endian:
//
//	0    bits of 4,064 blocks, the lowest bit of the first byte first
//	508  CRC32C of the sector's number (u64) and the 508 bytes before
//
// A sector of zeros has no block and no checksum: a hole of the file. A crash tears no sector, so a sector whose
// checksum is wrong is damage.
type overlayMap struct {
	pages [][]byte // in the file's form, without the checksums; nil where no block of the page is there
}

const (
	mapSectors      = overlayBlock / Sector
	mapBytes        = Sector - 4
	blocksPerSector = 8 * mapBytes
	blocksPerPage   = mapSectors * blocksPerSector
)

// newOverlayMap is an empty map for a device of so many blocks.
func newOverlayMap(blocks int64) overlayMap {
	return overlayMap{pages: make([][]byte, (blocks+blocksPerPage-1)/blocksPerPage)}
}

// length is the map's length in the file, in bytes.
func (m overlayMap) length() int64 { return int64(len(m.pages)) * overlayBlock }

// mapBit is where a block's bit lies in its page.
func mapBit(block int64) (page int64, at int, mask byte) {
	page, block = block/blocksPerPage, block%blocksPerPage
	sector, bit := block/blocksPerSector, block%blocksPerSector
	return page, int(sector*Sector + bit/8), 1 << (bit % 8)
}

func (m overlayMap) has(block int64) bool {
	page, at, mask := mapBit(block)
	p := m.pages[page]
	return p != nil && p[at]&mask != 0
}

// set notes that a block is there, and returns its page.
func (m overlayMap) set(block int64) (page int64) {
	page, at, mask := mapBit(block)
	if m.pages[page] == nil {
		m.pages[page] = make([]byte, overlayBlock)
	}
	m.pages[page][at] |= mask
	return page
}

// load reads the map, which begins at an offset of a file that may end within it.
func (m overlayMap) load(file io.ReaderAt, offset int64) error {
	const batch = 256
	buf := make([]byte, min(batch, len(m.pages))*overlayBlock)
	for first := 0; first < len(m.pages); first += batch {
		k := min(batch, len(m.pages)-first)
		n, err := file.ReadAt(buf[:k*overlayBlock], offset+int64(first)*overlayBlock)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(buf[n:])
		for i := range k {
			if err := m.loadPage(first+i, buf[i*overlayBlock:][:overlayBlock], offset); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadPage takes a page as it is in the file.
func (m overlayMap) loadPage(page int, p []byte, offset int64) error {
	for i := range mapSectors {
		sector, number := p[i*Sector:][:Sector], uint64(page*mapSectors+i)
		if isZero(sector) {
			continue
		}
		if binary.LittleEndian.Uint32(sector[mapBytes:]) != mapSum(number, sector) && !mutant.Off(mutant.MapChecksum) {
			return fmt.Errorf("%w: the map's sector %d, at byte %d, has a wrong checksum: which blocks the overlay has is "+
				"not known; restore the file from a copy", ErrOverlayDamaged, number, offset+int64(number)*Sector)
		}
		if m.pages[page] == nil {
			m.pages[page] = make([]byte, overlayBlock)
		}
		copy(m.pages[page][i*Sector:], sector[:mapBytes])
	}
	return nil
}

// encode is a page as it goes into the file.
func (m overlayMap) encode(page int64) []byte {
	p := append([]byte(nil), m.pages[page]...)
	for i := range mapSectors {
		if sector := p[i*Sector:][:Sector]; !isZero(sector) {
			binary.LittleEndian.PutUint32(sector[mapBytes:], mapSum(uint64(page)*mapSectors+uint64(i), sector))
		}
	}
	return p
}

// mapSum is the checksum of a sector of the map.
func mapSum(number uint64, sector []byte) uint32 {
	sum := crc32.Checksum(binary.LittleEndian.AppendUint64(nil, number), overlayTable)
	return crc32.Update(sum, overlayTable, sector[:mapBytes])
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
