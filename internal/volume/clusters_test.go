package volume_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestClusters_Kernel does the same random steps by varve and by the kernel on images with bigalloc: the trees
// are the same. Then the kernel goes on with varve's image, and varve with what that leaves. e2fsck and varve's own
// checker look after each turn; they count the blocks, which differ where one tree needs a node more: the kernel writes
// zeros rather than split a short extent (extent_max_zeroout_kb).
func TestClusters_Kernel(t *testing.T) {
	oracle.NeedRoot(t)
	for _, args := range [][]string{
		{"-b", "4096", "-C", "16384"},
		{"-b", "1024", "-C", "16384", "-N", "1024"},
		{"-b", "4096", "-C", "65536", "-O", "^metadata_csum"},
		{"-b", "4096", "-C", "8192", "-O", "^has_journal,ea_inode"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			compareClusters(t, rand.New(rand.NewPCG(seed, 12)), append([]string{"-t", "ext4", "-O", "bigalloc"}, args...)...)
		})
	}
}

func compareClusters(t *testing.T, random *rand.Rand, args ...string) {
	r := &steps{Rand: random, values: func(r *rand.Rand) int { return r.IntN(500) }, reach: 200 << 10}
	ours := mkfs(t, "96M", args...)
	theirs, _ := oracle.MountKernel(t, mkfs(t, "96M", args...), "user_xattr")
	both := func(turn string, do func(step) error) {
		for range 250 {
			s := r.next()
			if got, want := do(s), (kernelDoer{theirs}).do(s); (got == nil) != (want == nil) {
				t.Errorf("%s, %v %s %d+%d: %v, and the kernel: %v", turn, s.do, s.path, s.at, s.n, got, want)
			}
		}
	}
	for round := range 3 {
		w := open(t, ours, volume.WriteOptions{JournalData: round == 1 && !slices.Contains(args, "^has_journal,ea_inode")})
		both(fmt.Sprintf("round %d", round), varveDoer{w}.do)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		oracle.Clean(t, ours)
		clean(t, ours)
		dir, unmount := oracle.MountKernel(t, ours, "user_xattr")
		want, got := withoutDirSizes(oracle.Tree(t, theirs)), withoutDirSizes(oracle.Tree(t, dir))
		oracle.Compare(t, "the kernel's", want, "varve's", got, "times", "blocks")
		both("by the kernel alone", kernelDoer{dir}.do)
		unmount()
		oracle.Clean(t, ours)
		clean(t, ours)
		if t.Failed() {
			return
		}
	}
}
