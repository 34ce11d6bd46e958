package blockcache_test

import (
	"fmt"

	"github.com/varvefs/varve/blockcache"
)

// A recording device notes what was written between flushes: crash states are made from that. A faulty one fails when
// a test asks for it.
func Example() {
	trace := &blockcache.Trace{}
	faulty := blockcache.NewFaulty(blockcache.NewRAM(make([]byte, 4096)))
	dev := blockcache.Record(faulty, trace, 0)
	_, _ = dev.WriteAt([]byte("kept"), 0)
	_ = dev.Sync()
	_, _ = dev.WriteAt([]byte("perhaps"), 512)
	faulty.Fail(blockcache.FlushError, 0, true)
	fmt.Println(dev.Sync())
	for _, e := range trace.Events() {
		fmt.Println(e.Offset, string(e.Data), e.Flush())
	}
	// Output:
	// input/output error
	// 0 kept false
	// 0  true
	// 512 perhaps false
}
