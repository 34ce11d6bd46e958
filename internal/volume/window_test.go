package volume_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// runs counts the pieces that a file lies in.
func runs(t *testing.T, w *volume.Writable, node ext4.Node) (n int) {
	t.Helper()
	err := w.View(func(fs *ext4.FS) error {
		var inode ext4.Inode
		if err := fs.ReadNode(&inode, node); err != nil {
			return err
		}
		end := ext4.FileBlock((inode.Size + 4095) / 4096)
		last := ext4.Run{}
		for at := ext4.FileBlock(0); at < end; {
			r, err := inode.Map(at)
			if err != nil {
				return err
			}
			if n == 0 || uint64(r.Start) != uint64(last.Start)+last.Len {
				n++
			}
			last = r
			at += ext4.FileBlock(r.Len)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWindows: files that grow in turns lie in a few pieces each, and not block by block between one another. Their
// reservations count as free, and are used when there is nothing else.
func TestWindows(t *testing.T) {
	path := mkfs(t, "128M", "-t", "ext4", "-b", "4096", "-m", "0")
	w := open(t, path, volume.WriteOptions{})
	var nodes []ext4.Node
	const files, steps = 48, 128 // three of each place where files begin
	for i := range files {
		nodes = append(nodes, mkfile(t, w, ext4.Root, fmt.Sprint("file", i), nil))
	}
	before := must[ext4.Stat](t)(w.Stat())
	for k := range steps {
		for i, n := range nodes {
			if _, err := w.Write(root, n, int64(k)*4096, bytes.Repeat([]byte{byte(i)}, 4096), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st := must[ext4.Stat](t)(w.Stat()); before.Free-st.Free < files*steps ||
		before.Free-st.Free > files*steps+2*files {
		t.Errorf("%d blocks were taken for %d files of %d blocks", before.Free-st.Free, files, steps)
	}
	all := 0
	for _, n := range nodes {
		all += runs(t, w, n)
	}
	t.Logf("%d pieces in %d files", all, files)
	if all > 12*files { // of 128; the first 16 KiB of a file are block by block
		t.Errorf("%d pieces in %d files", all, files)
	}
	free := must[ext4.Stat](t)(w.Stat()).Available
	last := mkfile(t, w, ext4.Root, "last", nil)
	n, _ := w.Write(root, last, 0, make([]byte, 256<<20), false)
	if left := must[ext4.Stat](t)(w.Stat()).Available; left > 8 || int64(n) < int64(free-16)*4096 {
		t.Errorf("%d bytes were written into %d free blocks, and %d are left", n, free, left)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}
