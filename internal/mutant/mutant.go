// Package mutant switches single promises off in a test build (-tags testhooks), so that tests can show that they
// would notice. In a normal build Off is constant, and the compiler removes each branch that asks.
package mutant

// Promise names one promise of DESIGN, or one repaired defect: what the code does when it is switched off stands
// beside its name.
type Promise string

// None switches nothing off.
const None Promise = ""

// The engine's durability (docs/guarantees.md).
const (
	W1 Promise = "W1" // reports "durable" before the epoch is
	W2 Promise = "W2" // writes blocks home that are not durable in the WAL
	W3 Promise = "W3" // does not flush ordered data before the epoch's end
	W4 Promise = "W4" // hands out a freed block at once
	W5 Promise = "W5" // recovery goes on past a record that is not whole
	W6 Promise = "W6" // gives log space back before the homes are flushed
	W7 Promise = "W7" // logs what a transaction saw instead of what arbitration made of it
)

// The rules of writing a jbd2 journal.
const (
	J1 Promise = "J1" // writes no revoke for a freed block
	J2 Promise = "J2" // writes a freed block's pending image home
	J3 Promise = "J3" // begins to log before the journal's start and the recovery flag are home
	J4 Promise = "J4" // moves the tail before the homes are written
	J5 Promise = "J5" // starts its sequences over
	J6 Promise = "J6" // does not escape the journal's magic
	J7 Promise = "J7" // clears the recovery flag before the homes are written
	J8 Promise = "J8" // takes the fast-commit area for a part of the log
	J9 Promise = "J9" // lets an epoch grow past a quarter of the journal
)

// The dependencies of operations on files.
const (
	D1 Promise = "D1" // creates in a directory without checking at commit that it still exists
	// inserts a name without depending on the directory's blocks and the index entries that bound its leaf
	D2 Promise = "D2"
	D3 Promise = "D3" // removes a directory without depending on its blocks
	D4 Promise = "D4" // moves a directory without depending on the parents of its new place
)

// The families, in order.
var (
	Log          = []Promise{W1, W2, W3, W4, W5, W6, W7}
	Journal      = []Promise{J1, J2, J3, J4, J5, J6, J7, J8, J9}
	Dependencies = []Promise{D1, D2, D3, D4}
)
