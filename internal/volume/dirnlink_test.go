package volume_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestLinks_Countless: a directory with a hash tree counts 65,000 links, and has 1 from there on, as with the kernel.
func TestLinks_Countless(t *testing.T) {
	oracle.NeedRoot(t)
	oracle.Need(t, "debugfs")
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024")
	w := open(t, path, volume.WriteOptions{})
	d := mkdir(t, w, ext4.Root, "d")
	for i := range 30 {
		mkfile(t, w, d, fmt.Sprint(strings.Repeat("n", 200), i), nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "debugfs", "-w", "-R", "set_inode_field d links_count 64998", path)
	other := filepath.Join(t.TempDir(), "other")
	oracle.MustRun(t, "cp", path, other)
	var ours, kernels []uint64
	w = open(t, path, volume.WriteOptions{})
	dir, unmount := oracle.MountKernel(t, other, "rw")
	for i := range 6 {
		name := fmt.Sprint("sub", i)
		mkdir(t, w, d, name)
		var links uint16
		if err := w.View(func(fs *ext4.FS) error {
			n, err := fs.Resolve("d", false)
			if err == nil {
				links = n.Links
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		ours = append(ours, uint64(links))
		if err := os.Mkdir(filepath.Join(dir, "d", name), 0o755); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "d"), &st); err != nil {
			t.Fatal(err)
		}
		kernels = append(kernels, uint64(st.Nlink))
	}
	unmount()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(ours) != fmt.Sprint(kernels) {
		t.Errorf("links after each mkdir: %d, with the kernel %d", ours, kernels)
	}
}
