package main

import (
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dgraph-io/badger/v4"
	"go.etcd.io/bbolt"

	"github.com/varvefs/varve/bench/engine"
)

// layout is how blocks become keys and values.
type layout struct{ form string }

func (l layout) key(block, slot int) []byte {
	if l.form == "slot" {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(block)), uint32(slot))
	}
	return binary.BigEndian.AppendUint32(nil, uint32(block))
}

func (l layout) size() int {
	if l.form == "slot" {
		return engine.Slot
	}
	return engine.BlockSize
}

// changed is the value with its slot changed: a new one, as the stores ask for.
func (l layout) changed(old []byte, slot int, change func([]byte)) []byte {
	v := make([]byte, l.size())
	copy(v, old)
	if l.form == "slot" {
		change(v)
	} else {
		change(v[slot*engine.Slot:][:engine.Slot])
	}
	return v
}

// each calls do for the key that View reads of each block.
func (l layout) each(do func(key []byte) error) error {
	for b := range engine.Blocks {
		if err := do(l.key(b, 0)); err != nil {
			return err
		}
	}
	return nil
}

// bbolt: one writer at a time; NoFreelistSync and the map freelist are what its documentation advises for write loads.
func bboltMaker(name, form string, delay time.Duration) engine.Maker {
	batch := delay > 0
	return engine.Maker{Name: name, Form: form, Open: func(dir string, durable bool) (engine.Engine, error) {
		db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600,
			&bbolt.Options{NoSync: !durable, NoFreelistSync: true,
				FreelistType: bbolt.FreelistMapType, InitialMmapSize: 1 << 28})
		if err != nil {
			return nil, err
		}
		db.MaxBatchDelay = delay // the default is 10 ms
		b := &bboltEngine{layout{form}, db, batch}
		return b, db.Update(func(tx *bbolt.Tx) error {
			bk, err := tx.CreateBucket(bucket)
			if err != nil {
				return err
			}
			return b.each(func(k []byte) error { return bk.Put(k, make([]byte, b.size())) })
		})
	}, Skip: func(l engine.Load) bool { return batch && l.Writers == 1 }}
}

var bucket = []byte("blocks")

type bboltEngine struct {
	layout
	db    *bbolt.DB
	batch bool
}

func (b *bboltEngine) Update(_ int, block, slot int, change func([]byte)) (int, error) {
	do := b.db.Update
	if b.batch {
		do = b.db.Batch
	}
	return 0, do(func(tx *bbolt.Tx) error {
		bk, k := tx.Bucket(bucket), b.key(block, slot)
		return bk.Put(k, b.changed(bk.Get(k), slot, change))
	})
}

func (b *bboltEngine) View() error {
	return b.db.View(func(tx *bbolt.Tx) error {
		bk := tx.Bucket(bucket)
		return b.each(func(k []byte) error { _ = bk.Get(k); return nil })
	})
}

func (b *bboltEngine) Close() (int64, error) { return 0, b.db.Close() }

// badger: conflicts are detected, and tried again here, as its documentation says.
func badgerMaker(name, form string) engine.Maker {
	return engine.Maker{Name: name, Form: form, Open: func(dir string, durable bool) (engine.Engine, error) {
		db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithSyncWrites(durable).
			WithNumVersionsToKeep(1).WithMetricsEnabled(false))
		if err != nil {
			return nil, err
		}
		return &badgerEngine{layout{form}, db}, nil
	}}
}

type badgerEngine struct {
	layout
	db *badger.DB
}

func (b *badgerEngine) Update(_ int, block, slot int, change func([]byte)) (aborts int, err error) {
	k := b.key(block, slot)
	for {
		err := b.db.Update(func(tx *badger.Txn) error {
			var old []byte
			item, err := tx.Get(k)
			if err == nil {
				err = item.Value(func(v []byte) error { old = v; return nil })
			}
			if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
				return err
			}
			return tx.Set(k, b.changed(old, slot, change))
		})
		if !errors.Is(err, badger.ErrConflict) {
			return aborts, err
		}
		aborts++
	}
}

func (b *badgerEngine) View() error {
	return b.db.View(func(tx *badger.Txn) error {
		return b.each(func(k []byte) error {
			item, err := tx.Get(k)
			if errors.Is(err, badger.ErrKeyNotFound) {
				return nil
			}
			if err == nil {
				err = item.Value(func([]byte) error { return nil })
			}
			return err
		})
	})
}

func (b *badgerEngine) Close() (int64, error) { return 0, b.db.Close() }

// pebble: it detects no conflicts, so a lock a key makes its read and write one step. Without it updates are lost.
func pebbleMaker(name, form string) engine.Maker {
	return engine.Maker{Name: name, Form: form, Open: func(dir string, durable bool) (engine.Engine, error) {
		db, err := pebble.Open(dir, pebbleOptions())
		if err != nil {
			return nil, err
		}
		p := &pebbleEngine{layout: layout{form}, db: db, write: pebble.NoSync}
		if durable {
			p.write = pebble.Sync
		}
		return p, nil
	}}
}

func pebbleOptions() *pebble.Options {
	return &pebble.Options{MemTableSize: 64 << 20, MemTableStopWritesThreshold: 4, L0StopWritesThreshold: 1000,
		Logger: quiet{}}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(format)
}

type pebbleEngine struct {
	layout
	db    *pebble.DB
	write *pebble.WriteOptions
	locks [engine.Blocks][engine.Slots]sync.Mutex
}

func (p *pebbleEngine) Update(_ int, block, slot int, change func([]byte)) (int, error) {
	lock := &p.locks[block][0]
	if p.form == "slot" {
		lock = &p.locks[block][slot]
	}
	lock.Lock()
	defer lock.Unlock()
	k := p.key(block, slot)
	old, closer, err := p.db.Get(k)
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return 0, err
	}
	v := p.changed(old, slot, change)
	if closer != nil {
		closer.Close()
	}
	return 0, p.db.Set(k, v, p.write)
}

func (p *pebbleEngine) View() error {
	snap := p.db.NewSnapshot()
	defer snap.Close()
	return p.each(func(k []byte) error {
		_, closer, err := snap.Get(k)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = closer.Close()
		}
		return err
	})
}

func (p *pebbleEngine) Close() (int64, error) {
	m := p.db.Metrics()
	return int64(m.WAL.BytesWritten), p.db.Close()
}

// pebbleMergeMaker is pebble as its users count: a merge operator, and no reading at all.
func pebbleMergeMaker() engine.Maker {
	return engine.Maker{Name: "pebble, merge operator", Form: "slot",
		Open: func(dir string, durable bool) (engine.Engine, error) {
			o := pebbleOptions()
			o.Merger = &pebble.Merger{Name: "add", Merge: func(_, value []byte) (pebble.ValueMerger, error) {
				return &adder{binary.LittleEndian.Uint64(value)}, nil
			}}
			db, err := pebble.Open(dir, o)
			if err != nil {
				return nil, err
			}
			p := &pebbleMerge{pebbleEngine{layout: layout{"slot"}, db: db, write: pebble.NoSync}}
			if durable {
				p.write = pebble.Sync
			}
			return p, nil
		}}
}

type pebbleMerge struct{ pebbleEngine }

func (p *pebbleMerge) Update(_ int, block, slot int, _ func([]byte)) (int, error) {
	return 0, p.db.Merge(p.key(block, slot), binary.LittleEndian.AppendUint64(nil, 1), p.write)
}

type adder struct{ sum uint64 }

func (a *adder) MergeNewer(v []byte) error { a.sum += binary.LittleEndian.Uint64(v); return nil }
func (a *adder) MergeOlder(v []byte) error { a.sum += binary.LittleEndian.Uint64(v); return nil }
func (a *adder) Finish(bool) ([]byte, io.Closer, error) {
	return binary.LittleEndian.AppendUint64(nil, a.sum), nil, nil
}
