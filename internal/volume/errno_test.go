package volume_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// errorMarks are the lines of dumpe2fs about errors.
func errorMarks(t *testing.T, path string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(oracle.MustRun(t, "dumpe2fs", "-h", path)) {
		if strings.HasPrefix(line, "Filesystem state:") || strings.HasPrefix(line, "Journal errno:") ||
			strings.HasPrefix(line, "FS Error count:") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, "; ")
}

// failJournal has an image's journal say that an error has ended its use.
func failJournal(t *testing.T, path string) {
	t.Helper()
	f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	fs := must[*ext4.FS](t)(ext4.Open(f, ext4.Options{NoRecovery: true}))
	places, _, err := fs.JournalPlaces()
	if err != nil {
		t.Fatal(err)
	}
	p, at := make([]byte, fs.Superblock().BlockSize), fs.Superblock().BlockSize.Offset(places[0])
	if _, err := f.ReadAt(p, at); err != nil {
		t.Fatal(err)
	}
	s := must[*jbd2.Superblock](t)(jbd2.DecodeSuperblock(p))
	s.PutErrno(p, jbd2.ErrnoIO)
	if _, err := f.WriteAt(p, at); err != nil {
		t.Fatal(err)
	}
}

// TestJournalErrno_Inherited: an error that ended a journal's use goes to the superblock at the next mount for writing,
// in place or in an overlay, as the kernel does it; the journal forgets it, and e2fsck is content when it has looked.
func TestJournalErrno_Inherited(t *testing.T) {
	for name, args := range map[string][]string{"checksums": {"-t", "ext4"}, "no checksums": {"-t", "ext3"}} {
		t.Run(name, func(t *testing.T) {
			path := mkfs(t, "16M", args...)
			_, unmount := oracle.MountKernel(t, path, "rw") // gives the journal its features
			unmount()
			failJournal(t, path)
			if got := errorMarks(t, path); got != "Filesystem state: clean; Journal errno: -5" {
				t.Fatal(got)
			}
			kernel, overlaid := oracle.Copy(t, path), oracle.Copy(t, path)
			_, unmount = oracle.MountKernel(t, kernel, "rw")
			unmount()
			want := errorMarks(t, kernel)
			if want != "Filesystem state: clean with errors" {
				t.Fatalf("the kernel leaves %q", want)
			}
			if err := open(t, path, volume.WriteOptions{}).Close(); err != nil {
				t.Fatal(err)
			}
			if got := errorMarks(t, path); got != want {
				t.Errorf("in place: %q, expected %q", got, want)
			}
			file := filepath.Join(t.TempDir(), "overlay")
			w := must[*volume.Writable](
				t,
			)(
				volume.OpenOverlay(volume.Spec{Image: overlaid}, file, volume.WriteOptions{}),
			)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			must[int64](t)(volume.CommitOverlay(volume.Spec{Image: overlaid}, file, nil, nil))
			if got := errorMarks(t, overlaid); got != want {
				t.Errorf("in an overlay: %q, expected %q", got, want)
			}
			oracle.MustRun(t, "e2fsck", "-fy", path)
			if got := errorMarks(t, path); got != "Filesystem state: clean" {
				t.Errorf("after e2fsck: %q", got)
			}
		})
	}
}

// abort has a device fail once as an epoch closes, and returns the marks that are on the image then, and after the next
// mount.
func abort(t *testing.T, fault blockcache.Fault) (then, next string) {
	t.Helper()
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024")
	ram := blockcache.NewRAM(must[[]byte](t)(os.ReadFile(path)))
	dev := blockcache.NewFaulty(ram)
	w := must[*volume.Writable](t)(volume.OpenOn(dev, volume.WriteOptions{}))
	mkfile(t, w, ext4.Root, "durable", nil)
	if err := w.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	must[ext4.Inode](t)(w.Create(root, ext4.Root, "later", ext4.CreateOptions{Mode: disk.ModeRegular}))
	dev.Fail(fault, 0, true)
	if err := w.Sync(context.Background()); err == nil {
		t.Error("the fault was not noticed")
	}
	if err := w.Close(); err == nil {
		t.Error("an unmount after the fault says that all is well")
	}
	marks := func() string {
		copied := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(copied, ram.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return errorMarks(t, copied)
	}
	then = marks()
	if err := must[*volume.Writable](t)(volume.OpenOn(ram, volume.WriteOptions{})).Close(); err != nil {
		t.Fatal(err)
	}
	return then, marks()
}

// TestJournalErrno_Abort: a failed write or flush of the journal is noted in it, so that the next mount, however it is
// made it, knows.
func TestJournalErrno_Abort(t *testing.T) {
	for _, fault := range []blockcache.Fault{blockcache.FlushError, blockcache.WriteError} {
		then, next := abort(t, fault)
		if then != "Filesystem state: clean; Journal errno: -5" || next != "Filesystem state: clean with errors" {
			t.Errorf("%v: %q, and after the next mount %q", fault, then, next)
		}
	}
}

// TestJournalErrno_Outside: what ends a mount for another reason than its device leaves the journal as it is. Another
// host may have the image, or it was asked for.
func TestJournalErrno_Outside(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4")
	w := open(t, path, volume.WriteOptions{})
	mkfile(t, w, ext4.Root, "file", nil)
	w.Store.Fail(volume.ErrInUse)
	if err := w.Close(); err == nil {
		t.Error("closed without an error")
	}
	if got := errorMarks(t, path); strings.Contains(got, "errno") {
		t.Error(got)
	}
}
