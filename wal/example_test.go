package wal_test

import (
	"context"
	"fmt"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/wal"
)

// A log by itself: a commit is appended, made durable, and recovered after a crash.
func Example() {
	dev, home := blockcache.NewRAM(nil), blockcache.NewRAM(make([]byte, 16<<10))
	log, _, err := wal.Open(dev, home, 1024, wal.Options{Policy: wal.OnDemand})
	if err != nil {
		panic(err)
	}
	var record wal.Record
	record.Begin(1) // block
	record.Change(3, []merge.Range{{Off: 0, Len: 5}}, []byte("hello"))
	log.Append(&record, 1)
	if err := log.Wait(context.Background(), 1); err != nil {
		panic(err)
	}
	log.Abandon() // a crash

	log, recovery, err := wal.Open(dev, home, 1024, wal.Options{Policy: wal.OnDemand})
	if err != nil {
		panic(err)
	}
	defer log.Close()
	fmt.Println(recovery.Commits, recovery.Last, string(home.Bytes()[3*1024:][:5]))
	// Output: 1 1 hello
}
