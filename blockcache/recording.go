package blockcache

import (
	"slices"
	"sync"
)

// Event is one write or flush that a device was asked for. Data is nil for a flush.
type Event struct {
	Device int // its number within the trace
	Offset int64
	Data   []byte
	Mark   string // a note of the user's instead of a write or flush; not a device's
}

// Flush reports whether the event is a flush.
func (e Event) Flush() bool { return e.Data == nil && e.Mark == "" }

// Sector is what a crash tears a write into, in bytes (docs/guarantees.md).
const Sector = 512

// Apply makes the event's write in an image, which grows as needed, or that of its sectors that keep says. keep may be nil.
func (e Event) Apply(img []byte, keep func(i int) bool) []byte {
	if end := e.Offset + int64(len(e.Data)); end > int64(len(img)) {
		img = append(img, make([]byte, end-int64(len(img)))...)
	}
	for at, i := 0, 0; at < len(e.Data); i++ {
		n := min(len(e.Data)-at, Sector-int((e.Offset+int64(at))%Sector))
		if keep == nil || keep(i) {
			copy(img[e.Offset+int64(at):], e.Data[at:at+n])
		}
		at += n
	}
	return img
}

// Trace is what several devices were asked for, in one order. Crash states are made from it.
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

func (t *Trace) add(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

// Recording notes every write and flush of a device in a trace: a write when it begins, a flush when it has succeeded.
type Recording struct {
	Writable
	trace  *Trace
	number int
}

// Record wraps a device; number tells it from the others of the trace.
func Record(d Writable, t *Trace, number int) *Recording { return &Recording{d, t, number} }

// WriteAt follows io.WriterAt.
func (r *Recording) WriteAt(p []byte, offset int64) (int, error) {
	r.trace.add(Event{Device: r.number, Offset: offset, Data: slices.Clone(p)})
	return r.Writable.WriteAt(p, offset)
}

// Sync follows Writable.
func (r *Recording) Sync() error {
	// Noted at its end: what was written meanwhile by others counts as flushed only by the next one.
	err := r.Writable.Sync()
	if err == nil {
		r.trace.add(Event{Device: r.number})
	}
	return err
}
