package volume_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestXattrValue_Kernel compares attributes of all lengths with those that the kernel makes by the same steps on an
// image of the same form: the same ones find no room, and each inode has as many blocks.
func TestXattrValue_Kernel(t *testing.T) {
	for _, args := range [][]string{
		{"-b", "4096"}, {"-b", "1024"}, {"-b", "1024", "-I", "128"}, {"-b", "4096", "-I", "1024"},
		{"-b", "4096", "-O", "^metadata_csum,^extent,^64bit"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			mkfs := append([]string{"-t", "ext4", "-O", "ea_inode"}, args...)
			c := comparison{rounds: 2, count: 300, values: valueLengths, kernel: mkfs}
			c.without = []string{"punch", "zero", "allocate"} // they may leave another count of blocks
			if !slices.Contains(args, "128") {
				// e2fsck 1.47 takes a short symlink without a block of attributes for a long one if it has such a
				// value, the kernel's, too.
				c.without = append(c.without, "symlink")
			}
			c.run(t, mkfs...)
		})
	}
}

// valueLengths are lengths of attributes' values: in the inode, in the block, in an inode of their own, and about where
// each begins.
func valueLengths(r *rand.Rand) int {
	switch r.IntN(8) {
	case 0, 1:
		return r.IntN(130)
	case 2:
		return 800 + r.IntN(300)
	case 3:
		return 3500 + r.IntN(700)
	case 4:
		return r.IntN(65537)
	}
	return r.IntN(5000)
}
