package volume_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestMutated_Written changes single fields of an image's metadata and journal, by a seed, and writes to what is left:
// errors are right, and a panic, a hang or much memory are not. VARVE_MUTATE_SEED and VARVE_MUTATE_ROUNDS repeat a run.
func TestMutated_Written(t *testing.T) {
	number := func(name string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	first, rounds := number("VARVE_MUTATE_SEED", 1), number("VARVE_MUTATE_ROUNDS", 60)
	for name, args := range map[string][]string{
		"extents":  {"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,orphan_file"},
		"indirect": {"-t", "ext3", "-b", "1024"},
		"large":    {"-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^uninit_bg", "-I", "256"},
		"clusters": {"-t", "ext4", "-b", "1024", "-C", "8192", "-O", "^metadata_csum,^uninit_bg,bigalloc"},
		"huge":     {"-t", "ext4", "-b", "16384", "-O", "^metadata_csum,^uninit_bg,^has_journal"},
	} {
		t.Run(name, func(t *testing.T) {
			clean, dirty := mutable(t, args...)
			for seed := first; seed < first+rounds; seed++ {
				image := bytes.Clone(clean)
				if seed%2 == 0 {
					image = bytes.Clone(dirty)
				}
				what := mutate(rand.New(rand.NewPCG(seed, 0)), image)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer func() {
						if r := recover(); r != nil {
							t.Errorf("seed %d, %s: %v\n%s", seed, what, r, debug.Stack())
						}
					}()
					exercise(image)
				}()
				select {
				case <-ended:
				case <-time.After(time.Minute):
					panic(fmt.Sprintf("seed %d, %s: hangs", seed, what)) // shows where
				}
			}
		})
	}
}

// mutable makes an image with something of everything, once closed and once with a full journal.
func mutable(t *testing.T, args ...string) (clean, dirty []byte) {
	t.Helper()
	path := mkfs(t, "8M", args...)
	w := open(t, path, volume.WriteOptions{})
	a, b := mkdir(t, w, ext4.Root, "a"), mkdir(t, w, ext4.Root, "b")
	for i := range 150 {
		mkfile(t, w, b, fmt.Sprintf("a rather long name, so that there is a hash tree %04d", i), []byte(fmt.Sprint(i)))
	}
	f := mkfile(t, w, a, "sparse", []byte("begin"))
	for i := range int64(40) {
		if _, err := w.Write(root, f, (2*i+3)*4096, bytes.Repeat([]byte{7}, 4096), false); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		if err := w.SetXattr(root, f, fmt.Sprintf("user.name%d", i), bytes.Repeat([]byte("x"), 60), 0, false); err != nil {
			t.Fatal(err)
		}
	}
	must[ext4.Inode](
		t,
	)(
		w.Create(
			root,
			a,
			"link",
			ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: string(bytes.Repeat([]byte("x/"), 200))},
		),
	)
	mkfile(t, w, a, "file", bytes.Repeat([]byte("data"), 5000))
	mkfile(t, w, a, "gone", bytes.Repeat([]byte("data"), 5000))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	clean, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w = open(t, path, volume.WriteOptions{})
	mkfile(t, w, a, "new", bytes.Repeat([]byte("more"), 3000))
	must[ext4.Removed](t)(w.Unlink(root, a, "gone")) // an orphan
	if err := w.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	if dirty, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return clean, dirty
}

// mutate changes a few fields near bytes that are not zero.
func mutate(r *rand.Rand, p []byte) (what string) {
	for range 1 + r.IntN(3) {
		at := r.IntN(len(p)/4) * 4
		switch r.IntN(4) {
		case 0:
			at = 1024 + r.IntN(256)*4
		case 1:
			at = 1024 + r.IntN(64<<10)/4*4
		}
		for i := 0; i < len(p) && binary.LittleEndian.Uint32(p[at:]) == 0; i += 4 {
			at = (at + 4) % len(p)
		}
		at += r.IntN(4)
		if at+4 > len(p) {
			continue
		}
		was := bytes.Clone(p[at : at+4])
		le := binary.LittleEndian
		switch old := le.Uint32(p[at:]); r.IntN(8) {
		case 0, 1:
			p[at] ^= 1 << r.IntN(8)
		case 2:
			p[at] = byte(r.Uint32())
		case 3:
			le.PutUint16(p[at:], uint16([]int{0, 1, 0xffff, 0x7fff, 0x8000, 12, 4}[r.IntN(7)]))
		case 4:
			le.PutUint32(p[at:], []uint32{0, 1, 0xffffffff, 0x7fffffff, 0x80000000, 2, 8, 11}[r.IntN(8)])
		case 5:
			le.PutUint32(p[at:], old+uint32(r.IntN(9))-4)
		case 6:
			le.PutUint32(p[at:], r.Uint32N(uint32(len(p)/1024)))
		case 7:
			from := r.IntN(len(p) - 4)
			copy(p[at:at+4], p[from:from+4])
		}
		what += fmt.Sprintf("byte %d: %x to %x; ", at, was, p[at:at+4])
	}
	return what
}

// exercise checks an image, reads all of it and changes something everywhere.
func exercise(image []byte) {
	if fs, err := ext4.Open(blockcache.Memory(image), ext4.Options{}); err == nil {
		_, _ = fs.Check(nil)
	}
	w, err := volume.OpenOn(blockcache.NewRAM(image), volume.WriteOptions{Memory: 4 << 20})
	if err != nil {
		return
	}
	nodes, names := []ext4.Node{ext4.Root}, map[ext4.Node][]string{}
	_ = w.View(func(fs *ext4.FS) error {
		seen := map[ext4.Node]bool{}
		for i := 0; i < len(nodes) && i < 400; i++ {
			n := new(ext4.Inode)
			if seen[nodes[i]] || fs.ReadNode(n, nodes[i]) != nil {
				continue
			}
			seen[nodes[i]] = true
			_, _ = n.Xattrs()
			_, _ = n.Readlink()
			_, _ = io.CopyN(io.Discard, io.NewSectionReader(n, 0, 1<<20), 1<<20)
			_, _ = n.SeekHole(0)
			if !n.IsDir() {
				continue
			}
			_ = n.ReadDir(0, func(e ext4.Dirent) bool {
				name := string(e.Name)
				names[nodes[i]] = append(names[nodes[i]], name)
				if c, err := n.Child(name, e.Ino); err == nil && name != "." && name != ".." {
					nodes = append(nodes, ext4.NodeOf(c))
				}
				return len(names[nodes[i]]) < 300
			})
		}
		return nil
	})
	change(w, nodes, names)
	_ = w.Sync(context.Background())
	_ = w.EvictAll()
	_ = w.Close()
}

// change does one of each operation on each node, or on the first ones.
func change(w *volume.Writable, nodes []ext4.Node, names map[ext4.Node][]string) {
	for i, n := range nodes[:min(len(nodes), 200)] {
		_, _ = w.Write(root, n, int64(i)*3000, bytes.Repeat([]byte{9}, 5000), false)
		_ = w.SetXattr(root, n, "user.new", bytes.Repeat([]byte{9}, 10*i), 0, false)
		_ = w.RemoveXattr(root, n, "user.name1")
		_ = w.Punch(root, n, 4096, 30000)
		_ = w.Allocate(root, n, 100000, 50000, false)
		if size := uint64(i) * 1000; i%3 == 0 {
			_, _ = w.SetAttr(root, n, ext4.Attr{Size: &size})
		}
		for k, name := range names[n] {
			to := fmt.Sprint("renamed", k)
			switch k % 4 {
			case 0:
				if r, err := w.Unlink(root, n, name); err == nil {
					_ = w.Evict(r.Node)
				} else if errors.Is(err, ext4.ErrIsDir) {
					_, _ = w.Rmdir(root, n, name)
				}
			case 1:
				_, _ = w.Rename(root, n, name, n, to, 0)
			case 2:
				_, _ = w.Create(root, n, to, ext4.CreateOptions{Mode: disk.ModeDir | 0o755})
			case 3:
				_, _ = w.Create(root, n, to, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
			}
		}
	}
}
