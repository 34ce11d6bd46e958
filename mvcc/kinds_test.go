package mvcc

import (
	"sync"
	"testing"
	"time"

	"github.com/varvefs/varve/merge"
)

// TestKinds: conflicts and waits are counted by the kind of the block.
func TestKinds(t *testing.T) {
	for policy, check := range map[Policy]func(KindStats) bool{
		Strict: func(k KindStats) bool { return k.Aborts > 0 && k.Merges == 0 },
		Merge:  func(k KindStats) bool { return k.Merges > 0 },
		Wait:   func(k KindStats) bool { return k.Waits > 0 && k.Waited > 0 },
	} {
		s := mustOpen(t, Options{Policy: policy})
		var wg sync.WaitGroup
		for range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 50 {
					err := s.Update(ctx, func(tx *Tx) error {
						if err := tx.Edit(1, merge.Add(field, 1, 0, most)); err != nil {
							return err
						}
						time.Sleep(50 * time.Microsecond)
						return tx.Tag(1, Tag{Kind: 3})
					})
					if err != nil {
						t.Error(err)
					}
				}
			}()
		}
		wg.Wait()
		kinds := s.Kinds()
		if len(kinds) != 1 || kinds[0].Kind != 3 || !check(kinds[0]) {
			t.Errorf("%v: %+v", policy, kinds)
		}
	}
}
