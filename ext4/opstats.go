package ext4

import (
	"sync/atomic"
	"time"
)

// opKind is the kind of an operation, for statistics.
type opKind uint8

const (
	opCreate opKind = iota
	opRemove
	opRename
	opLink
	opWrite
	opSetattr
	opXattr
	opAllocate
	opEvict
	opAtime
	opQuota // an id gets an entry, or loses it
	opKinds
)

var opNames = [opKinds]string{
	"create",
	"remove",
	"rename",
	"link",
	"write",
	"setattr",
	"xattr",
	"fallocate",
	"evict",
	"atime",
	"quota",
}

// OpStats counts the outcomes of the operations of one kind.
type OpStats struct {
	Name   string        `json:"name"`
	Done   int64         `json:"done"`
	Failed int64         `json:"failed"`
	Merged int64         `json:"merged"`
	Aborts int64         `json:"aborts"`
	Waited time.Duration `json:"waited_ns"`
}

// counters count operations by kind.
type counters [opKinds]struct{ done, failed, merged, aborts, waited atomic.Int64 }

// record counts an operation that ended: done, or failed with an error.
func (c *counters) record(k opKind, out Outcome, err error) {
	if err != nil {
		c[k].failed.Add(1)
	} else {
		c[k].done.Add(1)
	}
	c.lost(k, out)
}

// lost counts what attempts have cost.
func (c *counters) lost(k opKind, out Outcome) {
	if out.Merged {
		c[k].merged.Add(1)
	}
	if out.Aborts > 0 {
		c[k].aborts.Add(int64(out.Aborts))
	}
	if out.Waited > 0 {
		c[k].waited.Add(int64(out.Waited))
	}
}

// Operations counts the operations since the file system was opened, by kind.
func (w *Writable) Operations() []OpStats {
	out := make([]OpStats, opKinds)
	for k := range out {
		c := &w.counts[k]
		out[k] = OpStats{
			opNames[k],
			c.done.Load(),
			c.failed.Load(),
			c.merged.Load(),
			c.aborts.Load(),
			time.Duration(c.waited.Load()),
		}
	}
	return out
}
