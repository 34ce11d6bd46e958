package wal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"lukechampine.com/blake3"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

// Recovery reports the contents of a log that was opened, and what recovery did with them. Nothing is thrown away
// silently.
type Recovery struct {
	Fresh   bool        // there was no log; one was made
	Epochs  int         // whole epochs that were applied
	Commits int         // in them
	Bytes   int64       // written home
	Last    block.Seq   // the sequence that the image is at now
	Epoch   block.Epoch // the epoch that ended last
	Dropped int         // commits after the last whole epoch: none was reported durable
}

// Open recovers the image behind home from the log on dev (W5), and begins a new incarnation of the log. An empty
// device, or one of zeros, becomes a new log. The log does not own the devices.
//
// Errors: ErrForeign, ErrNewer, ErrCorrupt, and those of the devices; the image and the log are then as they were.
func Open(dev, home blockcache.Writable, size block.Size, o Options) (*Log, Recovery, error) {
	o, err := o.defaults()
	if err != nil {
		return nil, Recovery{}, err
	}
	ctl, err := readControl(dev)
	if errors.Is(err, errNoControl) {
		return create(dev, home, size, o)
	}
	if err != nil {
		return nil, Recovery{}, err
	}
	if err := belongs(ctl, home, size, o.Identity); err != nil {
		return nil, Recovery{}, err
	}
	s := &scanner{dev: dev, ctl: ctl, salt: saltOf(ctl.incarnation), places: map[uint64]int{}, short: -1}
	if err := s.survey(); err != nil {
		return nil, Recovery{}, err
	}
	rec, err := s.recover(home, size)
	if err != nil {
		return nil, Recovery{}, err
	}
	ctl.incarnation++
	ctl.epoch = rec.Epoch
	l := newLog(dev, home, ctl, o)
	l.epoch, l.first = rec.Epoch, rec.Epoch
	l.segs.places = s.count
	for p := s.count - 1; p >= 0; p-- {
		l.segs.free = append(l.segs.free, p)
	}
	// Until the new control block is durable a crash runs the old recovery again: the segments that it reads stay.
	l.segs.free = s.unused(l.segs.free)
	if err := s.complete(); err != nil {
		return nil, Recovery{}, err
	}
	if err := l.freeRecovered(s, rec); err != nil {
		return nil, Recovery{}, err
	}
	if err := l.begin(max(s.highest, ctl.start)+1, rec.Last+1); err != nil {
		return nil, Recovery{}, err
	}
	l.io.Lock()
	defer l.io.Unlock()
	l.segs.free = append(l.segs.free, s.used()...)
	l.account()
	return l, rec, nil
}

// freeRecovered frees places where none is unused and the device has no room for another one. All that was recovered is
// home, and flushed: a recovery that began in the segment in which the log ends would give the same.
func (l *Log) freeRecovered(s *scanner, rec Recovery) error {
	l.io.Lock()
	defer l.io.Unlock()
	err := l.extend(1)
	if !errors.Is(err, ErrNoRoom) || mutant.Off(mutant.SpareRoom) {
		return err
	}
	last := s.ctl
	last.start, last.startSeq = s.ended, s.heads[s.ended].first
	last.generation++
	last.epoch, last.flushed = rec.Epoch, 0
	if _, err := l.dev.WriteAt(last.encode(), int64(last.generation%2)*controlSize); err != nil {
		return fmt.Errorf("write the control block of the log: %w", err)
	}
	if err := l.dev.Sync(); err != nil {
		return fmt.Errorf("flush the log: %w", err)
	}
	l.ctl.generation = last.generation
	s.places = map[uint64]int{s.ended: s.places[s.ended]}
	for p := range s.count {
		if !s.isUsed(p) && p != s.short {
			l.segs.free = append(l.segs.free, p)
		}
	}
	return nil
}

func belongs(ctl control, home blockcache.Writable, size block.Size, id Identity) error {
	switch {
	case ctl.size != size:
		return fmt.Errorf("%w: its blocks have %d bytes, the image's %d", ErrForeign, ctl.size, size)
	case ctl.image != uint64(home.Size()):
		return fmt.Errorf("%w: its image has %d bytes, this one %d", ErrForeign, ctl.image, home.Size())
	case ctl.identity != id:
		return fmt.Errorf("%w: its image is %x, this one %x; open the image with its own log", ErrForeign, ctl.identity, id)
	}
	return nil
}

func create(dev, home blockcache.Writable, size block.Size, o Options) (*Log, Recovery, error) {
	ctl := control{
		size:        size,
		identity:    o.Identity,
		incarnation: 1,
		segment:     uint64(o.SegmentSize),
		image:       uint64(home.Size()),
	}
	if err := checkUnused(dev); err != nil {
		return nil, Recovery{}, err
	}
	l := newLog(dev, home, ctl, o)
	if err := l.atLeast(2); err != nil {
		return nil, Recovery{}, fmt.Errorf("make a log: %w", err)
	}
	if err := l.begin(1, 1); err != nil {
		return nil, Recovery{}, fmt.Errorf("make a log: %w", err)
	}
	return l, Recovery{Fresh: true}, nil
}

// checkUnused refuses a device without control blocks that has commits: a crash of the first opening leaves a bare
// header at most.
func checkUnused(dev blockcache.Writable) error {
	b := make([]byte, headerSize)
	if _, err := readFull(dev, b, controlArea); err != nil {
		return fmt.Errorf("read the log at byte %d: %w", controlArea, err)
	}
	h, ok := decodeHeader(b)
	if !ok {
		return nil
	}
	written, err := beginsWithRecord(dev, h, controlArea, maxSegment)
	if err == nil && written {
		err = fmt.Errorf("%w: both control blocks are zeros, and segment %d has commits; nothing was changed",
			ErrCorrupt, h.number)
	}
	return err
}

// readControl reads the control block that counts. If there are only zeros it returns errNoControl.
func readControl(dev blockcache.Writable) (control, error) {
	var best control
	found, empty := false, true
	for slot := range int64(2) {
		b := make([]byte, headerSize)
		if _, err := readFull(dev, b, slot*controlSize); err != nil {
			return control{}, fmt.Errorf("read the control block of the log: %w", err)
		}
		c, err := decodeControl(b)
		switch {
		case err == nil && (!found || c.generation > best.generation):
			best, found = c, true
		case err != nil && !errors.Is(err, errNoControl):
			return control{}, err
		}
		empty = empty && bytes.Count(b, []byte{0}) == len(b)
	}
	switch {
	case found:
		return best, nil
	case empty:
		return control{}, errNoControl
	}
	return control{}, fmt.Errorf(
		"%w: neither control block is whole, or this is no log of varve; nothing was changed",
		ErrCorrupt,
	)
}

// end is where the log ends: after the last whole epoch.
type end struct {
	segment uint64
	off     int // in the segment
	rec     Recovery
	fresh   map[block.Number]block.Seq // the last commit that made a block fresh
}

// recover applies the whole epochs (W5): a first pass finds where they end, a second one writes them home. Before that
// the log is flushed: it may have been read from the page cache of a machine whose writing process has ended.
func (s *scanner) recover(home blockcache.Writable, size block.Size) (Recovery, error) {
	e, err := s.findEnd()
	if err != nil {
		return Recovery{}, err
	}
	if e.rec.Commits > 0 && !mutant.Off(mutant.RecoveryFlush) {
		if err := s.dev.Sync(); err != nil {
			return Recovery{}, fmt.Errorf("flush the log: %w", err)
		}
	}
	a := &applier{home: home, size: size, blocks: map[block.Number][]byte{}, fresh: e.fresh}
	err = s.walk(func(number uint64, off int, r record) error {
		if number > e.segment || number == e.segment && off >= e.off {
			return errStop
		}
		if r.kind != typeCommit {
			return nil
		}
		return a.commit(r)
	})
	if err == nil {
		err = a.flush()
	}
	if err != nil {
		return Recovery{}, err
	}
	if err := home.Sync(); err != nil {
		return Recovery{}, fmt.Errorf("flush the image: %w", err)
	}
	e.rec.Bytes = a.bytes
	s.ended = e.segment
	return e.rec, nil
}

var errStop = errors.New("stop")

// walk calls do for each record from the start to the first that is missing. A position that was flushed before
// something later was written cannot have been lost in a crash: then the log is damaged.
func (s *scanner) walk(do func(number uint64, off int, r record) error) error {
	seq := s.ctl.startSeq
	seg := make([]byte, s.ctl.segment)
	var before [32]byte // digest of the segment before
	for number := s.ctl.start; ; number++ {
		place, ok := s.places[number]
		if !ok {
			return s.explain(number, 0)
		}
		if number > s.ctl.start && s.heads[number].before != before && !mutant.Off(mutant.ForeignEnd) {
			return fmt.Errorf(
				"%w: segment %d follows one with another digest than segment %d has; nothing was changed; restore the log, "+
					"or take it away to open the image without its last commits",
				ErrCorrupt,
				number,
				number-1,
			)
		}
		if _, err := readFull(s.dev, seg, s.offset(place)); err != nil {
			return fmt.Errorf("read segment %d of the log: %w", number, err)
		}
		ended, err := s.walkSegment(number, seg, &seq, &before, do)
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil || !ended {
			return err
		}
	}
}

// walkSegment walks one segment. ended: the log goes on in the next one.
func (s *scanner) walkSegment(number uint64, seg []byte, seq *block.Seq, digest *[32]byte,
	do func(uint64, int, record) error) (ended bool, err error) {
	for off := headerSize; ; {
		r, err := decodeRecord(seg[min(off, len(seg)):], s.salt)
		if err == nil && (!inOrder(r, *seq) || r.kind == typeEnd && !matchesDigest(r, seg[:off])) {
			if r.kind == typeEnd && mutant.Off(mutant.StaleEnd) {
				return false, s.damaged(number, off)
			}
			err = errNoRecord // of the place's former life: a segment is recycled as it is
		}
		if err != nil {
			if mutant.Off(mutant.W5) && off+recordHeader < len(seg) && recordLength(seg[off:]) >= recordHeader {
				off += recordLength(seg[off:])
				*seq++
				continue
			}
			return false, s.explain(number, off)
		}
		if r.kind == typeEnd {
			*digest = [32]byte(r.body)
			return true, nil
		}
		if r.kind == typeCommit {
			*seq = r.seq + 1
		}
		if err := do(number, off, r); err != nil {
			return false, err
		}
		off += r.length
	}
}

// inOrder checks a record's sequence (W7): a missing one ends the log.
func inOrder(r record, next block.Seq) bool {
	if r.kind == typeCommit {
		return r.seq == next || mutant.Off(mutant.W5)
	}
	return r.seq == next-1
}

// matchesDigest reports whether an end record has the digest of the contents before it.
func matchesDigest(r record, contents []byte) bool {
	sum := blake3.Sum256(contents)
	return bytes.Equal(sum[:], r.body)
}

// findEnd finds the end of the last whole epoch.
func (s *scanner) findEnd() (end, error) {
	e := end{segment: s.ctl.start, off: headerSize, rec: Recovery{Last: s.ctl.startSeq - 1, Epoch: s.ctl.epoch},
		fresh: map[block.Number]block.Seq{}}
	later := map[block.Number]block.Seq{} // of the epoch that is not whole yet
	open := 0
	err := s.walk(func(number uint64, off int, r record) error {
		if r.kind == typeCommit {
			open++
			if err := s.checkCommit(r, later); err != nil {
				return err
			}
		}
		if r.kind == typeEpoch || mutant.Off(mutant.W5) {
			e.segment, e.off = number, off+r.length
			e.rec.Last = r.seq
			e.rec.Commits += open
			open = 0
			maps.Copy(e.fresh, later)
			clear(later)
		}
		if r.kind == typeEpoch {
			e.rec.Epochs++
			e.rec.Epoch, _ = r.epoch()
			if _, flushed := r.epoch(); max(uint64(e.rec.Epoch), uint64(flushed)) > maxCount {
				return fmt.Errorf("%w: segment %d, byte %d: epoch %d, flushed up to %d",
					ErrCorrupt, number, off, e.rec.Epoch, flushed)
			}
		}
		return nil
	})
	e.rec.Dropped = open
	return e, err
}

// checkCommit checks a commit's form before anything is written home, and notes the blocks that it makes fresh. Its
// checksum was right, so that a malformed one is no crash's work.
func (s *scanner) checkCommit(r record, fresh map[block.Number]block.Seq) error {
	blocks, outside := block.Number(s.ctl.image/uint64(s.ctl.size)), false
	ok := r.changes(s.ctl.size, func(n block.Number, _ uint32, data []byte) {
		switch {
		case n >= blocks:
			outside = true
		case data == nil:
			fresh[n] = r.seq
		}
	})
	if !ok || outside {
		return fmt.Errorf("%w: commit %d is malformed, or changes blocks that the image does not have", ErrCorrupt, r.seq)
	}
	return nil
}

// explain decides whether a crash can have left the log without a record at this place. It cannot where something was
// written later that says the log was flushed beyond it.
func (s *scanner) explain(number uint64, off int) error {
	at := position(number*s.ctl.segment + uint64(off))
	if s.ctl.flushed > at {
		return s.damaged(number, off)
	}
	for n, h := range s.heads {
		if n > number && h.flushed > at {
			return s.damaged(number, off)
		}
	}
	numbers := map[int]uint64{}
	for n, place := range s.places {
		numbers[place] = n
	}
	seg := make([]byte, s.ctl.segment)
	for place := range s.count { // also where there is no header: it may be what is damaged
		n, known := numbers[place]
		if known && n < number {
			continue
		}
		if _, err := readFull(s.dev, seg, s.offset(place)); err != nil {
			return fmt.Errorf("read the log at byte %d: %w", s.offset(place), err)
		}
		from := headerSize
		if known && n == number {
			from = max(off, headerSize)
		}
		if s.laterEpoch(seg, from, at) {
			return s.damaged(number, off)
		}
	}
	return nil
}

func (s *scanner) damaged(number uint64, off int) error {
	return fmt.Errorf("%w: segment %d has no whole record at byte %d, though the log was flushed beyond it and goes on; "+
		"nothing was changed; restore the log, or take it away to open the image without its last commits",
		ErrCorrupt, number, off)
}

// laterEpoch looks for an epoch record which says that the log was flushed beyond a position.
func (s *scanner) laterEpoch(seg []byte, from int, at position) bool {
	for i := from; i < len(seg); {
		k := bytes.Index(seg[i:], []byte(epochMagic))
		if k < 0 {
			return false
		}
		i += k
		if start := i - recordHeader; start >= 0 {
			if r, err := decodeRecord(seg[start:], s.salt); err == nil && r.kind == typeEpoch {
				if _, flushed := r.epoch(); flushed > at {
					return true
				}
			}
		}
		i += len(epochMagic)
	}
	return false
}
