package mvcc

import (
	"slices"
	"sync"
	"testing"

	"github.com/varvefs/varve/internal/block"
)

// TestChainList: what is added at the same time is taken once, but for what was removed.
func TestChainList(t *testing.T) {
	var l chainList
	var wg sync.WaitGroup
	const writers, each = 8, 200
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				c := &chain{number: block.Number(w*each + i)}
				l.add(c)
				if i%5 == 0 {
					l.remove(c)
				}
			}
		})
	}
	wg.Wait()
	got := l.take()
	if len(got) != writers*each*4/5 || slices.ContainsFunc(got, func(c *chain) bool { return c.number%each%5 == 0 }) {
		t.Errorf("%d chains", len(got))
	}
	if again := l.take(); len(again) != 0 {
		t.Errorf("%d chains were taken twice", len(again))
	}
}
