package mvcc

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// afterCut is what a power cut leaves of a device of a trace where nothing is kept that no flush covers.
func afterCut(trace *blockcache.Trace, device int, img []byte) []byte {
	events := trace.Events()
	for _, w := range events {
		covered := func(f blockcache.Event) bool { return f.Covers(w) }
		if w.Device == device && w.Data != nil && slices.ContainsFunc(events, covered) {
			img = w.Apply(img, nil)
		}
	}
	return img
}

// TestWriteNew_FailedThenEdit: a transaction fails when a part of its new contents is home already. A block of them
// that gets other contents by edits has those after a power cut, too, though they share bytes with what was home, and
// not flushed.
func TestWriteNew_FailedThenEdit(t *testing.T) {
	first := bytes.Repeat([]byte{7}, 4096)
	for name, do := range map[string]func(tx *Tx) error{
		"new blocks": func(tx *Tx) error { return errors.Join(tx.WriteNew(8, first), tx.WriteNew(9, first)) },
		"home": func(tx *Tx) error {
			return errors.Join(tx.WriteHome(8, 0, first, true), tx.WriteHome(9, 0, first, true))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var trace blockcache.Trace
			home := blockcache.NewFaulty(blockcache.Record(blockcache.NewRAM(make([]byte, 64<<12)), &trace, 0))
			log := blockcache.Record(blockcache.NewRAM(nil), &trace, 1)
			o := Options{BlockSize: 4096, Home: home, Durability: NativeLog{Device: log,
				Options: wal.Options{Policy: wal.OnDemand}}}
			s, _, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			home.Fail(blockcache.WriteError, 1, true)
			if err := s.Update(context.Background(), do); err == nil {
				t.Fatal("the error of the device was not reported")
			}
			second := bytes.Clone(first)
			second[100] = 8
			err = s.UpdateDurable(context.Background(), func(tx *Tx) error { return tx.Edit(8, merge.Whole(second)) })
			if err != nil {
				t.Fatal(err)
			}
			s.Abandon()
			after := blockcache.NewRAM(afterCut(&trace, 0, make([]byte, 64<<12)))
			o.Home, o.Durability = after, NativeLog{Device: blockcache.NewRAM(afterCut(&trace, 1, nil)),
				Options: wal.Options{Policy: wal.OnDemand}}
			mustOpen(t, o)
			if p := after.Bytes()[8<<12:][:4096]; !bytes.Equal(p, second) {
				t.Errorf("after a power cut the block is %d, %d, %d, expected 7, 8, 7", p[99], p[100], p[101])
			}
		})
	}
}

// TestWriteNew_TornThenEdit: of new contents half is written, then the device fails. Edits of that block start from
// what it has now.
func TestWriteNew_TornThenEdit(t *testing.T) {
	first, second := bytes.Repeat([]byte{7}, 4096), make([]byte, 4096)
	second[4000] = 8
	ram, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
	home := blockcache.NewFaulty(ram)
	o := Options{BlockSize: 4096, Home: home, Durability: NativeLog{Device: log,
		Options: wal.Options{Policy: wal.OnDemand}}}
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	counterOf(t, s, 8) // in the cache
	home.Fail(blockcache.ShortWrite, 0, true)
	if err := s.Update(context.Background(), func(tx *Tx) error { return tx.WriteNew(8, first) }); err == nil {
		t.Fatal("the error of the device was not reported")
	}
	err = s.UpdateDurable(context.Background(), func(tx *Tx) error { return tx.Edit(8, merge.Whole(second)) })
	if err != nil {
		t.Fatal(err)
	}
	s.Abandon()
	o.Home = ram
	mustOpen(t, o)
	if p := ram.Bytes()[8<<12:][:4096]; !bytes.Equal(p, second) {
		t.Errorf("after recovery the block begins with %d, expected 0", p[0])
	}
}
