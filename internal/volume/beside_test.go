package volume_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// logged opens an image with a log beside it.
func logged(t testing.TB, image, log string) *volume.Writable {
	t.Helper()
	return must[*volume.Writable](t)(volume.OpenWritable(volume.Spec{Image: image, WAL: log}, volume.WriteOptions{}))
}

// crashed makes an image of a form with a log beside it, and leaves both as a crash does: files f0 to f5 are durable.
func crashed(t testing.TB, form string) (image, log string) {
	t.Helper()
	image = mkfs(t, "16M", forms[form]...)
	log = filepath.Join(t.TempDir(), "log")
	w := logged(t, image, log)
	for i := range 6 {
		mkfile(t, w, ext4.Root, fmt.Sprint("f", i), bytes.Repeat([]byte{byte('a' + i)}, 5000))
		if err := w.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	return image, log
}

// TestLog_Recovers: after a crash the log has all that was durable. Reading shows it, writing recovers it, and then the
// image is clean by itself.
func TestLog_Recovers(t *testing.T) {
	for _, form := range []string{"ext2", "no journal", "ext2 1k"} {
		image, log := crashed(t, form)
		if out, err := exec.Command("dumpe2fs", log).CombinedOutput(); err != nil ||
			!strings.Contains(string(out), "Journal users") {
			t.Errorf("%s: dumpe2fs of the log: %v\n%s", form, err, out)
		}
		if out, err := exec.Command("e2fsck", "-n", image).CombinedOutput(); !strings.Contains(string(out), "check forced") {
			t.Errorf("%s: e2fsck takes half an image for clean: %v\n%s", form, err, out)
		}
		for name, spec := range map[string]volume.Spec{"without": {Image: image}, "missing": {Image: image, WAL: log + "x"}} {
			if _, err := volume.Open(spec); !errors.Is(err, volume.ErrNeedsLog) {
				t.Errorf("%s: read with the log %s: %v", form, name, err)
			}
			if _, err := volume.OpenWritable(spec, volume.WriteOptions{}); !errors.Is(err, volume.ErrNeedsLog) {
				t.Errorf("%s: written with the log %s: %v", form, name, err)
			}
		}
		v := must[*volume.Volume](t)(volume.Open(volume.Spec{Image: image, WAL: log}))
		if names := list(t, v, "/"); len(names) != 9 || v.Replayed() == 0 {
			t.Errorf("%s: read with its log: %v", form, names)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		w := logged(t, image, log)
		mkfile(t, w, ext4.Root, "more", []byte("more"))
		if w.Replayed == 0 {
			t.Errorf("%s: nothing was recovered", form)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if s := superOf(t, image); s.NeedsLog || s.State&disk.StateClean == 0 {
			t.Errorf("%s: unmounted, it needs its log: state %#x", form, s.State)
		}
		oracle.Clean(t, image)
		v = must[*volume.Volume](t)(volume.Open(volume.Spec{Image: image}))
		if names := list(t, v, "/"); len(names) != 10 {
			t.Errorf("%s: recovered: %v", form, names)
		}
		if err := errors.Join(v.Close(), open(t, image, volume.WriteOptions{}).Close(),
			logged(t, image, log).Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestLog_Refusals: a log that is another one's, or of another mount, or damaged, is not taken, and changes nothing.
func TestLog_Refusals(t *testing.T) {
	image, log := crashed(t, "ext2 1k")
	_, other := crashed(t, "ext2 1k")
	contents := must[[]byte](t)(os.ReadFile(log))
	file := func(change func(p []byte) []byte) string {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, change(bytes.Clone(contents)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		log  string
		want error
	}{
		"another image's": {other, volume.ErrForeignLog},
		"another mount's": {file(func(p []byte) []byte { p[1024+0x68]++; return p }), volume.ErrForeignLog},
		"cut short":       {file(func(p []byte) []byte { return p[:len(p)-1024] }), ondisk.ErrCorrupt},
		"zeros":           {file(func(p []byte) []byte { clear(p); return p }), ondisk.ErrCorrupt},
		"no journal":      {file(func(p []byte) []byte { clear(p[2048:3072]); return p }), ondisk.ErrCorrupt},
		"damaged":         {file(damageLog), ondisk.ErrCorrupt},
		"the image":       {image, nil},
	} {
		before := oracle.HashFile(t, image)
		_, err := volume.OpenWritable(volume.Spec{Image: image, WAL: c.log}, volume.WriteOptions{})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s log: %v", name, err)
		}
		if oracle.HashFile(t, image) != before {
			t.Errorf("%s log: the image was changed", name)
		}
	}
	if err := logged(t, image, log).Close(); err != nil {
		t.Error(err)
	}
}

// damageLog changes a byte of the first transaction in a log, which others follow.
func damageLog(p []byte) []byte {
	for at := 3 * 1024; ; at += 1024 {
		if h, ok := jbd2.DecodeHeader(p[at:]); ok && h.Type == jbd2.TypeDescriptor {
			p[at+1024+100]++
			return p
		}
	}
}

// TestLog_GivenUp: an image that e2fsck repaired, or the kernel mounted since, is not recovered from its log any more.
func TestLog_GivenUp(t *testing.T) {
	image, log := crashed(t, "no journal")
	oracle.MustRun(t, "debugfs", "-w", "-R", "set_super_value mnt_count 7", image) // as a mount by the kernel does
	_, err := volume.OpenWritable(volume.Spec{Image: image, WAL: log}, volume.WriteOptions{})
	if !errors.Is(err, volume.ErrNotClean) {
		t.Errorf("mounted since: %v", err)
	}
	w := open(t, image, volume.WriteOptions{})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	image, log = crashed(t, "ext2")
	_, _ = exec.Command("e2fsck", "-fy", image).CombinedOutput()
	oracle.Clean(t, image)
	_, err = volume.OpenWritable(volume.Spec{Image: image, WAL: log}, volume.WriteOptions{})
	if !errors.Is(err, volume.ErrForeignLog) {
		t.Errorf("repaired, with what the log still holds: %v", err)
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if err := logged(t, image, log).Close(); err != nil {
		t.Error(err)
	}
	oracle.Clean(t, image)
}

// TestLog_NotMade: no log is made for an image that cannot have one.
func TestLog_NotMade(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	journalled, unclean := mkfs(t, "16M", forms["default"]...), mkfs(t, "16M", forms["ext2"]...)
	if err := open(t, unclean, volume.WriteOptions{}).Abandon(); err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]error{journalled: volume.ErrOwnJournal, unclean: volume.ErrNotClean} {
		if _, err := volume.OpenWritable(volume.Spec{Image: image, WAL: log}, volume.WriteOptions{}); !errors.Is(err, want) {
			t.Errorf("%v, expected %v", err, want)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(log), "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TestLog_Mark has crafted marks, which are taken for none.
func TestLog_Mark(t *testing.T) {
	p := must[[]byte](t)(os.ReadFile(mkfs(t, "16M", forms["no journal"]...)))[1024:2048]
	s := must[*disk.Superblock](t)(disk.DecodeSuperblock(p))
	disk.PutClean(p, false)
	disk.PutLogMark(p, disk.LogID{1, 2, 3})
	s.SealSuperblock(p)
	if s := must[*disk.Superblock](t)(disk.DecodeSuperblock(p)); !s.NeedsLog || s.Log != (disk.LogID{1, 2, 3}) {
		t.Fatalf("the mark is %v, %v", s.NeedsLog, s.Log)
	}
	for name, change := range map[string]func(p []byte){
		"clean":      func(p []byte) { disk.PutClean(p, true) },
		"mount time": func(p []byte) { p[0x2c]++ },
		"mounts":     func(p []byte) { p[0x34]++ },
		"check":      func(p []byte) { p[0x40]++ },
		"UUID":       func(p []byte) { p[0x68]++ },
		"identity":   func(p []byte) { p[0xb0]++ },
		"magic":      func(p []byte) { p[0xa8]++ },
		"journal": func(p []byte) {
			binary.LittleEndian.PutUint32(p[0x5c:], uint32(s.Compat)|uint32(disk.CompatHasJournal))
		},
		"taken away":   disk.ClearLogMark,
		"a whole path": func(p []byte) { copy(p[0x88:0xc4], bytes.Repeat([]byte("/path"), 12)) },
	} {
		q := bytes.Clone(p)
		change(q)
		s.SealSuperblock(q)
		if s := must[*disk.Superblock](t)(disk.DecodeSuperblock(q)); s.NeedsLog {
			t.Errorf("%s changed: the mark counts", name)
		}
	}
}
