package mvcc

import (
	"errors"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// TestFaults_StopTheStore: an error of a device is reported; a failed flush ends commits, and what was acknowledged
// survives.
func TestFaults_StopTheStore(t *testing.T) {
	for _, c := range []struct {
		device string
		fault  blockcache.Fault
	}{{"log", blockcache.FlushError}, {"log", blockcache.WriteError}, {"log", blockcache.ShortWrite},
		{"log", blockcache.NoSpace},
		{"home", blockcache.FlushError}, {"home", blockcache.WriteError}, {"home", blockcache.ShortWrite}} {
		t.Run(c.device+", "+c.fault.String(), func(t *testing.T) {
			home, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
			fh, fl := blockcache.NewFaulty(home), blockcache.NewFaulty(log)
			o := Options{
				BlockSize:  4096,
				Home:       fh,
				Durability: NativeLog{Device: fl, Options: wal.Options{Policy: wal.OnDemand, SegmentSize: 16 << 10}},
			}
			s, _, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.UpdateDurable(ctx, func(tx *Tx) error { return tx.Edit(1, set(0, 5)) }); err != nil {
				t.Fatal(err)
			}
			if c.device == "log" {
				fl.Fail(c.fault, 0, true)
				err = s.UpdateDurable(ctx, func(tx *Tx) error { return tx.Edit(1, set(0, 6)) })
			} else {
				fh.Fail(c.fault, 0, true)
				err = s.Checkpoint()
			}
			if err == nil {
				t.Error("the error was not reported")
			}
			if err := s.Update(ctx, func(tx *Tx) error { return tx.Edit(1, set(0, 7)) }); err == nil ||
				!strings.Contains(err.Error(), "no more commits") {
				t.Errorf("commits go on: %v", err)
			}
			s.Abandon()
			s = mustOpen(
				t,
				Options{BlockSize: 4096, Home: home, Durability: NativeLog{Device: log, Options: o.Durability.(NativeLog).Options}},
			)
			if v := counterOf(t, s, 1); v != 5 && v != 6 {
				t.Errorf("after recovery %d", v)
			}
		})
	}
}

// TestFaults_Read: a block that cannot be read is an error of its transaction, and of no other.
func TestFaults_Read(t *testing.T) {
	home := blockcache.NewFaulty(blockcache.NewRAM(make([]byte, 64<<12)))
	s := mustOpen(t, Options{Home: home})
	home.Fail(blockcache.ReadError, 0, true)
	if err := s.Update(ctx, func(tx *Tx) error { _, err := tx.ReadBlock(3); return err }); err == nil {
		t.Error("an unreadable block was read")
	}
	if v := counterOf(t, s, 3); v != 0 {
		t.Errorf("%d", v)
	}
}

// TestFaults_FlippedBit: a log with a flipped bit is not replayed past it.
func TestFaults_FlippedBit(t *testing.T) {
	home, log := blockcache.NewRAM(make([]byte, 64<<12)), blockcache.NewRAM(nil)
	o := Options{
		BlockSize:  4096,
		Home:       home,
		Durability: NativeLog{Device: log, Options: wal.Options{Policy: wal.OnDemand, SegmentSize: 16 << 10}},
	}
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := s.UpdateDurable(ctx, func(tx *Tx) error { return tx.Edit(1, merge.Add(field, 1, 0, most)) }); err != nil {
			t.Fatal(err)
		}
	}
	s.Abandon()
	f := blockcache.NewFaulty(log)
	f.Fail(blockcache.FlippedBit, 3, true)
	o.Durability = NativeLog{Device: f, Options: o.Durability.(NativeLog).Options}
	if s, rec, err := Open(o); err == nil {
		defer s.Abandon()
		if v := counterOf(t, s, 1); v != uint64(rec.Last) {
			t.Errorf("recovered to %d, and the block has %d", rec.Last, v)
		}
	} else if !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}
