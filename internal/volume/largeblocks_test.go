package volume_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestLargeBlocks covers blocks of more than a page where their size matters: directories of several blocks that are
// filled and emptied, hashed and linear, an attribute of nearly a block, files of many extents and with indirect
// blocks. debugfs and e2fsck are the judges: most kernels mount no such images.
func TestLargeBlocks(t *testing.T) {
	for name, args := range map[string][]string{
		"8k":        {"-t", "ext4", "-b", "8192"},
		"16k":       {"-t", "ext4", "-b", "16384", "-O", "^has_journal"},
		"64k":       {"-t", "ext4", "-b", "65536", "-O", "^has_journal"},
		"64k ext2":  {"-t", "ext2", "-b", "65536"},
		"64k plain": {"-t", "ext2", "-b", "65536", "-O", "^dir_index"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := mkfs(t, "160M", append(args, "-N", "4096")...)
			w := open(t, path, volume.WriteOptions{})
			dir := mkdir(t, w, ext4.Root, "dir")
			names := func(i int) string { return fmt.Sprintf("%04d %s", i, strings.Repeat("long ", 40)) }
			for i := range 1500 {
				mkfile(t, w, dir, names(i), nil)
			}
			for i := range 1490 {
				r := must[ext4.Removed](t)(w.Unlink(root, dir, names(i)))
				if err := w.Evict(r.Node); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 50 {
				mkfile(t, w, dir, names(i), nil)
			}
			value := bytes.Repeat([]byte("value"), int(w.Superblock().BlockSize)/5-50)
			f := mkfile(t, w, ext4.Root, "attributes", nil)
			if err := w.SetXattr(root, f, "user.big", value, 0, false); err != nil {
				t.Error(err)
			}
			if err := w.SetXattr(root, f, "user.more", value, 0, false); err == nil {
				t.Error("two attributes of a block are in one")
			}
			f = mkfile(t, w, ext4.Root, "pieces", nil)
			step := int64(w.Superblock().BlockSize) * 2
			for i := range int64(900) {
				if _, err := w.Write(root, f, i*step, fmt.Appendf(nil, "piece %d", i), false); err != nil {
					t.Fatal(err)
				}
			}
			far := mkfile(t, w, ext4.Root, "far", nil)
			if _, err := w.Write(root, far, 3<<30, []byte("far away"), false); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
			judgeLarge(t, path, value, step)
			w = open(t, path, volume.WriteOptions{})
			cut := uint64(450*step + 3)
			must[ext4.Inode](t)(w.SetAttr(root, f, ext4.Attr{Size: &cut}))
			if _, err := w.Unlink(root, ext4.Root, "far"); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
		})
	}
}

// judgeLarge reads by debugfs what TestLargeBlocks has written.
func judgeLarge(t *testing.T, path string, value []byte, step int64) {
	t.Helper()
	debugfs := func(command string) string {
		out, err := exec.Command("debugfs", "-R", command, path).Output()
		if err != nil {
			t.Errorf("debugfs %s: %v", command, err)
		}
		return string(out)
	}
	if n := strings.Count(debugfs("ls -l /dir"), " long"); n < 60 {
		t.Errorf("debugfs sees %d names", n)
	}
	to := filepath.Join(t.TempDir(), "value")
	debugfs("ea_get -f " + to + " /attributes user.big")
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, value) {
		t.Errorf("debugfs reads %d bytes of the attribute, of %d: %v", len(got), len(value), err)
	}
	to = filepath.Join(t.TempDir(), "pieces")
	debugfs("dump /pieces " + to)
	got := must[[]byte](t)(os.ReadFile(to))
	for i := range int64(900) {
		want := fmt.Sprintf("piece %d", i)
		if int64(len(got)) < i*step+int64(len(want)) || string(got[i*step:][:len(want)]) != want {
			t.Fatalf("debugfs reads a wrong piece %d", i)
		}
	}
}
