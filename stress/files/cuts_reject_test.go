//go:build testhooks

package files

import (
	"maps"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
)

// TestCuts_Rejects: what the harness must not let pass.
func TestCuts_Rejects(t *testing.T) {
	f := crashForms[0]
	image := f.image(t)
	actors, tr, err := f.interleaved(t, image, 1)
	if err != nil {
		t.Fatal(err)
	}
	c := f.cuts(t, image, 1, true)
	if err := c.explore(actors, image, tr); err != nil {
		t.Fatal(err)
	}
	all := (&instant{flushed: NewMedium(image), open: writesOf(tr)}).all()
	device := all.Clone()
	got, _, err := c.recover(device)
	if err != nil {
		t.Fatal(err)
	}
	rejects := func(what, why string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, want an error that says %q", what, err, why)
		}
	}
	rejects("an image without the actors", "is not there", c.check(NewMedium(image)))
	other := maps.Clone(got)
	other["/actor0/strange"] = &Node{Kind: 'f', Links: 1}
	rejects("a file that no actor made", "actor0 is as after operation -1", c.legal(other))
	rejects("another tree the second time", "trees differ", c.again(device, other, "again"))
	rejects("another tree for e2fsck", "trees differ", c.judged(all, device, other))
	rejects("another tree after a cut recovery", "trees differ",
		c.cutRecovery(all, []blockcache.Event{{Data: []byte{0}}}, other))

	bad, bitmap := device.Clone(), make([]byte, 1)
	at := f.bitmap(t, device) + 1
	if _, err := bad.ReadAt(bitmap, at); err != nil {
		t.Fatal(err)
	}
	bitmap[0] ^= 0xf0
	if _, err := bad.WriteAt(bitmap, at); err != nil {
		t.Fatal(err)
	}
	rejects("a bitmap for e2fsck", "had to mend", c.judged(bad, device, got))
	_, _, err = c.recover(bad)
	rejects("a bitmap for the checker", "checksum", err)

	lag := c.state(map[int]int{1: 0})
	for n := range c.synced {
		c.synced[n] = 0
	}
	last := len(c.actors[0].states) - 1
	c.began[0][last] = 1 << 30
	rejects("a later operation without an earlier one", "which ended before, is not", c.legal(lag))
}

// bitmap is where an image has the block bitmap of its first group.
func (f form) bitmap(t *testing.T, image blockcache.Device) int64 {
	t.Helper()
	v, err := ext4.Open(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := v.GroupDesc(0)
	if err != nil {
		t.Fatal(err)
	}
	return v.Superblock().BlockSize.Offset(d.BlockBitmap)
}

// state is the tree where each actor did all of its operations, or as many as at says.
func (c *cuts) state(at map[int]int) State {
	s := State{"": {Kind: 'd'}}
	for i, a := range c.actors {
		n, ok := at[i]
		if !ok {
			n = len(a.states) - 1
		}
		s["/"+a.name()] = &Node{Kind: 'd'}
		for name, data := range a.states[n] {
			s["/"+a.name()+"/"+name] = &Node{Kind: 'f', Links: 1, Data: []byte(data)}
		}
	}
	return s
}

func writesOf(tr *blockcache.Trace) (out []blockcache.Event) {
	for _, e := range tr.Events() {
		if e.Data != nil {
			out = append(out, e)
		}
	}
	return out
}
