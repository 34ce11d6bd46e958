package mvcc_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/mvcc"
)

// A counter that 100 goroutines add to. Their transactions meet on one block, and all of them stand: additions
// commute.
func Example_counter() {
	store, _, err := mvcc.Open(
		mvcc.Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 1<<20)),
			Durability: mvcc.NativeLog{Device: blockcache.NewRAM(nil)},
		},
	)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	hits := merge.Field{Off: 0, Width: 8}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for range 50 {
				if err := store.Update(context.Background(), func(tx *mvcc.Tx) error {
					return tx.Edit(7, merge.Add(hits, 1, 0, 1<<62))
				}); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	_ = store.View(context.Background(), func(tx *mvcc.Tx) error {
		b, err := tx.ReadBlock(7)
		fmt.Println(hits.Get(b))
		return err
	})
	// Output: 5000
}

// A bank: money moves between blocks in one transaction, and no account goes below zero.
func Example_bank() {
	store, _, err := mvcc.Open(
		mvcc.Options{
			BlockSize:  4096,
			Home:       blockcache.NewRAM(make([]byte, 1<<20)),
			Durability: mvcc.NativeLog{Device: blockcache.NewRAM(nil)},
		},
	)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	ctx, balance := context.Background(), merge.Field{Off: 0, Width: 8}
	deposit := func(tx *mvcc.Tx) error { return tx.Edit(1, merge.Add(balance, 100, 0, 1<<62)) }
	if err := store.Update(ctx, deposit); err != nil {
		panic(err)
	}
	transfer := func(amount int64) error {
		return store.Update(ctx, func(tx *mvcc.Tx) error {
			return errors.Join(
				tx.Edit(1, merge.Add(balance, -amount, 0, 1<<62)),
				tx.Edit(2, merge.Add(balance, amount, 0, 1<<62)),
			)
		})
	}
	fmt.Println(transfer(70))
	fmt.Println(errors.Is(transfer(70), merge.ErrBounds))
	_ = store.View(ctx, func(tx *mvcc.Tx) error {
		a, _ := tx.ReadBlock(1)
		b, err := tx.ReadBlock(2)
		fmt.Println(balance.Get(a), balance.Get(b))
		return err
	})
	// Output:
	// <nil>
	// true
	// 30 70
}

// Recovery: a commit that was reported durable is there after a crash.
func Example_recovery() {
	home, log := blockcache.NewRAM(make([]byte, 1<<20)), blockcache.NewRAM(nil)
	options := mvcc.Options{BlockSize: 4096, Home: home, Durability: mvcc.NativeLog{Device: log}}
	store, _, err := mvcc.Open(options)
	if err != nil {
		panic(err)
	}
	if err := store.UpdateDurable(context.Background(), func(tx *mvcc.Tx) error {
		return tx.Edit(3, merge.Set(0, []byte("kept")))
	}); err != nil {
		panic(err)
	}
	store.Abandon() // a crash: nothing is written home, nothing is flushed

	store, recovery, err := mvcc.Open(options)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	fmt.Println(recovery.Commits, "commit recovered")
	_ = store.View(context.Background(), func(tx *mvcc.Tx) error {
		b, err := tx.ReadBlock(3)
		fmt.Printf("%s\n", b[:4])
		return err
	})
	// Output:
	// 1 commit recovered
	// kept
}
