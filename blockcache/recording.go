package blockcache

import (
	"slices"
	"sync"

	"github.com/varvefs/varve/internal/mutant"
)

// Event is one write or flush that a device was asked for. Data is nil for a flush.
type Event struct {
	Device int // its number within the trace
	Offset int64
	Data   []byte
	Mark   string // a note of the user's instead of a write or flush; not a device's

	id     int   // its place in the trace
	missed []int // of a flush: places of earlier writes of its device that it does not make durable, ascending
}

// Flush reports whether the event is a flush.
func (e Event) Flush() bool { return e.Data == nil && e.Mark == "" }

// Covers reports whether a flush made a write durable that stands before it in the trace: one that had returned before
// the flush began. A write that met the flush may be on the medium, or not, as if there had been no flush.
func (e Event) Covers(w Event) bool {
	if !e.Flush() || w.Device != e.Device || w.id >= e.id {
		return false
	}
	_, missed := slices.BinarySearch(e.missed, w.id)
	return !missed
}

// Sector is the unit, in bytes, into which a crash tears a write (docs/guarantees.md).
const Sector = 512

// Pieces gives the parts of a write that a crash keeps or loses as one: its sector i, and where that begins.
func (e Event) Pieces(do func(i int, offset int64, data []byte)) {
	for at, i := 0, 0; at < len(e.Data); i++ {
		n := min(len(e.Data)-at, Sector-int((e.Offset+int64(at))%Sector))
		do(i, e.Offset+int64(at), e.Data[at:at+n])
		at += n
	}
}

// Apply makes the event's write in an image, which grows as needed, or that of its sectors that keep says. keep may be
// nil.
func (e Event) Apply(img []byte, keep func(i int) bool) []byte {
	if end := e.Offset + int64(len(e.Data)); end > int64(len(img)) {
		img = append(img, make([]byte, end-int64(len(img)))...)
	}
	e.Pieces(func(i int, offset int64, data []byte) {
		if keep == nil || keep(i) {
			copy(img[offset:], data)
		}
	})
	return img
}

// Trace records the requests to several devices, in one order. Crash states are made from it.
type Trace struct {
	mu     sync.Mutex
	events []Event // guarded by mu
}

// Events is the trace so far.
func (t *Trace) Events() []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events)
}

// Note puts a note of the user's into the trace, such as a promise that was given.
func (t *Trace) Note(mark string) { t.add(Event{Mark: mark}) }

// add appends an event, and returns its place.
func (t *Trace) add(e Event) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.id = len(t.events)
	t.events = append(t.events, e)
	return e.id
}

// Recording notes every write and flush of a device in a trace: a write where it begins, a flush where it has
// succeeded, with the writes that it does not cover because they had not returned when it began.
type Recording struct {
	Writable
	trace  *Trace
	number int

	mu   sync.Mutex
	open []int // guarded by mu: places of the writes that have not returned
	late []int // guarded by mu: places of the writes that began after the oldest flush that has not returned
	busy int   // guarded by mu: flushes that have not returned
}

// Record wraps a device; number distinguishes it from the others of the trace.
func Record(d Writable, t *Trace, number int) *Recording {
	return &Recording{Writable: d, trace: t, number: number}
}

// WriteAt follows io.WriterAt.
func (r *Recording) WriteAt(p []byte, offset int64) (int, error) {
	r.mu.Lock()
	id := r.trace.add(Event{Device: r.number, Offset: offset, Data: slices.Clone(p)})
	r.open = append(r.open, id)
	if r.busy > 0 {
		r.late = append(r.late, id)
	}
	r.mu.Unlock()
	defer r.returned(id)
	return r.Writable.WriteAt(p, offset)
}

func (r *Recording) returned(id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = slices.DeleteFunc(r.open, func(o int) bool { return o == id })
}

// Sync follows Writable.
func (r *Recording) Sync() error {
	r.mu.Lock()
	r.busy++
	open, late := slices.Clone(r.open), len(r.late)
	r.mu.Unlock()
	err := r.Writable.Sync()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		missed := append(open, r.late[late:]...)
		slices.Sort(missed)
		if mutant.Off(mutant.RecorderLate) {
			missed = nil
		}
		r.trace.add(Event{Device: r.number, missed: missed})
	}
	if r.busy--; r.busy == 0 {
		r.late = nil
	}
	return err
}
