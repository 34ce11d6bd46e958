package wal

import (
	"errors"
	"math"

	"github.com/varvefs/varve/internal/mutant"
)

// plan is where the log will be when all that was appended is written, if each commit ends an epoch of its own: the log
// is never beyond it.
type plan struct {
	number uint64 // of a segment
	off    int64  // in it
}

// add places a record behind the others, as write does.
func (p *plan) add(record, segment int64) {
	if p.off+record > segment-endLength {
		p.number, p.off = p.number+1, headerSize
	}
	p.off += record
}

func (p *plan) addCommit(record, segment int64) {
	p.add(record, segment)
	p.add(epochLength, segment)
}

// spare is how many places are kept free beyond what is written now. Commits fill them where the device has no room for
// more: what a checkpoint needs to be durable is written there, and then it gives up the segments before.
func (o Options) spare(segment int64) int {
	return int(min(1+min(int64(o.Gather), maxSpare)/segment, o.MaxBytes/segment))
}

// maxSpare bounds the spare places, in bytes: they are written when a log is made.
const maxSpare = 1 << 20

// Fits reports whether there is a place on the device for a commit's record of so many bytes, behind all that was
// appended, and for the records of epochs. Commits that are appended only then never meet ErrNoRoom. It is for the
// caller of Append: nothing else takes room.
func (l *Log) Fits(record int) bool {
	if int64(record)+epochLength <= l.room.Load() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.plan
	p.addCommit(int64(record), l.segs.length)
	return p.number <= l.limit || mutant.Off(mutant.SpareRoom)
}

// setRoom notes how long a commit may be, with its epoch's record, that fits whatever else is written: Fits then needs
// no lock while the log has places. The caller holds mu.
func (l *Log) setRoom() {
	room := int64(0)
	switch {
	case l.plan.number+2 <= l.limit: // a segment for each of the two records
		room = math.MaxInt64
	case l.plan.number <= l.limit:
		room = l.segs.length - endLength - l.plan.off
	}
	if room != l.room.Load() { // mostly it is the same: the cache line stays shared
		l.room.Store(room)
	}
}

// account brings the plan up to date. The caller holds io, and no record is taken and not written.
func (l *Log) account() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = l.tail.number + uint64(len(l.segs.free))
	l.plan = plan{l.tail.number, l.tail.off}
	l.plan.add(epochLength, l.segs.length)
	for rest := l.pending; len(rest) > 0; {
		n := recordLength(rest)
		l.plan.addCommit(int64(n), l.segs.length)
		rest = rest[n:]
	}
	l.setRoom()
}

// reserve gets so many free places, and the spare ones. If the device lacks room for those alone, the log goes on
// without. The caller holds io.
func (l *Log) reserve(places int) error {
	err := l.extend(places + l.opts.spare(l.segs.length))
	if err == nil {
		l.noRoom.Store(nil)
		return nil
	}
	if errors.Is(err, ErrNoRoom) {
		l.noRoom.Store(&err)
	}
	if (errors.Is(err, ErrNoRoom) || errors.Is(err, ErrFull)) && len(l.segs.free) >= places {
		return nil
	}
	return err
}

// atLeast gets so many free places: a log that has one alone cannot give up its segment before it begins another.
func (l *Log) atLeast(places int) error {
	l.io.Lock()
	defer l.io.Unlock()
	return l.extend(places)
}

// NoRoom is the error of the device that keeps the log from growing now, if any. A checkpoint makes room in it.
func (l *Log) NoRoom() error {
	if p := l.noRoom.Load(); p != nil {
		return *p
	}
	return nil
}

// makeRoom gets the places that records need. Without room on the device it gives ErrNoRoom, which does not end the
// log. The caller holds io.
func (l *Log) makeRoom(records []byte) error {
	err := l.reserve(l.places(records))
	if err != nil && (!errors.Is(err, ErrNoRoom) || mutant.Off(mutant.LogRoom)) {
		return l.fail(err)
	}
	return err
}

// putBack puts records that could not be written before those that came meanwhile. The caller holds io.
func (l *Log) putBack(batch []byte) {
	l.mu.Lock()
	l.pending = append(batch, l.pending...)
	l.gather.Store(int64(len(l.pending)))
	l.mu.Unlock()
	l.account()
}
