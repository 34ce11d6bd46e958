package merge

import "strings"

// Proof is the set of reasons why a transaction's edits of one block stand. Its names are those of FrankenFS where
// that has one.
type Proof uint16

// The proofs. DisjointBlocks: no other transaction changed the block. Unsafe is no proof: a whole block was written,
// and stands only where nothing changed.
const (
	DisjointBlocks Proof = 1 << iota
	IndependentKeys
	NonOverlappingExtents
	AppendOnly
	TimestampOnly
	Counters
	Bits
	Checked
	Reapplied
	Unsafe
	proofs = iota
)

var proofNames = [proofs]string{"disjoint-blocks", "independent-keys", "non-overlapping-extents", "append-only",
	"timestamp-only", "counters", "bits", "check", "reapply", "unsafe"}

// byKind is what each type of edit proves.
var byKind = [kinds]Proof{
	KindSet:     IndependentKeys,
	KindExtent:  NonOverlappingExtents,
	KindAppend:  AppendOnly,
	KindAdd:     Counters,
	KindMax:     TimestampOnly,
	KindBits:    Bits,
	KindCheck:   Checked,
	KindReapply: Reapplied,
	KindWhole:   Unsafe,
}

func (p Proof) String() string {
	var names []string
	for i, n := range proofNames {
		if p&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}
