package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// forms are the forms of images that are written in tests: mkfs options, beginning with the type.
var forms = map[string][]string{
	"default":       {"-t", "ext4"},
	"1k":            {"-t", "ext4", "-b", "1024"},
	"2k":            {"-t", "ext4", "-b", "2048"},
	"no checksums":  {"-t", "ext4", "-O", "^metadata_csum"},
	"gdt_csum":      {"-t", "ext4", "-O", "^metadata_csum,uninit_bg"},
	"not 64bit":     {"-t", "ext4", "-O", "^64bit"},
	"orphan_file":   {"-t", "ext4", "-O", "orphan_file"},
	"inode 128":     {"-t", "ext4", "-I", "128"},
	"ext3":          {"-t", "ext3"},
	"ext3 1k":       {"-t", "ext3", "-b", "1024"},
	"sparse_super2": {"-t", "ext4", "-O", "sparse_super2"},
	"meta_bg":       {"-t", "ext4", "-O", "meta_bg,^resize_inode"},
	"fast_commit":   {"-t", "ext4", "-O", "fast_commit"},
	"no dir_index":  {"-t", "ext4", "-O", "^dir_index"},
	"no flex_bg":    {"-t", "ext4", "-O", "^flex_bg"},
	"large_dir":     {"-t", "ext4", "-O", "large_dir"},
	"project":       {"-t", "ext4", "-O", "project"},
	"verity":        {"-t", "ext4", "-O", "verity"},
	"encrypt":       {"-t", "ext4", "-O", "encrypt"},
	"casefold":      {"-t", "ext4", "-O", "casefold"},
	"mmp":           {"-t", "ext4", "-O", "mmp"},
	"8k":            {"-t", "ext4", "-b", "8192"},
	"16k ext3":      {"-t", "ext3", "-b", "16384"},
	"32k plain":     {"-t", "ext4", "-b", "32768", "-O", "^has_journal"},
	"64k":           {"-t", "ext4", "-b", "65536"},
	"64k ext2":      {"-t", "ext2", "-b", "65536"},
	"ext2":          {"-t", "ext2"},
	"revision 0":    {"-t", "ext2", "-O", "none", "-r", "0"},
	"no filetype":   {"-t", "ext4", "-O", "^filetype"},
	"ext2 1k":       {"-t", "ext2", "-b", "1024", "-I", "128"},
	"no journal":    {"-t", "ext4", "-O", "^has_journal"},
	"inline_data":   {"-t", "ext4", "-O", "inline_data"},
	"quota":         {"-t", "ext4", "-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"},
	"quota ext2":    {"-t", "ext2", "-O", "quota"},
	"inline 1k":     {"-t", "ext4", "-O", "inline_data", "-b", "1024", "-I", "512"},
	"bigalloc":      {"-t", "ext4", "-O", "bigalloc"},
	"bigalloc 1k":   {"-t", "ext4", "-O", "bigalloc,quota", "-b", "1024", "-C", "65536"},
	"ea_inode":      {"-t", "ext4", "-O", "ea_inode", "-b", "1024"},
}

// mkfs makes an image.
func mkfs(t testing.TB, size string, args ...string) string {
	t.Helper()
	oracle.Need(t, "mke2fs", "e2fsck")
	path := filepath.Join(t.TempDir(), "image")
	args = append(append([]string{"-q", "-F"}, args...), path, size)
	if out, err := exec.Command("mke2fs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs %v: %v\n%s", args, err, out)
	}
	return path
}

func open(t testing.TB, path string, o volume.WriteOptions) *volume.Writable {
	t.Helper()
	w, err := volume.OpenWritable(volume.Spec{Image: path}, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var root = ext4.Cred{}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func mkfile(t testing.TB, w *volume.Writable, dir ext4.Node, name string, data []byte) ext4.Node {
	t.Helper()
	n := must[ext4.Inode](t)(w.Create(root, dir, name, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644}))
	if k, err := w.Write(root, ext4.NodeOf(&n), 0, data, false); err != nil || k != len(data) {
		t.Fatalf("write %s: %d of %d bytes: %v", name, k, len(data), err)
	}
	return ext4.NodeOf(&n)
}

func mkdir(t testing.TB, w *volume.Writable, dir ext4.Node, name string) ext4.Node {
	t.Helper()
	n := must[ext4.Inode](t)(w.Create(root, dir, name, ext4.CreateOptions{Mode: disk.ModeDir | 0o755}))
	return ext4.NodeOf(&n)
}

// TestWritable_Forms does a bit of everything on an image of each form, and has e2fsck and the reader look at what is
// left.
func TestWritable_Forms(t *testing.T) {
	for name, args := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := mkfs(t, "64M", args...)
			w := open(t, path, volume.WriteOptions{})
			a, b := mkdir(t, w, ext4.Root, "a"), mkdir(t, w, ext4.Root, "b")
			big := bytes.Repeat([]byte("varve "), 300_000)
			mkfile(t, w, a, "big", big)
			for i := range 700 {
				mkfile(
					t,
					w,
					b,
					fmt.Sprintf("a file with a rather long name, so that the directory grows %04d", i),
					[]byte(fmt.Sprint(i)),
				)
			}
			must[ext4.Inode](
				t,
			)(
				w.Create(root, a, "link", ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: "big"}),
			)
			must[ext4.Inode](
				t,
			)(
				w.Create(
					root,
					a,
					"long link",
					ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("x/", 200)},
				),
			)
			must[ext4.Inode](
				t,
			)(
				w.Create(root, a, "device", ext4.CreateOptions{Mode: disk.ModeChar | 0o600, Major: 10, Minor: 300}),
			)
			for i := range 350 {
				r := must[ext4.Removed](
					t,
				)(
					w.Unlink(
						root,
						b,
						fmt.Sprintf("a file with a rather long name, so that the directory grows %04d", 2*i),
					),
				)
				if err := w.Evict(r.Node); err != nil {
					t.Fatal(err)
				}
			}
			must[ext4.Removed](t)(w.Rename(root, a, "big", b, "bigger", 0))
			c := mkdir(t, w, a, "c")
			must[ext4.Removed](t)(w.Rename(root, a, "c", b, "d", 0))
			if _, err := w.Rename(root, ext4.Root, "b", c, "loop", 0); !errors.Is(err, ext4.ErrInvalid) {
				t.Fatalf("a directory below itself: %v", err)
			}
			half := uint64(len(big) / 2)
			f := must[ext4.Inode](t)(lookup(w, b, "bigger"))
			must[ext4.Inode](t)(w.SetAttr(root, ext4.NodeOf(&f), ext4.Attr{Size: &half}))
			if err := w.SetXattr(root, ext4.NodeOf(&f), "user.colour", bytes.Repeat([]byte("blue"), 150), 0, false); err != nil {
				t.Fatal(err)
			}
			must[ext4.Removed](t)(w.Unlink(root, a, "link")) // left to the end
			if err := w.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
			v, err := volume.Open(volume.Spec{Image: path})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if verdict, err := v.Check(nil); err != nil || !verdict.Clean() {
				t.Fatalf("varve's own checker: %v, %+v", err, verdict.Problems)
			}
			n, err := v.Resolve("/b/bigger", false)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, half)
			if _, err := n.ReadAt(got, 0); err != nil || !bytes.Equal(got, big[:half]) {
				t.Fatalf("contents differ: %v", err)
			}
			if names := list(t, v, "/b"); len(names) != 350+2+2 {
				t.Fatalf("%d names in b", len(names))
			}
		})
	}
}

func lookup(w *volume.Writable, dir ext4.Node, name string) (ext4.Inode, error) {
	var out ext4.Inode
	err := w.View(func(fs *ext4.FS) error {
		var d ext4.Inode
		if err := fs.ReadNode(&d, dir); err != nil {
			return err
		}
		return d.LookupInto(&out, name)
	})
	return out, err
}

func list(t testing.TB, v *volume.Volume, path string) []string {
	t.Helper()
	n, err := v.Resolve(path, false)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := n.ReadDir(0, func(e ext4.Dirent) bool { names = append(names, string(e.Name)); return true }); err != nil {
		t.Fatal(err)
	}
	return names
}
