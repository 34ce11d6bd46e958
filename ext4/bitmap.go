package ext4

import (
	"fmt"
	"math/bits"

	"github.com/varvefs/varve/internal/block"
)

// padBits sets the bits of a bitmap from n on, which stand for nothing.
func padBits(p []byte, n int) {
	for ; n%8 != 0; n++ {
		p[n/8] |= 1 << (n % 8)
	}
	for i := n / 8; i < len(p); i++ {
		p[i] = 0xff
	}
}

func countClear(p []byte, n int) int {
	used := 0
	for i := range n / 8 {
		used += bits.OnesCount8(p[i])
	}
	for i := n &^ 7; i < n; i++ {
		used += int(p[i/8] >> (i % 8) & 1)
	}
	return n - used
}

func bit(p []byte, i uint32) bool { return p[i/8]>>(i%8)&1 != 0 }

// findRun looks for clear bits from a bit on, and takes the first run of at least want, or the longest where there is
// none.
func findRun(p []byte, from, n, want uint32) (at, length uint32) {
	for i := from; i < n; {
		if p[i/8] == 0xff {
			i = (i/8 + 1) * 8
			continue
		}
		if bit(p, i) {
			i++
			continue
		}
		k := i + 1
		for k < n && k-i < want && !bit(p, k) {
			k++
		}
		if k-i > length {
			at, length = i, k-i
			if length == want {
				return at, length
			}
		}
		i = k
	}
	return at, length
}

// bitmap reads a bitmap, or makes one that the image leaves to be made.
func (fs *FS) bitmap(n block.Number, uninit bool, build func([]byte)) ([]byte, error) {
	out := make([]byte, fs.super.BlockSize)
	if uninit {
		build(out)
		return out, nil
	}
	p, err := fs.block(n)
	if err != nil {
		return nil, fmt.Errorf("bitmap in %v: %w", n, err)
	}
	copy(out, p)
	return out, nil
}
