package blockcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
)

// Overlay is a copy-on-write device: writes go to a sparse file, the base below is only read. Behind the
// base's end it has room of its own, which a journal takes. The file, little-endian:
//
//	0      header, one sector: "varveOVL", version u32, state u32, base size u64, device size u64,
//	       identity of the base (64 bytes), CRC32C
//	4096   map: which blocks of 4,096 bytes are in the file, with checksums (overlayMap); whole blocks
//	...    the blocks, each at its number times 4,096
//
// As any device it may lose writes since the last Sync, by sectors. A block's bit is written after its
// contents are durable: a crash in between leaves the base's contents, as before the write.
type Overlay struct {
	file Writable
	base Device
	head overlayHeader

	mu      yield.RWMutex // guards the rest; held for writing while a block comes into the file
	present overlayMap
	dirty   map[int64]bool // blocks of the map that are newer than the file

	flusher flusher
}

const (
	overlayBlock = 4096
	maxBase      = 1 << 48 // bytes: the map takes 8 bytes of memory for each 127 MiB, holes too
)

// OpenOverlay opens an overlay of a base, and makes it where the file is missing or empty: with extra bytes behind the
// base, and zeros in them. fresh reports that it was made. identity distinguishes bases: an overlay of another base
// is ErrForeign, unless adopt says that it belongs to this base from now on. A file that is no overlay is ErrNoOverlay,
// one whose map is damaged ErrOverlayDamaged. One that another program has open for writing is an error that says so.
func OpenOverlay(path string, base Device, identity [64]byte, extra int64, adopt bool) (o *Overlay, fresh bool,
	err error) {
	d, err := CreateDisk(path, 0)
	if err != nil {
		return nil, false, err
	}
	o, fresh, err = OpenOverlayOn(d, base, identity, extra)
	if adopt && errors.Is(err, ErrForeign) {
		o, err = adoptOverlay(d, base, identity)
	}
	if err != nil {
		d.Close()
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return o, fresh, nil
}

// adoptOverlay opens an overlay over another base of the same size, and has it belong to that durably.
func adoptOverlay(file Writable, base Device, identity [64]byte) (*Overlay, error) {
	o := &Overlay{file: file, base: base, dirty: map[int64]bool{}}
	h, err := readOverlayHeader(file)
	if err != nil {
		return nil, err
	}
	if err := o.load(h.identity); err != nil { // another size stays ErrForeign
		return nil, err
	}
	o.head.identity = identity
	return o, o.writeHead()
}

// OpenOverlayOn is OpenOverlay for a file that is open, and is made an overlay where it is empty. The base is made
// durable first, if it is a Syncer: what the overlay has rests on it.
func OpenOverlayOn(file Writable, base Device, identity [64]byte, extra int64) (o *Overlay, fresh bool, err error) {
	if base.Size() > maxBase {
		return nil, false, fmt.Errorf("the image has %d bytes, and an overlay takes at most %d: "+
			"make it as short as its file system", base.Size(), int64(maxBase))
	}
	if s, ok := base.(Syncer); ok && !mutant.Off(mutant.BaseSync) {
		if err := s.Sync(); err != nil {
			return nil, false, fmt.Errorf("flush the image: %w", err)
		}
	}
	o = &Overlay{file: file, base: base, dirty: map[int64]bool{}}
	if fresh, err = isBlank(file); err != nil || !fresh {
		return o, false, errors.Join(err, o.load(identity))
	}
	size := (base.Size()+overlayBlock-1)/overlayBlock*overlayBlock + extra
	o.head = overlayHeader{baseSize: base.Size(), size: size, identity: identity}
	return o, true, o.create()
}

// place is where a block lies in the file, in bytes.
func (o *Overlay) place(block int64) int64 {
	return overlayBlock + o.present.length() + block*overlayBlock
}

// isBlank reports whether a file is empty, or has at most a header's length of zeros: a crash leaves that of an overlay
// that was being made.
func isBlank(file Writable) (bool, error) {
	if file.Size() > overlayHead {
		return false, nil
	}
	p := make([]byte, file.Size())
	if _, err := file.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return len(bytes.Trim(p, "\x00")) == 0, nil
}

// create writes the header. The map is a hole, or lies behind the file's end.
func (o *Overlay) create() error {
	o.present = newOverlayMap(o.head.size / overlayBlock)
	return o.writeHead()
}

// writeHead writes the header, and makes it durable.
func (o *Overlay) writeHead() error {
	if _, err := o.file.WriteAt(o.head.encode(), 0); err != nil {
		return err
	}
	return o.file.Sync()
}

// load reads the header and the map: ErrForeign where they are not of this base, ErrOverlayDamaged where the map is.
func (o *Overlay) load(identity [64]byte) (err error) {
	if o.head, err = readOverlayHeader(o.file); err != nil {
		return err
	}
	if o.head.baseSize != o.base.Size() || o.head.identity != identity && o.head.state == OverlayOpen {
		return ErrForeign
	}
	o.present = newOverlayMap(o.head.size / overlayBlock)
	return o.present.load(o.file, overlayBlock)
}

// State returns the overlay's state.
func (o *Overlay) State() OverlayState { return o.head.state }

// SetState changes the state, durably when it returns.
func (o *Overlay) SetState(s OverlayState) error {
	o.head.state = s
	return o.writeHead()
}

// Size is the length of the device in bytes: the base, and the room behind it.
func (o *Overlay) Size() int64 { return o.head.size }

// BaseSize is the length of the base in bytes, rounded up to the overlay's blocks: there the room behind it begins.
func (o *Overlay) BaseSize() int64 {
	return (o.head.baseSize + overlayBlock - 1) / overlayBlock * overlayBlock
}

func (o *Overlay) has(block int64) bool { return o.present.has(block) }

// ReadAt follows io.ReaderAt.
func (o *Overlay) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= o.head.size {
		return 0, io.EOF
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	n := int(min(int64(len(p)), o.head.size-offset))
	for done := 0; done < n; {
		block := (offset + int64(done)) / overlayBlock
		mine := o.has(block)
		end := block + 1
		for end*overlayBlock < offset+int64(n) && o.has(end) == mine {
			end++
		}
		k := int(min(end*overlayBlock-offset, int64(n))) - done
		if err := o.readRun(p[done:done+k], offset+int64(done), mine); err != nil {
			return done, err
		}
		done += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readRun reads bytes that all lie in the file (mine), or all in the base and behind it.
func (o *Overlay) readRun(p []byte, offset int64, mine bool) error {
	if mine {
		return readWhole(o.file, p, o.place(0)+offset, "the overlay's file")
	}
	n := max(min(int64(len(p)), o.head.baseSize-offset), 0)
	clear(p[n:]) // behind the base
	if n == 0 {
		return nil
	}
	return readWhole(o.base, p[:n], offset, "the image")
}

// readWhole reads bytes that a device must have. A device that ends before them was cut short: that is an error, and
// neither the end of the overlay nor zeros.
func readWhole(d Device, p []byte, offset int64, what string) error {
	n, err := d.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	if mutant.Off(mutant.CutShort) {
		clear(p[n:])
		return nil
	}
	if named, ok := d.(interface{ Name() string }); ok {
		what += ", " + named.Name() + ","
	}
	return fmt.Errorf("%s was cut short at byte %d: %w; restore it from a copy",
		what, offset+int64(n), io.ErrUnexpectedEOF)
}

// WriteAt follows io.WriterAt.
func (o *Overlay) WriteAt(p []byte, offset int64) (int, error) {
	if offset < 0 || int64(len(p)) > o.head.size-offset {
		return 0, fmt.Errorf("bytes %d to %d are not within the overlay of %d", offset, offset+int64(len(p)), o.head.size)
	}
	first, last := offset/overlayBlock, (offset+int64(len(p))-1)/overlayBlock
	o.mu.RLock()
	all := true
	for b := first; b <= last && all; b++ {
		all = o.has(b)
	}
	if all { // the usual case: nothing of the map changes
		defer o.mu.RUnlock()
		return o.file.WriteAt(p, o.place(0)+offset)
	}
	o.mu.RUnlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.copyUp(p, offset, first, last)
}

// Reserve follows Reserver.
func (o *Overlay) Reserve(offset, n int64) error {
	if n <= 0 {
		return nil
	}
	first, last := offset/overlayBlock/blocksPerPage, (offset+n-1)/overlayBlock/blocksPerPage
	if err := Reserve(o.file, overlayBlock*(1+first), overlayBlock*(last-first+1)); err != nil {
		return err
	}
	return Reserve(o.file, o.place(0)+offset, n)
}

// reserveMap gets room for the map's pages of blocks that come into the file: Sync has to write them.
func (o *Overlay) reserveMap(first, last int64) error {
	for page := first / blocksPerPage; page <= last/blocksPerPage; page++ {
		if o.present.pages[page] != nil {
			continue
		}
		if err := Reserve(o.file, overlayBlock*(1+page), overlayBlock); err != nil {
			return err
		}
	}
	return nil
}

// copyUp writes to blocks some of which are not in the file yet: those get the base's contents around the new bytes.
// The caller holds mu.
func (o *Overlay) copyUp(p []byte, offset, first, last int64) (int, error) {
	if err := o.reserveMap(first, last); err != nil {
		return 0, err
	}
	start := first * overlayBlock
	buf := make([]byte, (last+1)*overlayBlock-start)
	for _, edge := range slices.Compact([]int64{first, last}) {
		part := buf[edge*overlayBlock-start:][:overlayBlock]
		if err := o.readRun(part, edge*overlayBlock, o.has(edge)); err != nil {
			return 0, err
		}
	}
	copy(buf[offset-start:], p)
	if _, err := o.file.WriteAt(buf, o.place(0)+start); err != nil {
		return 0, err
	}
	for b := first; b <= last; b++ {
		o.dirty[o.present.set(b)] = true
	}
	return len(p), nil
}

// Sync follows Writable: contents first, then the bits of blocks that came into the file.
func (o *Overlay) Sync() error {
	if mutant.Off(mutant.OverlaySync) {
		return o.flush()
	}
	return o.flusher.do(o.flush)
}

// flush writes the map's pages that are dirty now. Two at a time would be wrong: the second would find nothing dirty
// and return before the first has written the pages, and an older copy of a page could overwrite a newer one.
func (o *Overlay) flush() error {
	o.mu.Lock()
	dirty := o.dirty
	o.dirty = map[int64]bool{}
	pages := map[int64][]byte{}
	for page := range dirty {
		pages[page] = o.present.encode(page)
	}
	o.mu.Unlock()
	if err := o.file.Sync(); err != nil {
		return err
	}
	if len(pages) == 0 {
		return nil
	}
	for page, b := range pages {
		if _, err := o.file.WriteAt(b, overlayBlock+page*overlayBlock); err != nil {
			return err
		}
	}
	return o.file.Sync()
}

// EachBlock calls do for each block of the base that the overlay has, in ascending order.
func (o *Overlay) EachBlock(do func(offset int64, p []byte) error) error {
	p := make([]byte, overlayBlock)
	for b := int64(0); b*overlayBlock < o.head.baseSize; b++ {
		if !o.has(b) {
			continue
		}
		n := min(overlayBlock, o.head.baseSize-b*overlayBlock)
		if err := readWhole(o.file, p[:n], o.place(b), "the overlay's file"); err != nil {
			return err
		}
		if err := do(b*overlayBlock, p[:n]); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is the number of bytes that EachBlock visits.
func (o *Overlay) Bytes() (n int64) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for b := int64(0); b*overlayBlock < o.head.baseSize; b++ {
		if o.has(b) {
			n += min(overlayBlock, o.head.baseSize-b*overlayBlock)
		}
	}
	return n
}

// Close closes the file, which also unlocks it. It makes nothing durable.
func (o *Overlay) Close() error {
	if c, ok := o.file.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
