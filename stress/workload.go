package stress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/mvcc"
)

// workload is one way to load the store.
type workload struct {
	name   string
	what   string
	blocks int // that it uses
	make   func(*Run) load
}

// load is a workload in one run.
type load interface {
	// setup prepares the blocks.
	setup(ctx context.Context) error
	// step is one transaction of a writer. It may be run again. Effects of a commit only are
	// in the function that it returns.
	step(tx *mvcc.Tx, w *writer) (done func(), err error)
	// check reports what is wrong in a snapshot. Its argument says whether writers still run.
	check(tx *mvcc.Tx, running bool) []string
}

// reader is a load some of whose transactions only read.
type reader interface {
	reads(w *writer) bool
	read(tx *mvcc.Tx, w *writer) error
}

// bounded is a load that touches no more than some blocks in any choice of its transactions: no transaction loses many
// races for them (M5).
type bounded interface{ touches() int }

// declared is a load that declares all that its transactions read (Depend): its history is serializable at every
// isolation level.
type declared interface{ declares() bool }

// equal is a load whose writers write equal bytes.
type equal interface{ equalBytes() bool }

// workloads by name, in the order of help.
var workloads = []workload{
	{"hot", "one block, each writer its own slot", 1, newSlots(1, hotBlock)},
	{"counter", "one counter that all add to", 1, newCounter},
	{"append", "one log that all append to", logBlocks, newAppend},
	{"bitmap", "bits of one bitmap, allocated and freed", 1, newBitmap},
	{"zipf", "1,024 blocks, some of them much more often", 1024, newSlots(1024, zipfBlock)},
	{"disjoint", "each writer its own block", 1024, newSlots(1024, ownBlock)},
	{"bank", "transfers between accounts in many blocks", bankBlocks, newBank},
	{"skew", "pairs of blocks of which one must stay on", 2 * skewPairs, newSkew},
	{"readers", "long readers beside writers", readerBlocks, newReaders},
	{"dirent", "names inserted into directory blocks by reapply", direntBlocks, newDirent},
	{"registers", "registers of one block that all increment by reading and setting: equal bytes", 1, newRegisters},
	{"guard", "pairs of which one must stay on, with what was read declared (Depend)", guardBlocks, newGuard},
	{"families", "parents that go only without children: Check and Add in two blocks", familyBlocks, newFamilies},
	{"inodes", "records of several owners in shared blocks: Extent, Max, Add and Whole", inodeBlocks, newInodes},
}

// Workloads are the names of the workloads.
func Workloads() (names []string) {
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// Describe describes a workload in one line.
func Describe(name string) string {
	for _, w := range workloads {
		if w.name == name {
			return w.what
		}
	}
	return ""
}

func find(name string) (workload, error) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
	if i < 0 {
		return workload{}, fmt.Errorf("no workload %q: there are %v", name, Workloads())
	}
	return workloads[i], nil
}

// writer is one of the goroutines that load the store.
type writer struct {
	id    int
	rng   *rand.Rand
	zipf  *rand.Zipf
	buf   []byte
	count uint64 // commits
	ids   uint64 // values that it made up
	rec   *Txn   // nil unless the history is recorded
	state any    // of the workload

	reads     bool   // it only reads
	begun     uint64 // of a handful that was counted as begun
	uncounted uint64 // commits that were not yet counted
}

// fresh is a value that no other write has.
func (w *writer) fresh() uint64 {
	w.ids++
	return uint64(w.id+1)<<40 | w.ids
}

func (w *writer) read(key, value uint64) {
	if w.rec != nil {
		w.rec.Ops = append(w.rec.Ops, Op{Key: key, Value: value})
	}
}

func (w *writer) wrote(key, value, prev uint64) {
	if w.rec != nil {
		w.rec.Ops = append(w.rec.Ops, Op{Write: true, Key: key, Value: value, Prev: prev})
	}
}

// errOnPurpose ends a transaction that wrote, so that its writes must never be seen (M7).
var errOnPurpose = errors.New("rolled back on purpose")

func key(n block.Number, slot int) uint64 { return uint64(n)<<16 | uint64(slot) }

func nothing() {}
