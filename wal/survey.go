package wal

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/mutant"
)

// scanner reads the log of one incarnation.
type scanner struct {
	dev     blockcache.Writable
	ctl     control
	salt    salt
	places  map[uint64]int // by segment number: where the segments of this incarnation lie
	heads   map[uint64]header
	count   int    // places on the device
	short   int    // the last place, if the device ends within it; else -1
	highest uint64 // segment number in any incarnation
	ended   uint64 // segment in which the last whole epoch ends
}

// offset is where a place begins on the device, in bytes.
func (s *scanner) offset(place int) int64 { return controlArea + int64(place)*int64(s.ctl.segment) }

// survey finds the segments of the incarnation by reading the header at each place. ErrCorrupt: see checkNewer and
// checkStart.
func (s *scanner) survey() error {
	s.heads = map[uint64]header{}
	whole := int((s.dev.Size() - controlArea) / int64(s.ctl.segment))
	s.count = whole
	if s.offset(whole) < s.dev.Size() { // the device grew, and a crash took the zeros at its end
		s.count++
		s.short = whole
	}
	b := make([]byte, headerSize)
	for p := range s.count {
		if _, err := readFull(s.dev, b, s.offset(p)); err != nil {
			return fmt.Errorf("read segment %d of the log: %w", p, err)
		}
		h, ok := decodeHeader(b)
		if !ok {
			continue
		}
		if !h.plausible(s.ctl.segment) {
			return fmt.Errorf("%w: the header at byte %d has numbers that no log has: %+v", ErrCorrupt, s.offset(p), h)
		}
		if err := s.checkNewer(h, p); err != nil {
			return err
		}
		s.highest = max(s.highest, h.number)
		if h.incarnation == s.ctl.incarnation && h.number >= s.ctl.start {
			s.places[h.number], s.heads[h.number] = p, h
		}
	}
	if s.short >= 0 && !s.isUsed(s.short) {
		s.count, s.short = whole, -1
	}
	return s.checkStart()
}

// complete makes the last place as long as the others. If the device has no room for that, it is not used again.
func (s *scanner) complete() error {
	if s.short < 0 {
		return nil
	}
	from, to := s.dev.Size(), s.offset(s.short+1)
	_, err := s.dev.WriteAt(make([]byte, to-from), from)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return nil
	case err != nil:
		return fmt.Errorf("grow the log to %d bytes: %w", to, err)
	}
	s.short = -1
	return nil
}

// checkNewer refuses a log with commits of a newer incarnation than the control block that counts. An opening begins a
// segment, and no commit comes before its control block is durable: a crash leaves a bare header at most. So the newer
// control block was there, and is damaged: to go on with the older one would write old contents over newer homes.
func (s *scanner) checkNewer(h header, place int) error {
	if h.incarnation <= s.ctl.incarnation || mutant.Off(mutant.RottedSlot) {
		return nil
	}
	bare := h.incarnation == s.ctl.incarnation+1 && h.flushed == 0
	if bare {
		written, err := beginsWithRecord(s.dev, h, s.offset(place), int64(s.ctl.segment))
		if err != nil {
			return err
		}
		bare = !written
	}
	if bare {
		return nil
	}
	return fmt.Errorf("%w: a control block is damaged: incarnation %d counts, "+
		"and segment %d has commits of incarnation %d; nothing was changed; restore the log, or take it away to open "+
		"the image without its last commits",
		ErrCorrupt, s.ctl.incarnation, h.number, h.incarnation)
}

// beginsWithRecord reports whether a whole record follows the header of the segment at a byte of the device.
func beginsWithRecord(dev blockcache.Writable, h header, at, segment int64) (bool, error) {
	seg := make([]byte, segment-headerSize)
	n, err := readFull(dev, seg, at+headerSize)
	if err != nil {
		return false, fmt.Errorf("read the log at byte %d: %w", at, err)
	}
	_, err = decodeRecord(seg[:n], saltOf(h.incarnation))
	return err == nil, nil
}

// checkStart refuses a log without the segment that its control block begins with: that was durable before the control
// block, and is used again only after the next one is durable.
func (s *scanner) checkStart() error {
	h, ok := s.heads[s.ctl.start]
	if ok && h.first == s.ctl.startSeq {
		return nil
	}
	return fmt.Errorf("%w: segment %d, which begins with commit %d, is not there, though the control block names it; "+
		"nothing was changed; restore the log, or take it away to open the image without its last commits",
		ErrCorrupt, s.ctl.start, s.ctl.startSeq)
}

// unused are those of the places that hold no segment which recovery reads.
func (s *scanner) unused(places []int) (out []int) {
	for _, p := range places {
		if !s.isUsed(p) {
			out = append(out, p)
		}
	}
	return out
}

// used are the places whose segments recovery reads, but for one that the device has only a part of.
func (s *scanner) used() (out []int) {
	for p := range s.count {
		if s.isUsed(p) && p != s.short {
			out = append(out, p)
		}
	}
	return out
}

func (s *scanner) isUsed(place int) bool {
	for _, p := range s.places {
		if p == place {
			return true
		}
	}
	return false
}
