package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/mvcc"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestConcurrent_OneDirectory has goroutines create, link, rename and remove names of one directory, and keep account
// of their own: at the end the directory has exactly those names, and e2fsck finds nothing.
func TestConcurrent_OneDirectory(t *testing.T) {
	for _, policy := range []mvcc.Policy{mvcc.Merge, mvcc.Strict} {
		t.Run(policy.String(), func(t *testing.T) {
			path := mkfs(t, "96M", "-t", "ext4", "-b", "1024", "-N", "16384")
			w := open(t, path, volume.WriteOptions{Policy: policy, Commit: 50 * time.Millisecond})
			dir := mkdir(t, w, ext4.Root, "shared")
			other := mkdir(t, w, ext4.Root, "other")
			const writers, steps = 16, 250
			names := make([]map[string]bool, writers)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			var wg sync.WaitGroup
			for g := range writers {
				names[g] = map[string]bool{}
				wg.Go(func() {
					churn(t, w, dir, other, rand.New(rand.NewPCG(seed, uint64(g))), fmt.Sprint("w", g), steps, names[g])
				})
			}
			wg.Wait()
			stats := w.Store.Stats()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
			v, err := volume.Open(volume.Spec{Image: path})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			want, got := 0, map[string]bool{}
			for _, n := range list(t, v, "/shared") {
				got[n] = true
			}
			for g := range writers {
				for n := range names[g] {
					want++
					if !got[n] {
						t.Errorf("%s is missing", n)
					}
				}
			}
			if len(got) != want+2 {
				t.Errorf("%d names, expected %d", len(got)-2, want)
			}
			t.Logf(
				"%d commits, %d conflicts, %d merges, %d aborts",
				stats.Commits,
				stats.Conflicts,
				stats.Merges,
				stats.Aborts,
			)
		})
	}
}

// churn does random things to names that belong to one goroutine.
func churn(
	t *testing.T,
	w *volume.Writable,
	dir, other ext4.Node,
	r *rand.Rand,
	prefix string,
	steps int,
	mine map[string]bool,
) {
	some := func() string {
		for n := range mine {
			return n
		}
		return ""
	}
	fail := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %s: %v", prefix, what, err)
		}
	}
	for i := range steps {
		fresh := fmt.Sprintf("%s with a name that is long enough to split %d", prefix, i)
		switch old := some(); {
		case r.IntN(3) == 0 && old != "":
			removed, err := w.Unlink(root, dir, old)
			fail("unlink", err)
			delete(mine, old)
			if removed.Last {
				fail("evict", w.Evict(removed.Node))
			}
		case r.IntN(3) == 0 && old != "":
			_, err := w.Rename(root, dir, old, dir, fresh, 0)
			fail("rename", err)
			delete(mine, old)
			mine[fresh] = true
		case r.IntN(4) == 0 && old != "":
			_, err := w.Rename(root, dir, old, other, fresh, 0)
			fail("rename away", err)
			_, err = w.Rename(root, other, fresh, dir, old, 0)
			fail("rename back", err)
		default:
			n, err := w.Create(root, dir, fresh, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
			fail("create", err)
			mine[fresh] = true
			_, err = w.Write(root, ext4.NodeOf(&n), 0, bytes.Repeat([]byte(prefix), 1+r.IntN(900)), false)
			fail("write", err)
		}
	}
}

// TestConcurrent_Dependencies runs pairs of operations of which one forbids the other, at a time and many times:
// exactly one may succeed, and e2fsck finds nothing afterwards. Each pair is a dependency of docs/design.md that typed
// edits alone would not see.
func TestConcurrent_Dependencies(t *testing.T) {
	path := mkfs(t, "64M", "-t", "ext4")
	w := open(t, path, volume.WriteOptions{})
	pairs := map[string]func(i int) (a, b func() error){
		"create in a directory that is removed": func(i int) (a, b func() error) {
			name := fmt.Sprint("dir", i)
			d := mkdir(t, w, ext4.Root, name)
			return func() error { _, err := w.Rmdir(root, ext4.Root, name); return err },
				func() error {
					_, err := w.Create(root, d, "file", ext4.CreateOptions{Mode: disk.ModeRegular})
					return err
				}
		},
		"one name, two files": func(i int) (a, b func() error) {
			name := fmt.Sprint("twice", i)
			create := func() error {
				_, err := w.Create(root, ext4.Root, name, ext4.CreateOptions{Mode: disk.ModeRegular})
				return err
			}
			return create, create
		},
		"two directories into one another": func(i int) (a, b func() error) {
			x, y := fmt.Sprint("x", i), fmt.Sprint("y", i)
			dx, dy := mkdir(t, w, ext4.Root, x), mkdir(t, w, ext4.Root, y)
			return func() error { _, err := w.Rename(root, ext4.Root, x, dy, "in", 0); return err },
				func() error { _, err := w.Rename(root, ext4.Root, y, dx, "in", 0); return err }
		},
		"a last link and a new one": func(i int) (a, b func() error) {
			name := fmt.Sprint("last", i)
			f := mkfile(t, w, ext4.Root, name, []byte("x"))
			return func() error {
					r, err := w.Unlink(root, ext4.Root, name)
					if err == nil && r.Last {
						return w.Evict(r.Node)
					}
					if err == nil {
						return errors.New("it was not the last one") // the other one came first: both are right
					}
					return err
				}, func() error {
					_, err := w.Link(root, f, ext4.Root, name+" again")
					return err
				}
		},
		"one name removed twice": func(i int) (a, b func() error) {
			name := fmt.Sprint("gone", i)
			mkfile(t, w, ext4.Root, name, nil)
			remove := func() error { _, err := w.Unlink(root, ext4.Root, name); return err }
			return remove, remove
		},
	}
	for what, pair := range pairs {
		for i := range 60 {
			a, b := pair(i)
			var errs [2]error
			var wg sync.WaitGroup
			wg.Go(func() { errs[0] = a() })
			wg.Go(func() { errs[1] = b() })
			wg.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("%s: %v and %v: exactly one must succeed", what, errs[0], errs[1])
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

// interleaved opens an image on which a function runs once between the next operation and its commit.
func interleaved(t *testing.T) (w *volume.Writable, next *func()) {
	t.Helper()
	next = new(func())
	w = open(t, mkfs(t, "32M", "-t", "ext4", "-b", "1024"), volume.WriteOptions{Between: func() {
		if do := *next; do != nil {
			*next = nil
			do()
		}
	}})
	t.Cleanup(func() { _ = w.Abandon() })
	return w, next
}

// exclude runs b between a and its commit, and reports whether both succeeded.
func exclude(t *testing.T, pair func(w *volume.Writable) (a, b func() error)) string {
	t.Helper()
	w, next := interleaved(t)
	a, b := pair(w)
	var second error
	*next = func() { second = b() }
	first := a()
	if first == nil && second == nil {
		return "two operations that exclude one another both succeeded"
	}
	if first != nil && second != nil {
		return fmt.Sprintf("neither succeeded: %v; %v", first, second)
	}
	return ""
}

// splitLeaf has names come between an insertion and its commit, so many that its leaf is split: the name must be found
// afterwards.
func splitLeaf(t *testing.T) string {
	w, next := interleaved(t)
	d := mkdir(t, w, ext4.Root, "d")
	create := func(name string) {
		must[ext4.Inode](t)(w.Create(root, d, name, ext4.CreateOptions{Mode: disk.ModeRegular}))
	}
	for i := range 60 { // the directory has a hash tree
		create(fmt.Sprintf("a name of some length %d", i))
	}
	for i := range 12 {
		*next = func() {
			for j := range 40 {
				create(fmt.Sprintf("another name of some length %d %d", i, j))
			}
		}
		name := fmt.Sprintf("the name %d", i)
		create(name)
		if _, err := lookup(w, d, name); err != nil {
			return fmt.Sprintf("%s: %v", name, err)
		}
	}
	return ""
}
