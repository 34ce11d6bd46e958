package volume_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestXattrs_Shared: inodes with the same attributes refer to one block, up to 1,024 of them, and have one of their own
// again when theirs change.
func TestXattrs_Shared(t *testing.T) {
	path := mkfs(t, "64M", "-t", "ext4", "-I", "128", "-b", "4096")
	w := open(t, path, volume.WriteOptions{})
	const files = 1500
	value := bytes.Repeat([]byte("label "), 300)
	var nodes []ext4.Node
	for i := range files {
		nodes = append(nodes, mkfile(t, w, ext4.Root, fmt.Sprint("file", i), nil))
	}
	before := must[ext4.Stat](t)(w.Stat())
	for _, n := range nodes {
		if err := w.SetXattr(root, n, "user.label", value, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	if st := must[ext4.Stat](t)(w.Stat()); before.Free-st.Free != 2 {
		t.Errorf("%d files with the same attributes took %d blocks, expected 2", files, before.Free-st.Free)
	}
	if err := w.SetXattr(root, nodes[7], "user.label", []byte("another"), 0, false); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes[:20] {
		want := value
		if i == 7 {
			want = []byte("another")
		}
		err := w.View(func(fs *ext4.FS) error {
			var inode ext4.Inode
			if err := fs.ReadNode(&inode, n); err != nil {
				return err
			}
			got, err := inode.Xattr("user.label")
			if !bytes.Equal(got, want) {
				t.Errorf("file %d has %.20q", i, got)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes[10:] {
		if err := w.RemoveXattr(root, n, "user.label"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

// TestXattrs_SharedConcurrent has goroutines give files a few sets of attributes in turn, take them away, and remove
// the files, while others write data into the blocks that become free: each file has what it was given last, and e2fsck
// finds every count right.
func TestXattrs_SharedConcurrent(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-I", "128", "-b", "1024")
	w := open(t, path, volume.WriteOptions{})
	var values [3][]byte
	for i := range values {
		values[i] = bytes.Repeat([]byte{byte('a' + i)}, 700)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 150 {
				name := fmt.Sprintf("file %d %d", g, i)
				inode, err := w.Create(root, ext4.Root, name, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
				node := ext4.NodeOf(&inode)
				var last []byte
				for range 4 {
					if last = values[rng.IntN(len(values))]; err == nil {
						err = w.SetXattr(root, node, "user.label", last, 0, false)
					}
				}
				if err == nil {
					_, err = w.Write(root, node, 0, bytes.Repeat([]byte("data"), 700), false)
				}
				if err == nil && i%3 > 0 {
					var r ext4.Removed
					if r, err = w.Unlink(root, ext4.Root, name); err == nil {
						err = w.Evict(r.Node)
					}
				} else if err == nil {
					err = w.View(func(fs *ext4.FS) error {
						var n ext4.Inode
						if err := fs.ReadNode(&n, node); err != nil {
							return err
						}
						got, err := n.Xattr("user.label")
						if !bytes.Equal(got, last) {
							t.Errorf("%s has %.9q, expected %.9q", name, got, last)
						}
						return err
					})
				}
				if err == nil && i%20 == 0 {
					err = w.SyncNode(t.Context(), ext4.Root)
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		}()
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}
