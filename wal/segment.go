package wal

import (
	"errors"
	"fmt"
	"syscall"

	"lukechampine.com/blake3"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
)

const (
	minSegment     = 4 << 10
	maxSegment     = maxRecord &^ (segmentUnit - 1)
	segmentUnit    = 4096
	defaultSegment = 4 << 20
)

// segments hands out the places of segments on the device and takes them back. Its methods are called with Log.io
// held.
type segments struct {
	length int64 // bytes a segment
	free   []int // places that no live segment uses
	places int   // on the device
	live   []liveSegment
}

// liveSegment is a segment that recovery would read.
type liveSegment struct {
	number uint64
	place  int
	first  block.Seq // first sequence
	last   block.Seq // last sequence
}

func (s *segments) offset(place int) int64 { return controlArea + int64(place)*s.length }

// take returns a place for a new segment.
func (l *Log) take() (int, error) {
	if err := l.extend(1); err != nil {
		return 0, err
	}
	s := &l.segs
	k := len(s.free)
	place := s.free[k-1]
	s.free = s.free[:k-1]
	return place, nil
}

// extend grows the device until so many places are free, by zeros that are really written: an fdatasync into blocks
// that have their place already is a third faster. A device without room gives ErrNoRoom, and nothing has changed. The
// caller holds io.
func (l *Log) extend(places int) error {
	s := &l.segs
	for len(s.free) < places {
		// Commits were held back long before. A log that is being opened gets its first segment: those that it has are free
		// then.
		if int64(s.places+1)*s.length > l.opts.MaxBytes*4 && len(s.live) > 0 {
			return fmt.Errorf("%w: %d bytes, and the checkpoint does not keep up", ErrFull, int64(s.places)*s.length)
		}
		zeros := make([]byte, min(s.length, 1<<20))
		for at := int64(0); at < s.length; at += int64(len(zeros)) {
			n := min(int64(len(zeros)), s.length-at)
			_, err := l.dev.WriteAt(zeros[:n], s.offset(s.places)+at)
			if errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("%w: %w; make room, and commits go on", ErrNoRoom, err)
			}
			if err != nil {
				return fmt.Errorf("extend the log: %w", err)
			}
		}
		s.free = append([]int{s.places}, s.free...) // taken last
		s.places++
	}
	return nil
}

// places is how many new segments records will begin.
func (l *Log) places(records []byte) (n int) {
	for off := l.tail.off; len(records) > 0; {
		k := recordLength(records)
		if off+int64(k) > l.segs.length-endLength && off > headerSize {
			n, off = n+1, headerSize
			continue
		}
		if off+int64(k) > l.segs.length-endLength {
			return n // too long for any segment: write says so
		}
		off += int64(k)
		records = records[k:]
	}
	return n
}

// tail is the segment that is being written.
type tail struct {
	number uint64
	place  int
	off    int64
	sum    *blake3.Hasher // of the bytes written to it
	digest [32]byte       // of the segment before
}

func (t *tail) position(length int64) position { return position(int64(t.number)*length + t.off) }

// open begins the next segment. The caller holds io.
func (l *Log) open(first block.Seq) error {
	place, err := l.take()
	if err != nil {
		return err
	}
	l.tail.number++
	l.tail.place, l.tail.off = place, 0
	l.tail.sum.Reset()
	h := header{
		incarnation: l.ctl.incarnation,
		number:      l.tail.number,
		first:       first,
		flushed:     l.flushed,
		before:      l.tail.digest,
	}
	l.segs.live = append(l.segs.live, liveSegment{number: l.tail.number, place: place, first: first, last: first - 1})
	return l.put(h.encode())
}

// put writes bytes at the tail. The caller holds io and has seen that they fit.
func (l *Log) put(b []byte) error {
	if mutant.Off(mutant.LogZeros) {
		b = make([]byte, len(b))
	}
	if _, err := l.dev.WriteAt(b, l.segs.offset(l.tail.place)+l.tail.off); err != nil {
		return fmt.Errorf("write to the log: %w", err)
	}
	_, _ = l.tail.sum.Write(b)
	l.tail.off += int64(len(b))
	l.bytes.Add(uint64(len(b)))
	return nil
}

// closeSegment ends the tail with its digest. The caller holds io.
func (l *Log) closeSegment() error {
	l.tail.sum.Sum(l.tail.digest[:0])
	return l.put(appendEnd(nil, l.segs.live[len(l.segs.live)-1].last, l.tail.digest, l.salt))
}

// write puts whole records at the tail, going on to new segments as they fill. The caller holds io.
func (l *Log) write(records []byte) error {
	for len(records) > 0 {
		room := l.segs.length - l.tail.off - endLength
		n, last := 0, block.Seq(0)
		for n < len(records) {
			k := recordLength(records[n:])
			if int64(n+k) > room {
				break
			}
			last = recordSeq(records[n:])
			n += k
		}
		if n > 0 {
			if err := l.put(records[:n]); err != nil {
				return err
			}
			live := &l.segs.live[len(l.segs.live)-1]
			live.last = max(live.last, last)
			records = records[n:]
			continue
		}
		if l.tail.off <= headerSize {
			return fmt.Errorf("%w: a record of %d bytes in segments of %d", ErrTooLarge, recordLength(records), l.segs.length)
		}
		if err := l.closeSegment(); err != nil {
			return err
		}
		first := recordSeq(records)
		if records[7] != byte(typeCommit) {
			first++ // an epoch record comes after the commits that it ends
		}
		if err := l.open(first); err != nil {
			return err
		}
	}
	return nil
}

// Largest is the greatest length in bytes of a record that this log can take.
func (l *Log) Largest() int { return int(l.segs.length) - headerSize - endLength }

// Truncate gives up the segments whose every sequence is at most seq. Their changes are home, and flushed.
func (l *Log) Truncate(seq block.Seq) error {
	l.io.Lock()
	defer l.io.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	k := 0
	for k < len(l.segs.live)-1 && l.segs.live[k].last <= seq {
		k++
	}
	if k == 0 {
		return nil
	}
	first := l.segs.live[k]
	l.ctl.start, l.ctl.startSeq = first.number, first.first
	if err := l.writeControl(); err != nil {
		return l.fail(err)
	}
	for _, s := range l.segs.live[:k] {
		l.segs.free = append(l.segs.free, s.place)
	}
	l.segs.live = append(l.segs.live[:0], l.segs.live[k:]...)
	l.used.Store(int64(len(l.segs.live)) * l.segs.length)
	if len(l.segs.free) >= l.opts.spare(l.segs.length) {
		l.noRoom.Store(nil)
	}
	l.account()
	return nil
}
