package volume_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestDamage_Marks: damage that is found while a file system is written leaves its marks in the superblock, and errors=
// decides what follows.
func TestDamage_Marks(t *testing.T) {
	found := ondisk.Corruptf("directory", "is damaged for this test")
	for name, c := range map[string]struct {
		tune   string
		option ext4.OnDamage
		stops  bool
	}{
		"continue":                 {"continue", ext4.AsSuperblock, false},
		"remount-ro":               {"remount-ro", ext4.AsSuperblock, true},
		"panic":                    {"panic", ext4.AsSuperblock, true},
		"the option over the rest": {"remount-ro", ext4.Continue, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := mkfs(t, "16M", "-t", "ext4")
			oracle.MustRun(t, "tune2fs", "-e", c.tune, path)
			w := open(t, path, volume.WriteOptions{OnDamage: c.option})
			w.Damaged("lookup", errors.New("no damage"))
			w.Damaged("lookup", found)
			w.Damaged("readdir", found)
			_, err := w.Create(root, ext4.Root, "after", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
			if stopped := errors.Is(err, ext4.ErrFailed); stopped != c.stops {
				t.Errorf("a change afterwards: %v", err)
			}
			if err := w.Close(); (err != nil) != c.stops {
				t.Errorf("close: %v", err)
			}
			if c.stops { // recovery brings the marks home
				if err := open(t, path, volume.WriteOptions{}).Close(); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("dumpe2fs", "-h", path).CombinedOutput()
			if err != nil {
				t.Fatal(err)
			}
			marks := []string{"with errors", "First error function:     lookup"}
			if !c.stops {
				marks = append(marks, "FS Error count:           2", "Last error function:      readdir")
			}
			for _, want := range marks {
				if !strings.Contains(string(out), want) {
					t.Errorf("dumpe2fs does not show %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestFeatures_FirstUse: features that the kernel turns on at their first use are: large files and attributes.
func TestFeatures_FirstUse(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-O", "^large_file,^ext_attr,^huge_file")
	w := open(t, path, volume.WriteOptions{})
	n := mkfile(t, w, ext4.Root, "file", nil)
	size := uint64(3) << 30
	if _, err := w.SetAttr(root, n, ext4.Attr{Size: &size}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"user.a", "user.b"} {
		if err := w.SetXattr(root, n, name, []byte("value"), 0, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	out := oracle.MustRun(t, "dumpe2fs", "-h", path)
	for _, want := range []string{"large_file", "ext_attr"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not among the features:\n%s", want, out)
		}
	}
}

// TestSyncFlags: with the flags S and D, and the options sync and dirsync, an operation is durable when it returns.
func TestSyncFlags(t *testing.T) {
	for name, c := range map[string]struct {
		options volume.WriteOptions
		flags   uint32
		durable bool
	}{
		"none":           {volume.WriteOptions{}, 0, false},
		"chattr +S":      {volume.WriteOptions{}, disk.InodeSync, true},
		"chattr +D":      {volume.WriteOptions{}, disk.InodeDirSync, true},
		"option sync":    {volume.WriteOptions{Sync: true}, 0, true},
		"option dirsync": {volume.WriteOptions{DirSync: true}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := mkfs(t, "16M", "-t", "ext4")
			w := open(t, path, c.options)
			d := mkdir(t, w, ext4.Root, "d")
			if c.flags != 0 {
				if err := w.SetFlags(root, d, disk.InodeExtents|c.flags); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Create(root, d, "new", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644}); err != nil {
				t.Fatal(err)
			}
			if err := w.Abandon(); err != nil {
				t.Fatal(err)
			}
			w = open(t, path, volume.WriteOptions{})
			found := w.View(func(fs *ext4.FS) error { _, err := fs.Resolve("d/new", false); return err }) == nil
			if found != c.durable {
				t.Errorf("after a crash the file is there: %v", found)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
