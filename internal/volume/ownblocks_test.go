package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
)

// TestOwnBlocks_Kept: a file of a damaged image that refers to a table of the file system, or to its journal, is
// neither written there nor gives the block free: one damaged file must not take the others with it.
func TestOwnBlocks_Kept(t *testing.T) {
	for form, pointer := range map[string]string{"ext4": "block[5]", "ext3": "block[0]"} {
		for what, of := range map[string][]string{
			"an inode table":  {"dumpe2fs", `Inode table at (\d+)`},
			"a block bitmap":  {"dumpe2fs", `Block bitmap at (\d+)`},
			"an inode bitmap": {"dumpe2fs", `Inode bitmap at (\d+)`},
			"descriptors":     {"dumpe2fs", `Group descriptors at (\d+)`},
			"the journal":     {"debugfs", `\(0\):(\d+)|\(0-\d+\):(\d+)`},
		} {
			t.Run(form+", "+what, func(t *testing.T) {
				t.Parallel()
				path, at, bad := ownBlock(t, form, pointer, of[0], of[1])
				w := open(t, path, volume.WriteOptions{})
				if _, err := w.Write(root, bad, 0, []byte("worse"), false); !errors.Is(err, ondisk.ErrCorrupt) {
					t.Errorf("write: %v", err)
				}
				half := uint64(1)
				if _, err := w.SetAttr(root, bad, ext4.Attr{Size: &half}); !errors.Is(err, ondisk.ErrCorrupt) {
					t.Errorf("truncate within the block: %v", err)
				}
				if err := w.Punch(root, bad, 0, 1024); form == "ext4" && !errors.Is(err, ondisk.ErrCorrupt) {
					t.Errorf("punch: %v", err)
				}
				r := must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "bad"))
				if err := w.Evict(r.Node); !errors.Is(err, ondisk.ErrCorrupt) {
					t.Errorf("evict: %v", err)
				}
				mkfile(t, w, ext4.Root, "more", bytes.Repeat([]byte("more"), 1000))
				if err := w.Sync(context.Background()); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil { // the orphan is left to e2fsck
					t.Errorf("close: %v", err)
				}
				if err := open(t, path, volume.WriteOptions{}).Close(); err != nil {
					t.Errorf("mounted again, close: %v", err)
				}
				if out := oracle.MustRun(t, "dumpe2fs", "-h", path); !strings.Contains(out, "FS Error count:") {
					t.Errorf("the superblock has no error mark:\n%s", out)
				}
				if out := oracle.MustRun(t, "debugfs", "-R", "testb "+at, path); !strings.Contains(
					out,
					"marked in use",
				) {
					t.Errorf("%s", out)
				}
				out, err := exec.Command("debugfs", "-R", "cat /good", path).Output()
				if err != nil || !bytes.Equal(out, bytes.Repeat([]byte("good"), 1000)) {
					t.Errorf("another file: %d bytes, %v", len(out), err)
				}
			})
		}
	}
}

// ownBlock makes an image with a file "good", and a file "bad" whose first block is one of the file system's own.
func ownBlock(t *testing.T, form, pointer, program, pattern string) (path, at string, bad ext4.Node) {
	t.Helper()
	path = mkfs(t, "16M", "-t", form, "-b", "1024")
	w := open(t, path, volume.WriteOptions{})
	mkfile(t, w, ext4.Root, "good", bytes.Repeat([]byte("good"), 1000))
	bad = mkfile(t, w, ext4.Root, "bad", []byte("bad"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{path}
	if program == "debugfs" {
		args = []string{"-R", "stat <8>", path}
	}
	found := regexp.MustCompile(pattern).FindStringSubmatch(oracle.MustRun(t, program, args...))
	if found == nil {
		t.Fatal("no such block")
	}
	at = strings.Join(found[1:], "")
	oracle.MustRun(t, "debugfs", "-w", "-R", fmt.Sprintf("sif /bad %s %s", pointer, at), path)
	return path, at, bad
}
