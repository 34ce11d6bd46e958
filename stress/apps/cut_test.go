//go:build testhooks

package apps

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/oracle"
)

// powerCuts runs the application once, and cuts the power at so many instants of the trace. It returns what was lost.
func (c *cell) powerCuts(t *testing.T, cuts int) (lost []error) {
	t.Helper()
	c.fresh(t)
	dir := t.TempDir()
	c.mount(t, c.image, c.store, dir, append(c.env, blockcache.DiskTraceEnv+"="+c.trace)...)
	var acks []ack
	err := c.drive(dir, func(a ack) { acks = append(acks, a) })
	oracle.MustRun(t, program(t), "umount", dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(acks) != c.app.count+1 {
		t.Fatalf("%d of %d transactions were acknowledged", len(acks), c.app.count+1)
	}
	raw, err := os.ReadFile(c.trace)
	if err != nil {
		t.Fatal(err)
	}
	events, err := blockcache.ReadDiskTrace(raw)
	if err != nil {
		t.Fatal(err)
	}
	first := 0
	for first < len(events) && events[first].End <= acks[0].at {
		first++
	}
	if len(events)-first < c.app.count {
		t.Fatalf("the trace has %d events after the first acknowledgement of %d", len(events)-first, len(acks))
	}
	for range cuts {
		k := first + c.rng.IntN(len(events)-first)
		due := 0
		for _, a := range acks {
			if a.at <= events[k].End {
				due = a.transaction
			}
		}
		fate := []string{"nothing that is not flushed", "all that was written", "a torn subset"}[c.rng.IntN(3)]
		if err := c.judge(t, c.blank, c.state(t, events[:k+1], fate), due); err != nil {
			lost = append(lost, fmt.Errorf("%s, %s, cut after event %d of %d (%s), %d acknowledged: %w", c.app.name, c.mode.name,
				k, len(events), fate, due, err))
		}
	}
	return lost
}

// state writes what the device may hold after a power cut, and returns the file.
func (c *cell) state(t *testing.T, events []blockcache.TracedEvent, fate string) string {
	t.Helper()
	covered := make([]bool, len(events))
	for i, f := range events {
		if f.Flush() {
			for j := range i {
				covered[j] = covered[j] || !events[j].Flush() && f.Covers(events[j].Event)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "store")
	if c.mode.overlay {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		oracle.MustRun(t, "cp", "--sparse=always", c.blank, path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, e := range events {
		if e.Flush() {
			continue
		}
		all := covered[i] || fate == "all that was written"
		if !all && fate == "nothing that is not flushed" {
			continue
		}
		for at := 0; at < len(e.Data); {
			n := min(len(e.Data)-at, blockcache.Sector-int((e.Offset+int64(at))%blockcache.Sector))
			if all || c.rng.IntN(2) == 0 {
				if _, err := f.WriteAt(e.Data[at:at+n], e.Offset+int64(at)); err != nil {
					t.Fatal(err)
				}
			}
			at += n
		}
	}
	return path
}
