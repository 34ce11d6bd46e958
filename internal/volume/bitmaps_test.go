package volume_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// manyGroups allocates and frees blocks in many groups of a large image, and returns the most bytes that bitmaps took
// in memory.
func manyGroups(t testing.TB, memory int64) (most int64) {
	t.Helper()
	path := mkfs(
		t,
		"64G",
		"-t",
		"ext4",
		"-N",
		"32768",
		"-J",
		"size=16",
		"-E",
		"lazy_itable_init=1,packed_meta_blocks=1",
	)
	w := open(t, path, volume.WriteOptions{Memory: memory})
	before := must[ext4.Stat](t)(w.Stat())
	n := mkfile(t, w, ext4.Root, "large", nil)
	const step, size = 4 << 30, 24 << 30 // of 192 groups
	for round := range 2 {
		for at := uint64(0); at < size; at += step {
			if err := w.Allocate(root, n, at, step, false); err != nil {
				t.Fatal(err)
			}
			most = max(most, w.BitmapBytes())
		}
		if st := must[ext4.Stat](t)(w.Stat()); before.Free-st.Free < size/4096 || before.Free-st.Free > size/4096+100 {
			t.Errorf("round %d: %d blocks were taken", round, before.Free-st.Free)
		}
		zero := uint64(0)
		must[ext4.Inode](t)(w.SetAttr(root, n, ext4.Attr{Size: &zero}))
		most = max(most, w.BitmapBytes())
	}
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := must[ext4.Stat](t)(w.Stat()); st.Free != before.Free {
		t.Errorf("%d blocks are free, and before were %d", st.Free, before.Free)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	return most
}

// TestBitmaps_Bounded: bitmaps of groups stay within their share of the memory.
func TestBitmaps_Bounded(t *testing.T) {
	const memory, inUse = 8 << 20, 16 * 2 * 4096
	if most := manyGroups(t, memory); most > memory/8+inUse || most < memory/16 {
		t.Errorf("bitmaps took %d bytes of %d", most, memory)
	}
}

// TestBitmaps_Churn: files come, grow, shrink and go in many small groups whose bitmaps leave memory all the time, and
// no block or inode is given out twice or lost.
func TestBitmaps_Churn(t *testing.T) {
	path := mkfs(t, "64M", "-t", "ext4", "-b", "1024", "-g", "256", "-O", "^resize_inode", "-N", "8192")
	w := open(t, path, volume.WriteOptions{Memory: 256 << 10})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var running sync.WaitGroup
	for i := range 4 {
		dir := mkdir(t, w, ext4.Root, fmt.Sprint("dir", i))
		running.Go(func() {
			if err := comeAndGo(w, dir, rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if most := w.BitmapBytes(); most > 64<<10 { // twice the bound: other threads keep some
		t.Errorf("bitmaps take %d bytes", most)
	}
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	had := must[ext4.Stat](t)(w.Stat())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	v, err := volume.Open(volume.Spec{Image: path})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if st := must[ext4.Stat](t)(v.Stat()); st.Free != had.Free || st.FreeInodes != had.FreeInodes {
		t.Errorf(
			"%d blocks and %d inodes were counted as free, and are %d and %d",
			had.Free,
			had.FreeInodes,
			st.Free,
			st.FreeInodes,
		)
	}
}

// comeAndGo makes, changes and removes files of a directory.
func comeAndGo(w *volume.Writable, dir ext4.Node, rng *rand.Rand) error {
	for range 400 {
		name := fmt.Sprint("file", rng.IntN(20))
		n, err := lookup(w, dir, name)
		switch {
		case errors.Is(err, ext4.ErrNotExist):
			if n, err = w.Create(root, dir, name, ext4.CreateOptions{Mode: 0o100644}); err != nil {
				return err
			}
		case err != nil:
			return err
		case rng.IntN(3) == 0:
			r, err := w.Unlink(root, dir, name)
			if err != nil {
				return err
			}
			if err := w.Evict(r.Node); err != nil {
				return err
			}
			continue
		case rng.IntN(3) == 0:
			size := uint64(rng.IntN(200 << 10))
			if _, err := w.SetAttr(root, ext4.NodeOf(&n), ext4.Attr{Size: &size}); err != nil {
				return err
			}
		}
		if _, err := w.Write(root, ext4.NodeOf(&n), int64(rng.IntN(300<<10)), make([]byte, rng.IntN(100<<10)),
			false); err != nil {
			return err
		}
	}
	return nil
}
