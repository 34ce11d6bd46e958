package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
)

// rotForm is a log with its home, and what was acknowledged as durable.
type rotForm struct {
	*fixture
	log  *Log
	want [16]uint64
}

// commit writes n durable commits, and checkpoints after the last of them where home says so.
func (r *rotForm) commit(t *testing.T, n int, home bool) {
	t.Helper()
	for range n {
		v := uint64(r.seq) + 1000
		at := block.Number(r.seq % 16)
		r.put(r.log, at, v)
		mustSync(t, r.log)
		r.want[at] = v
	}
	if !home {
		return
	}
	for i, v := range r.want {
		if _, err := r.home.WriteAt(binary.LittleEndian.AppendUint64(nil, v), size.Offset(block.Number(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.log.Truncate(r.seq); err != nil {
		t.Fatal(err)
	}
}

func (r *rotForm) reopen(t *testing.T) {
	t.Helper()
	if r.log != nil {
		if err := r.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r.log, _ = r.open(t)
}

// rotForms are logs as stores leave them. The last checkpoint, or the end, says how far each was flushed.
var rotForms = map[string]func(t *testing.T, r *rotForm){
	"new":        func(t *testing.T, r *rotForm) { r.commit(t, 120, false) },
	"one commit": func(t *testing.T, r *rotForm) { r.commit(t, 1, false) },
	"reopened":   func(t *testing.T, r *rotForm) { r.commit(t, 120, false); r.reopen(t); r.commit(t, 40, false) },
	"bare":       func(t *testing.T, r *rotForm) { r.commit(t, 60, false); r.reopen(t) },
	"recycled": func(t *testing.T, r *rotForm) {
		for range 6 {
			r.commit(t, 70, true)
		}
		r.commit(t, 5, false)
	},
	"reopened often": func(t *testing.T, r *rotForm) {
		for range 5 {
			r.commit(t, 60, true)
			r.commit(t, 3, false)
			r.reopen(t)
		}
		r.commit(t, 3, true)
	},
}

// rot opens a log with one bit flipped. It returns why the result is neither what was acknowledged nor a refusal by
// name.
func (r *rotForm) rot(log, home []byte, at int, bit byte) string {
	b := bytes.Clone(log)
	b[at] ^= bit
	again := &fixture{dev: blockcache.NewRAM(b), home: blockcache.NewRAM(bytes.Clone(home)), opts: r.opts}
	l, rec, err := Open(again.dev, again.home, size, again.opts)
	switch {
	case errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) || errors.Is(err, ErrForeign):
		return ""
	case err != nil:
		return fmt.Sprintf("byte %d: opened with %v", at, err)
	}
	l.Abandon()
	for i, v := range r.want {
		if got := again.at(block.Number(i)); got != v {
			return fmt.Sprintf("byte %d: block %d has %d, and %d was acknowledged", at, i, got, v)
		}
	}
	if rec.Last != r.seq {
		return fmt.Sprintf("byte %d: recovered to commit %d, and %d was acknowledged", at, rec.Last, r.seq)
	}
	return ""
}

// TestOpen_Rot: a flipped bit anywhere in a log that was closed is refused by name, or changes nothing of what was
// acknowledged. An older state is never taken for the newest one.
func TestOpen_Rot(t *testing.T) {
	for name, build := range rotForms {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewSource(1))
			r := &rotForm{fixture: newFixture()}
			r.reopen(t)
			build(t, r)
			if err := r.log.Close(); err != nil {
				t.Fatal(err)
			}
			log, home := bytes.Clone(r.dev.Bytes()), bytes.Clone(r.home.Bytes())
			if why := r.rot(log, home, 0, 0); why != "" {
				t.Fatalf("without damage: %s", why)
			}
			for at := 0; at < len(log); at++ {
				in := at % 4096
				if at < controlArea && in >= headerSize || in > 96 && in < 508 { // unused
					continue
				}
				if in > headerSize && rng.Intn(20) > 0 || in > 76 && at > controlArea && in < 508 {
					continue
				}
				if why := r.rot(log, home, at, 1<<rng.Intn(8)); why != "" {
					t.Fatal(why)
				}
			}
		})
	}
}

// TestOpen_RotBehindCheckpoint: a log that a crash cut off after a checkpoint is refused where an epoch before that is
// damaged: its commits are home already, and older ones would go over them.
func TestOpen_RotBehindCheckpoint(t *testing.T) {
	r := &rotForm{fixture: newFixture()}
	r.reopen(t)
	r.commit(t, 110, true)
	r.log.Abandon()
	log, home := bytes.Clone(r.dev.Bytes()), bytes.Clone(r.home.Bytes())
	for at := controlArea; at < len(log); at++ {
		if in := at % 4096; in > 76 && in < 508 || in > headerSize && at%16 > 0 {
			continue
		}
		if why := r.rot(log, home, at, 4); why != "" {
			t.Fatal(why)
		}
	}
}

// TestOpen_RotAfterReopening: a log that a crash cut off after it was opened again is refused where its newer control
// block is damaged: the older one knows nothing of the commits since.
func TestOpen_RotAfterReopening(t *testing.T) {
	r := &rotForm{fixture: newFixture()}
	r.reopen(t)
	r.commit(t, 60, false)
	r.reopen(t)
	r.commit(t, 2, false)
	r.log.Abandon()
	log, home := bytes.Clone(r.dev.Bytes()), bytes.Clone(r.home.Bytes())
	for at := range controlArea {
		if at%controlSize >= headerSize {
			continue
		}
		if why := r.rot(log, home, at, 4); why != "" {
			t.Fatal(why)
		}
	}
}

// TestOpen_TornControl: a crash while a control block is written, also one that leaves rubbish in its sector, recovers
// what was acknowledged.
func TestOpen_TornControl(t *testing.T) {
	r := &rotForm{fixture: newFixture()}
	r.reopen(t)
	r.commit(t, 90, false)
	tr := &blockcache.Trace{}
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	start, home := bytes.Clone(r.dev.Bytes()), bytes.Clone(r.home.Bytes())
	l, _, err := Open(blockcache.Record(r.dev, tr, 0), r.home, size, r.opts)
	if err != nil {
		t.Fatal(err)
	}
	r.log = l
	if err := l.Truncate(r.seq); err != nil {
		t.Fatal(err)
	}
	l.Abandon()
	img, torn := start, 0
	for _, e := range tr.Events() {
		if e.Flush() {
			continue
		}
		if e.Offset < controlArea {
			torn++
			b := bytes.Clone(img)
			copy(b[e.Offset:], bytes.Repeat([]byte{0x5a}, headerSize))
			if why := r.rot(b, home, 0, 0); why != "" {
				t.Errorf("control block at %d: %s", e.Offset, why)
			}
		}
		img = e.Apply(img, nil)
	}
	if torn == 0 {
		t.Error("no control block was written")
	}
}

// TestOpen_LostControls: a log whose control blocks are zeros is no new log.
func TestOpen_LostControls(t *testing.T) {
	r := &rotForm{fixture: newFixture()}
	r.reopen(t)
	r.commit(t, 3, false)
	r.log.Abandon()
	b := bytes.Clone(r.dev.Bytes())
	clear(b[:controlArea])
	if _, _, err := Open(blockcache.NewRAM(b), r.home, size, r.opts); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v, want ErrCorrupt", err)
	}
}

// TestOpen_Crafted: numbers that no log has, behind checksums that are right, are refused.
func TestOpen_Crafted(t *testing.T) {
	const most = 1<<64 - 1
	for name, change := range map[string]func(c *control, h *header, b []byte){
		"start sequence 0":     func(c *control, _ *header, _ []byte) { c.startSeq = 0 },
		"start sequence":       func(c *control, _ *header, _ []byte) { c.startSeq = most },
		"start 0":              func(c *control, _ *header, _ []byte) { c.start = 0 },
		"start":                func(c *control, _ *header, _ []byte) { c.start = maxCount / 4096 * 2 },
		"generation":           func(c *control, _ *header, _ []byte) { c.generation = most },
		"incarnation":          func(c *control, _ *header, _ []byte) { c.incarnation = most },
		"epoch":                func(c *control, _ *header, _ []byte) { c.epoch = most },
		"flushed":              func(c *control, _ *header, _ []byte) { c.flushed = most },
		"number of a segment":  func(_ *control, h *header, _ []byte) { h.number, h.incarnation = most, 1 },
		"start of a segment":   func(_ *control, h *header, _ []byte) { h.first = most },
		"flushed in a segment": func(_ *control, h *header, _ []byte) { h.flushed = most },
		"epoch in a record": func(_ *control, h *header, b []byte) {
			appendEpoch(b[controlArea+headerSize:][:0], most, 0, 0, saltOf(h.incarnation))
		},
		"a fresh block outside": func(_ *control, h *header, b []byte) {
			var r Record
			r.Begin(1)
			r.Fresh(1 << 40)
			r.end(1, saltOf(h.incarnation))
			n := copy(b[controlArea+headerSize:], r.bytes)
			appendEpoch(b[controlArea+headerSize+n:][:0], 1, 1, 0, saltOf(h.incarnation))
		},
	} {
		f := newFixture()
		l, _ := f.open(t)
		l.Abandon()
		b := bytes.Clone(f.dev.Bytes())
		c, err := decodeControl(b[controlSize:])
		h, ok := decodeHeader(b[controlArea:])
		if err != nil || !ok {
			t.Fatal(err, ok)
		}
		c.flushed = 0
		change(&c, &h, b)
		copy(b[controlSize:], c.encode())
		copy(b[controlArea:], h.encode())
		l, rec, err := Open(blockcache.NewRAM(b), f.home, size, f.opts)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: opened to %d: %v", name, rec.Last, err)
		}
		if err == nil {
			l.Abandon()
		}
	}
}
