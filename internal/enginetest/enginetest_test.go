package enginetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/enginetest"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// TestOpen_EndsStores: a store that the test leaves open has ended when the test has; one that it closed is left alone.
func TestOpen_EndsStores(t *testing.T) {
	var left, closed *mvcc.Store
	t.Run("a test", func(t *testing.T) {
		left, closed = enginetest.Open(t, mvcc.Options{}), enginetest.Open(t, mvcc.Options{})
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
	})
	for _, s := range []*mvcc.Store{left, closed} {
		err := s.Update(context.Background(), func(tx *mvcc.Tx) error { return tx.Edit(1, merge.Set(0, []byte{1})) })
		if err == nil {
			t.Error("a store outlives its test")
		}
	}
}

// TestJournal_TakesEpochs: a store over the journal makes commits durable in it.
func TestJournal_TakesEpochs(t *testing.T) {
	dev := blockcache.NewRAM(make([]byte, 1<<20))
	j := enginetest.Journal(t, dev, 1024, 64, 128)
	s := enginetest.Open(t, mvcc.Options{BlockSize: 1024, Home: dev,
		Durability: mvcc.EpochJournal{Journal: j, Every: time.Hour,
			Seal: func(*mvcc.ClosingEpoch) error { return nil }}})
	err := s.UpdateDurable(context.Background(), func(tx *mvcc.Tx) error { return tx.Edit(3, merge.Set(0, []byte{1})) })
	if err != nil || j.Used() == 0 {
		t.Errorf("%v; %d blocks of the journal are in use", err, j.Used())
	}
}
