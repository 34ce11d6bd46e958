package volume_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// orphanImage is a file system of 1 KiB blocks whose orphan file has 32 blocks, 254 slots each.
func orphanImage(t testing.TB) string {
	return mkfs(t, "64M", "-t", "ext4", "-b", "1024", "-O", "orphan_file", "-E", "orphan_file_size=32", "-N", "16384")
}

// strand makes files and removes their names, while they stay in use.
func strand(t testing.TB, w *volume.Writable, n int) (nodes []ext4.Node) {
	t.Helper()
	for i := range n {
		name := fmt.Sprint("open", i)
		f := mkfile(t, w, ext4.Root, name, []byte("still in use"))
		must[ext4.Removed](t)(w.Unlink(root, ext4.Root, name))
		nodes = append(nodes, f)
	}
	return nodes
}

// TestOrphans_FullFile: more orphans than the orphan file has slots go on to the list of orphans. After a crash varve,
// e2fsck and the kernel free them all.
func TestOrphans_FullFile(t *testing.T) {
	path := orphanImage(t)
	w := open(t, path, volume.WriteOptions{})
	const slots, more = 32 * 254, 300
	nodes := strand(t, w, slots+more)
	if err := w.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes { // in no order: heads, middles and ends of the list, and slots of the file
		if i%3 == 0 {
			if err := w.Evict(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	t.Run("e2fsck", func(t *testing.T) {
		copied := oracle.Copy(t, path)
		if out, err := exec.Command("e2fsck", "-fy", copied).CombinedOutput(); err != nil &&
			err.(*exec.ExitError).ExitCode() != 1 {
			t.Fatalf("%v\n%s", err, out)
		}
		oracle.Clean(t, copied)
	})
	t.Run("kernel", func(t *testing.T) {
		oracle.NeedRoot(t)
		copied := oracle.Copy(t, path)
		_, unmount := oracle.MountKernel(t, copied, "rw")
		unmount()
		oracle.Clean(t, copied)
	})
	w = open(t, path, volume.WriteOptions{})
	stat, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if used := stat.Inodes - stat.FreeInodes; used > 15 {
		t.Errorf("%d inodes are in use after recovery", used)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

// TestOrphans_Bytes: what one orphan costs does not grow with the orphan file: creating a file, removing it and freeing
// it writes few blocks.
func TestOrphans_Bytes(t *testing.T) {
	image, err := os.ReadFile(orphanImage(t))
	if err != nil {
		t.Fatal(err)
	}
	tr := &blockcache.Trace{}
	w, err := volume.OpenOn(blockcache.Record(blockcache.NewRAM(image), tr, 0), volume.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abandon()
	before := len(tr.Events())
	const rounds = 8
	for range rounds {
		n, err := w.Create(root, ext4.Root, "f", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
		if err != nil {
			t.Fatal(err)
		}
		must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "f"))
		if err := w.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := w.Evict(ext4.NodeOf(&n)); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	written := 0
	for _, e := range tr.Events()[before:] {
		written += len(e.Data)
	}
	if written/rounds > 32<<10 {
		t.Errorf("a file that is made, removed and freed writes %d bytes", written/rounds)
	}
	t.Logf("%d bytes a file", written/rounds)
}
