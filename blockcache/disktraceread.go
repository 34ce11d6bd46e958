//go:build testhooks

package blockcache

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// TracedEvent is an Event of a disk trace, and where its record ends in the trace. A test that notes the length of the
// trace when it sends something to the process finds there what the process had done before.
type TracedEvent struct {
	Event
	End int64
}

// ReadDiskTrace decodes the trace of a process that may have been killed: a record that is not whole ends it. Events
// have the meaning that Recording gives them: a write stands where it began, and a flush where it ended, with the
// writes that it does not cover.
func ReadDiskTrace(b []byte) (out []TracedEvent, err error) {
	flushes := map[uint64][]int{} // places of the writes that were open when it began
	open := map[uint64]int{}
	for at := int64(0); at+traceHead <= int64(len(b)); {
		h := b[at:]
		kind, disk, id := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint64(h[8:])
		off, n := int64(binary.LittleEndian.Uint64(h[16:])), int64(binary.LittleEndian.Uint64(h[24:]))
		end := at + traceHead + n
		if n < 0 || end > int64(len(b)) {
			break
		}
		e := Event{Device: int(disk), Offset: off, id: len(out)}
		switch kind {
		case traceWriteBegins:
			e.Data = b[at+traceHead : end : end]
			open[id] = e.id
			for f := range flushes {
				flushes[f] = append(flushes[f], e.id)
			}
			out = append(out, TracedEvent{e, end})
		case traceWriteEnds:
			delete(open, id)
		case traceFlushBegins:
			missed := []int{}
			for _, place := range open {
				missed = append(missed, place)
			}
			flushes[id] = missed
		case traceFlushEnds:
			e.missed = slices.Sorted(slices.Values(flushes[id]))
			delete(flushes, id)
			out = append(out, TracedEvent{e, end})
		default:
			return nil, fmt.Errorf("byte %d of the trace: a record of kind %d", at, kind)
		}
		at = end
	}
	return out, nil
}
