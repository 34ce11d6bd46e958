package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// superOf reads the superblock of an image as it is now.
func superOf(t testing.TB, path string) *disk.Superblock {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return must[*disk.Superblock](t)(ext4.ReadSuperblock(f, 0))
}

// TestUnlogged_State follows an image without a journal through mounts: it is clean only between them, a crash leaves
// it for e2fsck, the mount says so, and no list of orphans is on it.
func TestUnlogged_State(t *testing.T) {
	for _, name := range []string{"ext2", "no journal", "ext2 1k"} {
		path := mkfs(t, "16M", forms[name]...)
		var notice string
		o := volume.WriteOptions{Notice: func(text string) { notice = text }}
		clean := func(want bool, when string) {
			t.Helper()
			if s := superOf(t, path); (s.State&disk.StateClean != 0) != want || s.LastOrphan != 0 {
				t.Errorf("%s, %s: state %#x, orphan %d", name, when, s.State, s.LastOrphan)
			}
		}
		w := open(t, path, o)
		if !strings.Contains(notice, "after a crash it needs e2fsck") {
			t.Errorf("%s: mounting says %q", name, notice)
		}
		clean(false, "mounted")
		mkfile(t, w, ext4.Root, "kept", []byte("kept"))
		mkfile(t, w, ext4.Root, "open", []byte("open"))
		must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "open"))
		if err := w.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		clean(false, "after an epoch")
		if err := w.Abandon(); err != nil {
			t.Fatal(err)
		}
		w = open(t, path, o)
		if !strings.Contains(notice, "was not unmounted cleanly") {
			t.Errorf("%s: mounting after a crash says %q", name, notice)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		clean(false, "unmounted after a crash")
		// without -f: for it must look by itself
		if out, err := exec.Command("e2fsck", "-p", path).CombinedOutput(); err == nil {
			t.Errorf("%s: e2fsck found nothing to repair: %s", name, out)
		}
		clean(true, "repaired")
		if err := open(t, path, o).Close(); err != nil {
			t.Fatal(err)
		}
		clean(true, "unmounted")
		oracle.Clean(t, path)
	}
}

// TestUnlogged_Order looks at the writes of an fsync without a journal: the data, a flush, the metadata, a flush, and
// nothing more.
func TestUnlogged_Order(t *testing.T) {
	image := must[[]byte](t)(os.ReadFile(mkfs(t, "16M", forms["ext2"]...)))
	tr := &blockcache.Trace{}
	w := must[*volume.Writable](
		t,
	)(
		volume.OpenOn(blockcache.Record(blockcache.NewRAM(image), tr, 0), volume.WriteOptions{}),
	)
	begin := len(tr.Events())
	data := bytes.Repeat([]byte("varve"), 2000)
	mkfile(t, w, ext4.Root, "file", data)
	if err := w.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	order := ""
	for _, e := range tr.Events()[begin:] {
		kind := "m"
		if e.Flush() {
			kind = "f"
		} else if bytes.Contains(e.Data, data[:100]) {
			kind = "d"
		}
		if !strings.HasSuffix(order, kind) {
			order += kind
		}
	}
	if order != "dfmf" {
		t.Errorf("data, metadata and flushes came in the order %s", order)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestUnlogged_Directories splits the blocks of a directory without a journal: entries are in their new block, and that
// is in the inode, before a flush behind which the old block loses them.
func TestUnlogged_Directories(t *testing.T) {
	image := must[[]byte](t)(os.ReadFile(mkfs(t, "16M", "-t", "ext4", "-b", "1024", "-O", "^has_journal")))
	tr := &blockcache.Trace{}
	w := must[*volume.Writable](t)(
		volume.OpenOn(blockcache.Record(blockcache.NewRAM(image), tr, 0), volume.WriteOptions{}),
	)
	old, split := rootBlocks(t, w), 0
	for i := range 60 {
		begin := len(tr.Events())
		mkfile(t, w, ext4.Root, fmt.Sprintf("%0100d", i), nil)
		if err := w.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		blocks := rootBlocks(t, w)
		if len(blocks) > len(old) {
			split++
			checkSplit(t, tr.Events()[begin:], old, blocks)
		}
		old = blocks
	}
	if split < 5 {
		t.Errorf("the directory grew %d times only", split)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// rootBlocks are the blocks of the root directory, of 1 KiB.
func rootBlocks(t *testing.T, w *volume.Writable) map[int64]bool {
	t.Helper()
	out := map[int64]bool{}
	err := w.View(func(fs *ext4.FS) error {
		n, err := fs.Inode(ext4.RootIno)
		if err != nil {
			return err
		}
		for b := range ext4.FileBlock(n.Size / 1024) {
			r, err := n.Map(b)
			if err != nil {
				return err
			}
			out[int64(r.Start)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkSplit finds the flush before which a new block of a directory was written and none of the old ones.
func checkSplit(t *testing.T, events []blockcache.Event, old, now map[int64]bool) {
	t.Helper()
	fresh, changed := false, false
	for _, e := range events {
		if e.Flush() && fresh {
			return
		}
		for b := e.Offset / 1024; b < (e.Offset+int64(len(e.Data)))/1024; b++ {
			changed = changed || old[b]
			fresh = fresh || now[b] && !old[b]
		}
		if changed {
			t.Error("an old block of the directory was written before a flush of the new one")
			return
		}
	}
	t.Error("no new block of the directory was written and flushed")
}

// TestUnlogged_JournalData: what needs a journal is refused.
func TestUnlogged_JournalData(t *testing.T) {
	path := mkfs(t, "16M", forms["ext2"]...)
	if _, err := volume.OpenWritable(volume.Spec{Image: path}, volume.WriteOptions{JournalData: true}); !errors.Is(
		err,
		volume.ErrNoJournal,
	) {
		t.Errorf("data=journal without a journal: %v", err)
	}
}
