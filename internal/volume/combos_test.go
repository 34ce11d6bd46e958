package volume_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// combo is a random combination of mke2fs's options.
type combo struct {
	args   []string
	inline bool // the kernel must not write to such files: see kernelDoer
}

// comboFeatures are turned on or off at random. Some of them mke2fs takes only together with others.
var comboFeatures = []string{
	"has_journal", "extent", "64bit", "metadata_csum", "uninit_bg", "flex_bg", "resize_inode", "sparse_super",
	"sparse_super2", "dir_index", "large_dir", "huge_file", "dir_nlink", "extra_isize", "inline_data", "ea_inode",
	"casefold", "encrypt", "verity", "project", "quota", "orphan_file", "fast_commit", "stable_inodes", "large_file",
	"filetype", "metadata_csum_seed", "ext_attr", "bigalloc",
}

func newCombo(r *rand.Rand) combo {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	if r.IntN(20) == 0 {
		return combo{args: []string{"-t", "ext2", "-O", "none", "-r", "0", "-b", one("1024", "2048", "4096")}}
	}
	c := combo{args: []string{"-t", one("ext2", "ext3", "ext4", "ext4", "ext4"),
		"-b", one("1024", "1024", "2048", "4096", "4096", "8192", "65536")}}
	add := func(option string, values ...string) {
		if r.IntN(3) == 0 {
			c.args = append(c.args, option, one(values...))
		}
	}
	add("-I", "128", "256", "512", "1024")
	add("-g", "256", "512", "1000", "2048", "4096", "8192")
	if c.args[1] == "ext4" {
		add("-G", "1", "2", "64", "1024")
	}
	add("-N", "200", "1000", "5000")
	add("-m", "0", "1", "20")
	add("-J", "size=1", "size=2", "size=4", "size=8", "fast_commit_size=1024")
	add("-E", "lazy_itable_init=0", "packed_meta_blocks=1", "num_backup_sb=0", "num_backup_sb=1", "resize=200000",
		"stride=4,stripe_width=16", "nodiscard", "root_owner=7:8")
	var features []string
	for _, f := range comboFeatures {
		if c.args[1] != "ext4" && slices.Contains([]string{"64bit", "bigalloc", "flex_bg"}, f) {
			continue // mke2fs wants extents for most of them
		}
		switch r.IntN(8) {
		case 0:
			features = append(features, f)
			c.inline = c.inline || f == "inline_data"
		case 1:
			features = append(features, "^"+f)
		}
	}
	if r.IntN(6) == 0 {
		features = append(features, "meta_bg", "^resize_inode")
	}
	if features != nil {
		c.args = append(c.args, "-O", strings.Join(features, ","))
	}
	return c
}

// comboCounts say what became of the combinations.
type comboCounts struct{ refused, unwritable, alone, compared atomic.Int64 }

// TestCombos does random changes on images of random combinations of features, and the kernel does the same on another
// one of the combination. A combination has a seed: VARVE_COMBO_SEED is the first, VARVE_COMBO_ROUNDS says how many.
func TestCombos(t *testing.T) {
	oracle.NeedRoot(t)
	number := func(name string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	first, rounds := number("VARVE_COMBO_SEED", 1), number("VARVE_COMBO_ROUNDS", 8)
	var counts comboCounts
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+rounds; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				runCombo(t, seed, &counts)
			})
		}
	})
	t.Logf("%d combinations: mke2fs refuses %d, varve does not write %d, "+
		"%d were written to without the kernel, %d with it",
		rounds, counts.refused.Load(), counts.unwritable.Load(), counts.alone.Load(), counts.compared.Load())
	if done := uint64(counts.compared.Load() + counts.alone.Load()); rounds >= 8 && done < rounds/3 {
		t.Errorf("only %d of %d combinations were written to", done, rounds)
	}
}

// comboImage makes an image, or reports that mke2fs does not.
func comboImage(t *testing.T, args []string) (string, bool) {
	t.Helper()
	oracle.Need(t, "mke2fs", "e2fsck")
	path := filepath.Join(t.TempDir(), "image")
	args = slices.Concat([]string{"-q", "-F"}, args, []string{path, "32M"})
	out, err := exec.Command("mke2fs", args...).CombinedOutput()
	if err != nil {
		t.Logf("mke2fs: %s", out)
	}
	return path, err == nil
}

func runCombo(t *testing.T, seed uint64, counts *comboCounts) {
	r := rand.New(rand.NewPCG(seed, 17))
	c := newCombo(r)
	t.Logf("mke2fs %s 32M; again: VARVE_COMBO_SEED=%d VARVE_COMBO_ROUNDS=1 go test -run TestCombos ./internal/volume",
		strings.Join(c.args, " "), seed)
	ours, made := comboImage(t, c.args)
	if made && exec.Command("e2fsck", "-fn", ours).Run() != nil {
		t.Log("e2fsck finds damage in the new image") // 1.47 counts wrong with one group and packed_meta_blocks
		made = false
	}
	if !made {
		counts.refused.Add(1)
		return
	}
	w, err := volume.OpenWritable(volume.Spec{Image: ours}, volume.WriteOptions{})
	if errors.Is(err, ondisk.ErrUnsupported) {
		t.Logf("varve: %v", err)
		counts.unwritable.Add(1)
		return
	} else if err != nil {
		t.Fatal(err)
	} else if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The kernel mounts a copy, as the mount changes what it mounts.
	mountable := oracle.Mountable(t, oracle.Copy(t, ours))
	theirs, values := oracle.Copy(t, ours), func(r *rand.Rand) int { return r.IntN(200) }
	if mountable && !c.inline {
		counts.compared.Add(1)
	} else { // an image of another form, with room for the same attributes
		counts.alone.Add(1)
		kind := "ext3"
		if superOf(t, ours).Incompat&disk.IncompatExtents != 0 {
			kind = "ext4"
		}
		theirs = mkfs(t, "32M", "-t", kind, "-I", "1024", "-O", "ea_inode")
		values = func(r *rand.Rand) int { return r.IntN(30) }
	}
	dir, _ := oracle.MountKernel(t, theirs, "user_xattr")
	s := &steps{Rand: r, values: values}
	for round := range 2 {
		comboRound(t, s, ours, dir)
		if mountable {
			read, unmount := oracle.MountKernel(t, ours, "user_xattr")
			oracle.Compare(t, "the kernel's", withoutDirSizes(oracle.Tree(t, dir)),
				"varve's", withoutDirSizes(oracle.Tree(t, read)), "blocks", "times")
			if !c.inline { // it goes on with what varve has left
				for range 20 {
					step := s.next()
					_, _ = kernelDoer{read}.do(step), kernelDoer{dir}.do(step)
				}
			}
			unmount()
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// comboRound does the same changes on both.
func comboRound(t *testing.T, s *steps, ours, theirs string) {
	w := open(t, ours, volume.WriteOptions{})
	for range 100 {
		step := s.next()
		got, want := varveDoer{w}.do(step), kernelDoer{theirs}.do(step)
		if (got == nil) != (want == nil) {
			t.Errorf("%v: %v, and the kernel: %v", step, got, want)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, ours)
	clean(t, ours)
}
