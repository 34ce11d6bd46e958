package mvcc_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// TestCommit_PanicUnderLatches: a function of the caller that panics, or ends its goroutine, while its commit holds
// latches leaves neither those nor a trace of the commit (M7).
func TestCommit_PanicUnderLatches(t *testing.T) {
	for name, fail := range map[string]func(tx *mvcc.Tx) error{
		"a panic in Sequenced": func(tx *mvcc.Tx) error {
			tx.Sequenced(func(block.Seq) { panic("on purpose") })
			return nil
		},
		"the end of the goroutine in Sequenced": func(tx *mvcc.Tx) error {
			tx.Sequenced(func(block.Seq) { runtime.Goexit() })
			return nil
		},
		"the end of the goroutine in a check": func(tx *mvcc.Tx) error {
			calls := 0
			return tx.Edit(2, merge.Check(func([]byte) bool {
				if calls++; calls > 1 { // the first call is not under latches
					runtime.Goexit()
				}
				return true
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			s, _, err := mvcc.Open(mvcc.Options{BlockSize: 1024, Home: blockcache.NewRAM(make([]byte, 16<<10))})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Abandon()
			set := func(v byte, also func(*mvcc.Tx) error) error {
				return s.Update(ctx, func(tx *mvcc.Tx) error {
					for n := range block.Number(4) {
						if err := tx.Edit(n, merge.Set(0, []byte{v})); err != nil {
							return err
						}
					}
					return also(tx)
				})
			}
			none := func(*mvcc.Tx) error { return nil }
			if err := set(1, none); err != nil {
				t.Fatal(err)
			}
			before := s.Published()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() { _ = recover() }()
				_ = set(2, fail)
			}()
			<-ended
			if s.Published() != before {
				t.Errorf("commit %d was published", s.Published())
			}
			expectAll(t, s, 1)
			again := make(chan error, 1)
			go func() { again <- set(3, none) }()
			select {
			case err := <-again:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the latches are held")
			}
			expectAll(t, s, 3)
		})
	}
}

// expectAll checks the first byte of each of four blocks.
func expectAll(t *testing.T, s *mvcc.Store, want byte) {
	t.Helper()
	err := s.View(context.Background(), func(tx *mvcc.Tx) error {
		for n := range block.Number(4) {
			p, err := tx.ReadBlock(n)
			if err != nil {
				return err
			}
			if p[0] != want {
				t.Errorf("block %d has %d, want %d", n, p[0], want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestEdit_AlternatingKinds: the edits that a transaction made of a block are not run again for each further one.
func TestEdit_AlternatingKinds(t *testing.T) {
	s, _, err := mvcc.Open(mvcc.Options{BlockSize: 1024, Home: blockcache.NewRAM(make([]byte, 16<<10))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abandon()
	const edits = 500
	calls := 0
	err = s.Update(context.Background(), func(tx *mvcc.Tx) error {
		for i := range uint32(edits) {
			if err := tx.Edit(1, merge.Set(i, []byte{byte(i)})); err != nil {
				return err
			}
			if err := tx.Edit(1, merge.Check(func(p []byte) bool { calls++; return p[i] == byte(i) })); err != nil {
				return err
			}
			if err := tx.Edit(1, merge.Check(func([]byte) bool { return false })); err == nil {
				t.Error("a check that fails was taken")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls > 4*edits {
		t.Errorf("%d checks were called %d times", edits, calls)
	}
}
