package mvcc

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
)

// TestHistory_IsBounded: a block under K snapshots keeps at most K+1 versions, however many commits there were (M6),
// each snapshot sees its own, and 32-byte edits cost little.
func TestHistory_IsBounded(t *testing.T) {
	s := mustOpen(t, Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	type view struct {
		tx   *Tx
		want []byte
	}
	var views []view
	model := make([]byte, 4096)
	for range 12 {
		for range 300 {
			e := make([]byte, 32)
			for i := range e {
				e[i] = byte(rng.Uint32())
			}
			off := uint32(rng.IntN(4096 - 32))
			copy(model[off:], e)
			mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Set(off, e)) })
		}
		views = append(views, view{mustBegin(t, s, TxOptions{ReadOnly: true}), bytes.Clone(model)})
	}
	s.Collect()
	if n := s.Stats().History; n > int64(len(views)) {
		t.Errorf("%d old versions under %d snapshots", n, len(views))
	}
	for len(views) > 0 {
		i := rng.IntN(len(views))
		b, err := views[i].tx.ReadBlock(1)
		if err != nil || !bytes.Equal(b, views[i].want) {
			t.Fatalf("snapshot %d sees something else: %v", views[i].tx.Seq(), err)
		}
		views[i].tx.Rollback()
		views = append(views[:i], views[i+1:]...)
		s.Collect()
		if n := s.Stats().History; n > int64(len(views)) {
			t.Errorf("%d old versions under %d snapshots", n, len(views))
		}
	}
	if st := s.Stats(); st.History != 0 || st.HistoryBytes != 0 {
		t.Errorf("%d versions, %d bytes without any snapshot", st.History, st.HistoryBytes)
	}
}

// TestHistory_CostsBytes: what a 32-byte edit keeps under a live snapshot, in memory as the runtime counts it.
func TestHistory_CostsBytes(t *testing.T) {
	s := mustOpen(t, Options{Home: blockcache.NewRAM(make([]byte, 4000*4096))})
	const blocks = 2000
	edit := func(v byte) {
		for n := range block.Number(blocks) {
			mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(n, merge.Set(64, bytes.Repeat([]byte{v}, 32))) })
		}
	}
	edit(1)
	s.Collect()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	tx := mustBegin(t, s, TxOptions{ReadOnly: true})
	edit(2)
	s.Collect()
	after := heap()
	if st := s.Stats(); st.History != blocks || st.HistoryBytes > 160*blocks {
		t.Errorf("%d versions with %d bytes", st.History, st.HistoryBytes)
	}
	if each := (int64(after) - int64(before)) / blocks; each > 400 { // with the chains' own bookkeeping, and noise
		t.Errorf("%d bytes of heap a version", each)
	} else {
		t.Logf("%d bytes of heap a version, of which the store counts %d", each, s.Stats().HistoryBytes/blocks)
	}
	if got := at(t, tx, 7, 64); got != 0x0101010101010101 {
		t.Errorf("the snapshot sees %x", got)
	}
}

// TestPack_Reads: history that was packed in the background reads as before.
func TestPack_Reads(t *testing.T) {
	for _, p := range []PackPolicy{{MinBytes: 64, S2After: time.Nanosecond, ZstdAfter: time.Hour},
		{MinBytes: 64, S2After: time.Nanosecond, ZstdAfter: 2 * time.Nanosecond}, {MinBytes: -1}} {
		s := mustOpen(t, Options{Pack: p})
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Whole(bytes.Repeat([]byte("varve "), 700)[:4096])) })
		tx := mustBegin(t, s, TxOptions{ReadOnly: true})
		mustUpdate(t, s, func(tx *Tx) error { return tx.Edit(1, merge.Whole(make([]byte, 4096))) })
		deadline := time.Now().Add(time.Minute)
		for s.Collect(); p.MinBytes > 0 && s.Stats().HistoryBytes > 1000 && time.Now().Before(deadline); s.Collect() {
			time.Sleep(5 * time.Millisecond)
		}
		if n := s.Stats().HistoryBytes; p.MinBytes > 0 && n > 1000 {
			t.Errorf("%+v: %d bytes of history", p, n)
		}
		if b, err := tx.ReadBlock(1); err != nil || !bytes.Equal(b, bytes.Repeat([]byte("varve "), 700)[:4096]) {
			t.Errorf("%+v: other bytes, %v", p, err)
		}
	}
}
