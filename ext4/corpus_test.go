package ext4_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/ondisk"
)

// walkAll reads everything that an image has: every directory, inode, attribute, target and byte. Errors are counted,
// and must be of a known family. It ends on any image, because no directory is entered twice.
func walkAll(t testing.TB, fsys *ext4.FS, limit int64) (nodes, failed int) {
	t.Helper()
	check := func(what string, err error) {
		if err == nil || errors.Is(err, io.EOF) {
			return
		}
		failed++
		known := errors.Is(err, ondisk.ErrCorrupt) || errors.Is(err, ondisk.ErrUnsupported) || errors.Is(err,
			io.ErrUnexpectedEOF) ||
			errors.Is(err, ext4.ErrNoKey) || errors.Is(err, ext4.ErrNotExist) ||
			errors.Is(err, ext4.ErrNotDir)
		if !known {
			t.Errorf("%s: an error of no known family: %v", what, err)
		}
		if !strings.Contains(err.Error(), " ") {
			t.Errorf("%s: %q does not say what and where", what, err)
		}
	}
	seen := map[ext4.Ino]bool{}
	var visit func(path string, n *ext4.Inode)
	visit = func(path string, n *ext4.Inode) {
		nodes++
		_, err := n.Xattrs()
		check(path, err)
		if n.IsSymlink() {
			_, err := n.Readlink()
			check(path, err)
		}
		if n.IsRegular() {
			_, err := io.Copy(io.Discard, io.NewSectionReader(n, 0, min(int64(n.Size), limit)))
			check(path, err)
			_, err = n.SeekData(0)
			if !errors.Is(err, ext4.ErrNoData) {
				check(path, err)
			}
		}
		if !n.IsDir() || seen[n.Ino] {
			return
		}
		seen[n.Ino] = true
		var names []string
		check(path, n.ReadDir(0, func(e ext4.Dirent) bool {
			names = append(names, string(e.Name))
			return true
		}))
		_, err = n.LookupIno("no-such-name")
		if !errors.Is(err, ext4.ErrNotExist) {
			check(path, err)
		}
		for _, name := range names {
			if name == "." || name == ".." {
				continue
			}
			child, err := n.Lookup(name)
			check(path+"/"+name, err)
			if err == nil {
				visit(path+"/"+name, child)
			}
		}
	}
	root, err := fsys.Inode(ext4.RootIno)
	check("/", err)
	if err == nil {
		visit("", root)
	}
	_, err = fsys.Stat()
	check("statfs", err)
	return nodes, failed
}

// TestCorpus_Images reads a folder of odd and damaged images (named by VARVE_CORPUS). None may panic, hang or loop;
// those that e2fsck calls clean and the kernel mounts must read as the kernel reads them.
func TestCorpus_Images(t *testing.T) {
	folder := os.Getenv("VARVE_CORPUS")
	if folder == "" {
		t.Skip("SKIP: VARVE_CORPUS names no folder of images")
	}
	images, err := filepath.Glob(filepath.Join(folder, "*.img.gz"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no images in %s: %v", folder, err)
	}
	oracle.Need(t, "e2fsck")
	clean := 0
	for _, compressed := range images {
		name := strings.TrimSuffix(filepath.Base(compressed), ".img.gz")
		t.Run(name, func(t *testing.T) {
			image := gunzip(t, compressed)
			if corpusImage(t, image) {
				clean++
			}
		})
	}
	t.Logf("%d images, %d of them compared with the kernel", len(images), clean)
	if clean < 10 {
		t.Errorf("only %d images were compared with the kernel", clean)
	}
}

// corpusImage reads one image, and reports whether it was compared with the kernel.
func corpusImage(t *testing.T, image string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			panic(image + ": still reading after a minute")
		}
	})
	d, err := blockcache.OpenFile(image)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fsys, err := ext4.Open(d, ext4.Options{})
	if err != nil {
		t.Logf("refused: %v", err)
		if !errors.Is(err, ondisk.ErrCorrupt) && !errors.Is(err, ondisk.ErrUnsupported) &&
			!errors.Is(err, ext4.ErrNeedsJournal) {
			t.Errorf("an error of no known family: %v", err)
		}
		if clean(image) {
			t.Logf("but e2fsck calls it clean")
		}
		return false
	}
	nodes, failed := walkAll(t, fsys, 1<<30)
	t.Logf("%d nodes, %d errors", nodes, failed)
	if !clean(image) {
		return false
	}
	dir := t.TempDir()
	device, detach := oracle.Loop(t, oracle.Copy(t, image))
	defer detach()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "ro,noatime", device, dir).CombinedOutput(); err != nil {
		t.Logf("the kernel does not mount it: %s", out)
		return false
	}
	defer oracle.MustRun(t, "umount", dir)
	want, unread := oracle.TreeOf(dir)
	got, failedHere := oracle.ViewOf(fsys)
	for path, err := range unread {
		t.Logf("the kernel cannot read %s: %v; varve: %v", path, err, failedHere[path])
		delete(want, path)
		delete(got, path)
		delete(failedHere, path)
	}
	for path, err := range failedHere {
		t.Errorf("the kernel can read %s, varve: %v", path, err)
	}
	oracle.Compare(t, "kernel", want, "varve", got)
	return true
}

// clean asks e2fsck, which does not end on every image of the corpus: it gets two seconds of the processor, however
// busy that is. Others need a tenth of a second.
func clean(image string) bool {
	return exec.Command("sh", "-c", `ulimit -t 2; exec e2fsck -fn "$0"`, image).Run() == nil
}

func gunzip(t testing.TB, path string) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}
