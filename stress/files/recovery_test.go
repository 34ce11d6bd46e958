//go:build testhooks

package files

import (
	"fmt"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
)

// again recovers a device: the same tree.
func (c *cuts) again(device *Medium, want State, what string) error {
	got, _, err := c.recover(device)
	if err == nil {
		err = Same(want, got)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// cutRecovery cuts the recovery itself at some of its writes. The next recovery comes to the same tree.
func (c *cuts) cutRecovery(img *Medium, events []blockcache.Event, want State) error {
	var writes []int
	for k, e := range events {
		if !e.Flush() {
			writes = append(writes, k)
		}
	}
	cutAt := map[int]bool{}
	for range insideInstants {
		if len(writes) > 0 {
			cutAt[writes[c.rng.IntN(len(writes))]] = true
		}
	}
	i := &instant{flushed: img.Clone()}
	for k, e := range events {
		if e.Flush() {
			i.flush(e)
			continue
		}
		i.open = append(i.open, e)
		if !cutAt[k] {
			continue
		}
		for _, part := range [insideOf]*Medium{i.all(), c.torn(i), c.subset(i)} {
			c.states++
			c.inside++
			if err := c.again(part, want,
				fmt.Sprintf("after a crash at write %d of the recovery", k)); err != nil {
				return err
			}
		}
	}
	return nil
}

// judged has e2fsck recover a state; of an overlay it sees what varve recovered.
func (c *cuts) judged(img blockcache.Device, recovered *Medium, got State) (err error) {
	if c.form.overlay {
		if img, err = c.x.Image(recovered); err != nil {
			return err
		}
	}
	return c.x.judge(img, got)
}

// recover opens a device, reads its tree, and has the checker look. The events are what the recovery wrote.
func (c *cuts) recover(device *Medium) (got State, events []blockcache.Event, err error) {
	tr := &blockcache.Trace{}
	w, err := c.open(blockcache.Record(device, tr, 0), c.form.opts)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = w.Abandon() }()
	events = tr.Events()
	if got, err = LiveTree(w); err != nil {
		return nil, nil, err
	}
	if err = w.Store.Checkpoint(); err != nil {
		return nil, nil, err
	}
	image := blockcache.Device(device)
	if c.x.Image != nil {
		if image, err = c.x.Image(device); err != nil {
			return nil, nil, err
		}
	}
	v, err := ext4.Open(image, ext4.Options{})
	if err != nil {
		return nil, nil, err
	}
	report, err := v.Check(nil)
	if err == nil && !report.Clean() {
		err = fmt.Errorf("the checker: %+v", report.Problems[:min(3, len(report.Problems))])
	}
	return got, events, err
}
