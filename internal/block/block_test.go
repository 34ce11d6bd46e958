package block

import "testing"

// TestSize_Valid: powers of two from 1 KiB to 64 KiB are sizes, and nothing else is.
func TestSize_Valid(t *testing.T) {
	valid := map[Size]bool{1024: true, 2048: true, 4096: true, 8192: true, 16384: true, 32768: true, 65536: true}
	for s := Size(0); s <= 2*MaxSize; s++ {
		if s.Valid() != valid[s] {
			t.Errorf("%d: %v", s, s.Valid())
		}
	}
	if Size(1 << 31).Valid() {
		t.Error("2^31 bytes")
	}
}

// TestSize_Offset does not overflow 32 bits.
func TestSize_Offset(t *testing.T) {
	for _, c := range []struct {
		size Size
		n    Number
		want int64
	}{{1024, 0, 0}, {1024, 3, 3072}, {4096, 1 << 32, 1 << 44}, {65536, 1<<40 + 1, 1<<56 + 65536}} {
		if got := c.size.Offset(c.n); got != c.want {
			t.Errorf("%v of %d bytes is at %d, expected %d", c.n, c.size, got, c.want)
		}
	}
	if s := Number(1 << 40).String(); s != "block 1099511627776" {
		t.Error(s)
	}
}
