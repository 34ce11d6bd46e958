//go:build testhooks

package blockcache

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
)

// traced says that a Disk's writes and flushes go into the file that DiskTraceEnv names, if it does.
const traced = true

// DiskTraceEnv names the environment variable that has the trace's path. ReadDiskTrace decodes the trace.
const DiskTraceEnv = "VARVE_DISK_TRACE"

// diskTrace is the trace of this process: a record where each write and flush begins, and one where it has ended.
// Records are little-endian:
//
//	0   u32  kind: 1 a write begins, 2 it ends, 3 a flush begins, 4 it ends well
//	4   u32  number of the disk
//	8   u64  number of the write or flush
//	16  u64  offset
//	24  u64  length; a write's bytes follow
type diskTrace struct {
	once sync.Once
	mu   sync.Mutex
	file *os.File
	last atomic.Uint64
}

const traceHead = 32 // bytes

// Kinds of records.
const (
	traceWriteBegins = 1 + iota
	traceWriteEnds
	traceFlushBegins
	traceFlushEnds
)

var theTrace diskTrace

var (
	lastDisk atomic.Uint32 // the number that was given out last
	numbers  sync.Map      // of disks, by *Disk
)

// record appends a record, in one write: the process may be killed.
func (t *diskTrace) record(kind, disk uint32, id uint64, off int64, p []byte) {
	t.once.Do(func() {
		if path := os.Getenv(DiskTraceEnv); path != "" {
			t.file, _ = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		}
	})
	if t.file == nil {
		return
	}
	b := make([]byte, traceHead, traceHead+len(p))
	binary.LittleEndian.PutUint32(b, kind)
	binary.LittleEndian.PutUint32(b[4:], disk)
	binary.LittleEndian.PutUint64(b[8:], id)
	binary.LittleEndian.PutUint64(b[16:], uint64(off))
	binary.LittleEndian.PutUint64(b[24:], uint64(len(p)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.file.Write(append(b, p...)); err != nil {
		panic("the disk trace cannot be written: " + err.Error())
	}
}

// traceWrite notes that a write begins; the function that it returns, that it has ended.
func (d *Disk) traceWrite(p []byte, off int64) (ended func()) {
	id := theTrace.last.Add(1)
	theTrace.record(traceWriteBegins, d.number(), id, off, p)
	return func() { theTrace.record(traceWriteEnds, d.number(), id, 0, nil) }
}

// traceFlush notes that a flush begins; the function that it returns, that it has ended well.
func (d *Disk) traceFlush() (ended func()) {
	id := theTrace.last.Add(1)
	theTrace.record(traceFlushBegins, d.number(), id, 0, nil)
	return func() { theTrace.record(traceFlushEnds, d.number(), id, 0, nil) }
}

// number is the disk's number in the trace.
func (d *Disk) number() uint32 {
	n, ok := numbers.Load(d)
	if !ok {
		n, _ = numbers.LoadOrStore(d, lastDisk.Add(1))
	}
	return n.(uint32)
}
