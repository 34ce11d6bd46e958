package volume_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// resizeForms are forms of images that grow: from a size to another one.
var resizeForms = []struct {
	name, from, to string
	kernel         bool // the kernel of the test machine mounts it
	mkfs           []string
}{
	{"default", "20M", "3G", true, []string{"-t", "ext4"}},
	{"last group filled", "20M", "100M", true, []string{"-t", "ext4"}},
	{"last group dropped", "128M", "129M", true, []string{"-t", "ext4"}},
	{"1k", "20M", "400M", true, []string{"-t", "ext4", "-b", "1024"}},
	{"1k, blocks of descriptors added", "5M", "500M", true, []string{"-t", "ext4", "-b", "1024"}},
	{"2k", "20M", "400M", true, []string{"-t", "ext4", "-b", "2048"}},
	{"no checksums", "20M", "1G", true, []string{"-t", "ext4", "-O", "^metadata_csum"}},
	{"gdt_csum", "20M", "300M", true, []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"}},
	{"not 64bit", "20M", "300M", true, []string{"-t", "ext4", "-b", "1024", "-O", "^64bit"}},
	{"no flex_bg", "20M", "600M", true, []string{"-t", "ext4", "-b", "1024", "-O", "^flex_bg"}},
	{"no sparse_super", "20M", "200M", true, []string{"-t", "ext2", "-b", "1024", "-O", "^sparse_super,^resize_inode"}},
	{"meta_bg", "20M", "300M", true, []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"}},
	{"meta_bg, whole groups", "128M", "900M", true, []string{"-t", "ext4", "-O", "meta_bg,^resize_inode"}},
	{"ext3", "20M", "300M", true, []string{"-t", "ext3", "-b", "1024"}},
	{"ext2", "20M", "300M", true, []string{"-t", "ext2", "-b", "1024"}},
	{"revision 0", "20M", "200M", true, []string{"-t", "ext2", "-O", "none", "-r", "0"}},
	{"no journal", "20M", "1G", true, []string{"-t", "ext4", "-O", "^has_journal"}},
	{"quota", "20M", "300M", false, []string{"-t", "ext4", "-b", "1024", "-O", "quota"}},
	{"bigalloc", "40M", "1G", true, []string{"-t", "ext4", "-O", "bigalloc", "-C", "16384"}},
	{"bigalloc 1k", "40M", "1G", true, []string{"-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "4096"}},
	{"orphan_file", "20M", "300M", true, []string{"-t", "ext4", "-O", "orphan_file"}},
	{"64k", "200M", "1G", false, []string{"-t", "ext4", "-b", "65536"}},
}

// TestResize_Forms makes images of many forms larger, on a file with old contents behind the end, and compares with
// resize2fs on a copy.
func TestResize_Forms(t *testing.T) {
	oracle.Need(t, "resize2fs", "dumpe2fs")
	for _, f := range oracle.Share(1, 3, resizeForms) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			path := mkfs(t, f.from, f.mkfs...)
			w := open(t, path, volume.WriteOptions{})
			d := mkdir(t, w, ext4.Root, "old")
			mkfile(t, w, d, "file", bytes.Repeat([]byte("contents"), 40<<10))
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			other := oracle.Copy(t, path)
			soil(t, path, 24<<20)
			if out, err := exec.Command("e2fsck", "-fp", other).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			oracle.MustRun(t, "resize2fs", "-f", other, f.to)
			r, err := volume.Resize(context.Background(), volume.Spec{Image: path}, sizeOf(t, f.to), volume.WriteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d to %d blocks", r.Before, r.After)
			compareSizes(t, other, path, strings.Contains(f.name, "bigalloc"))
			oracle.Clean(t, path)
			clean(t, path)
			useResized(t, path, f.kernel)
		})
	}
}

// soil writes old contents behind the end of an image.
func soil(t *testing.T, path string, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte{0xa5}, n)); err != nil {
		t.Fatal(err)
	}
}

func sizeOf(t *testing.T, s string) volume.NewSize {
	t.Helper()
	unit := map[byte]uint64{'M': 1 << 20, 'G': 1 << 30}[s[len(s)-1]]
	n := uint64(0)
	for _, c := range s[:len(s)-1] {
		n = n*10 + uint64(c-'0')
	}
	return volume.NewSize{Count: n, Unit: unit}
}

// dumpedSizes are the lines of dumpe2fs that say how large a file system is.
var dumpedSizes = regexp.MustCompile(`(?m)^(Inode count|Block count|Reserved block count|Free blocks|` +
	`Free inodes|Reserved GDT blocks|First meta block group|Filesystem state): .*`)

// compareSizes compares what resize2fs and varve have made. Which tables share a cluster is the choice of each.
func compareSizes(t *testing.T, theirs, ours string, clusters bool) {
	t.Helper()
	want := dumpedSizes.FindAllString(oracle.MustRun(t, "dumpe2fs", "-h", theirs), -1)
	got := dumpedSizes.FindAllString(oracle.MustRun(t, "dumpe2fs", "-h", ours), -1)
	for _, line := range want {
		if !slices.Contains(got, line) && !(clusters && strings.HasPrefix(line, "Free blocks")) {
			t.Errorf("resize2fs: %s\nvarve: %s", line, strings.Join(got, "; "))
		}
	}
	if len(want) < 5 {
		t.Fatalf("dumpe2fs: %q", want)
	}
	// a copy of the superblock, and the copies of descriptors with it, are good enough for e2fsck
	copies := regexp.MustCompile(`(?m)^Group \d+:.*\n(?:.*\n)?  (?:Backup) superblock at (\d+)`)
	groups := copies.FindAllStringSubmatch(oracle.MustRun(t, "dumpe2fs", ours), -1)
	if len(groups) == 0 {
		return
	}
	last := groups[len(groups)-1][1]
	size := regexp.MustCompile(`Block size: +(\d+)`).FindStringSubmatch(oracle.MustRun(t, "dumpe2fs", "-h", ours))[1]
	if out, err := exec.Command("e2fsck", "-fn", "-b", last, "-B", size, ours).CombinedOutput(); err != nil &&
		!onlyStale(string(out)) {
		t.Errorf("e2fsck by the copy at block %s: %v\n%s", last, err, out)
	}
}

// onlyStale reports whether e2fsck, which was given a copy of the superblock, found nothing but what such copies have
// that are not written with each change: counts, flags and sums of groups.
func onlyStale(out string) bool {
	return !regexp.MustCompile(`(?i)illegal|conflict|multiply|resize inode|Inode \d+`).MatchString(out)
}

// useResized writes to an image that was made larger, until files lie in the new groups, and has the kernel read it.
func useResized(t *testing.T, path string, kernel bool) {
	t.Helper()
	w := open(t, path, volume.WriteOptions{})
	for i := range 12 {
		name := string(rune('a' + i))
		d := mkdir(t, w, ext4.Root, name) // spread over the groups
		mkfile(t, w, d, "file", bytes.Repeat([]byte(name), 100<<10))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	clean(t, path)
	if !kernel {
		return
	}
	dir, unmount := oracle.MountKernel(t, path, "rw")
	p, err := os.ReadFile(filepath.Join(dir, "old", "file"))
	if err != nil || !bytes.Equal(p, bytes.Repeat([]byte("contents"), 40<<10)) {
		t.Errorf("the kernel reads %d bytes: %v", len(p), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel"), bytes.Repeat([]byte("k"), 9<<20), 0o600); err != nil {
		t.Error(err)
	}
	unmount()
	oracle.Clean(t, path)
}

// TestResize_Refused: what is not done is said, and changes neither the file system nor the file.
func TestResize_Refused(t *testing.T) {
	for _, c := range []struct {
		name, to string
		mkfs     []string
		want     error
		text     string
	}{
		{"smaller", "10M", []string{"-t", "ext4"}, ext4.ErrShrink, "resize2fs"},
		{"no room for descriptors", "500M", []string{"-t", "ext4", "-b", "1024", "-O", "^resize_inode"},
			ondisk.ErrUnsupported, "room for group descriptors"},
		{"sparse_super2", "500M", []string{"-t", "ext4", "-O", "sparse_super2"}, ondisk.ErrUnsupported, "sparse_super2"},
		{"not 64bit", "20000000M", []string{"-t", "ext4", "-O", "^64bit"}, ondisk.ErrUnsupported, "64bit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := mkfs(t, "20M", c.mkfs...)
			before := must[os.FileInfo](t)(os.Stat(path)).Size()
			r, err := volume.Resize(context.Background(), volume.Spec{Image: path}, sizeOf(t, c.to), volume.WriteOptions{})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, expected %v with %q", err, c.want, c.text)
			}
			if after := must[os.FileInfo](t)(os.Stat(path)).Size(); after != before || r.Before != r.After {
				t.Errorf("%d bytes, before %d; %+v", after, before, r)
			}
			oracle.Clean(t, path)
		})
	}
}

// TestResize_Damaged: a resize inode that does not keep what the superblock says is named, and nothing is changed.
func TestResize_Damaged(t *testing.T) {
	path := mkfs(t, "5M", "-t", "ext4", "-b", "1024")
	oracle.MustRun(t, "debugfs", "-w", "-R", "set_inode_field <7> block[DIND] 0", path)
	before := must[[]byte](t)(os.ReadFile(path))
	_, err := volume.ResizeOn(context.Background(), blockcache.NewRAM(append(bytes.Clone(before), make([]byte, 1<<29)...)),
		volume.NewSize{}, volume.WriteOptions{})
	if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), "resize inode") {
		t.Errorf("%v", err)
	}
	super := must[*disk.Superblock](t)(ext4.ReadSuperblock(bytes.NewReader(before), 0))
	if super.ReservedGDTBlocks == 0 {
		t.Fatal("nothing is kept for descriptors")
	}
}
