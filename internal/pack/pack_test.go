package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder is a source with files of some kinds, a second name, a hole and a symlink.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fatal(t, os.MkdirAll(filepath.Join(dir, "sub", "deep"), 0o750))
	fatal(t, os.WriteFile(filepath.Join(dir, "sub", "file"), bytes.Repeat([]byte("contents"), 50_000), 0o640))
	fatal(t, os.Link(filepath.Join(dir, "sub", "file"), filepath.Join(dir, "second")))
	fatal(t, os.Symlink("sub/file", filepath.Join(dir, "link")))
	fatal(t, os.WriteFile(filepath.Join(dir, "sparse"), []byte("head"), 0o600))
	fatal(t, os.Truncate(filepath.Join(dir, "sparse"), 32<<20))
	return dir
}

// pack makes an image, and has e2fsck check it.
func pack(t *testing.T, o Options) Result {
	t.Helper()
	oracle.Need(t, "mkfs.ext4", "tune2fs", "e2fsck", "dumpe2fs")
	r, err := Run(t.Context(), o)
	fatal(t, err)
	oracle.Clean(t, o.Out)
	return r
}

// view is what an image holds.
func view(t *testing.T, image string) oracle.Manifest {
	t.Helper()
	v, err := volume.Open(volume.Spec{Image: image})
	fatal(t, err)
	defer v.Close()
	m := oracle.View(t, v.FS)
	delete(m, "lost+found")
	return m
}

// TestRun_Folder makes an image of a folder: the same tree, no larger than it must be, with a journal, and with a name
// when it is whole.
func TestRun_Folder(t *testing.T) {
	source, out := folder(t), filepath.Join(t.TempDir(), "image")
	var last, all uint64
	r := pack(t, Options{Out: out, Source: source, Label: "packed", UUID: "11111111-2222-3333-4444-555555555555",
		Progress: func(done, of uint64) { last, all = done, of }})
	oracle.Compare(t, "source", oracle.Kept(oracle.Tree(t, source)), "image", oracle.Kept(view(t, out)))
	info, err := os.Stat(out)
	fatal(t, err)
	if r.Files != 3 || r.Directories != 2 || r.Bytes != 400_000+4096 || r.Size != info.Size() || r.Size > 24<<20 {
		t.Errorf("%+v of %d bytes", r, info.Size())
	}
	if last != all || all != uint64(r.Bytes) {
		t.Errorf("progress ends at %d of %d bytes", last, all)
	}
	header := oracle.MustRun(t, "dumpe2fs", "-h", out)
	if !strings.Contains(header, "has_journal") || !strings.Contains(header, "packed") || r.UUID[:8] != "11111111" {
		t.Errorf("UUID %s\n%s", r.UUID, header)
	}
}

// TestRun_Archive makes an image of an archive, with an owner of its own for all of it.
func TestRun_Archive(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "archive.tar")
	f, err := os.Create(archive)
	fatal(t, err)
	w := tar.NewWriter(f)
	for _, h := range []tar.Header{{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o711}, {Name: "d/f", Mode: 0o604, Size: 4}} {
		h.Uid, h.Gid, h.ModTime = 7, 8, time.Unix(1000, 0)
		fatal(t, w.WriteHeader(&h))
		_, err := w.Write([]byte("text")[:h.Size])
		fatal(t, err)
	}
	fatal(t, errors.Join(w.Close(), f.Close()))
	uid, out := uint32(42), filepath.Join(t.TempDir(), "image")
	pack(t, Options{Out: out, Source: archive, UID: &uid, Size: 20 << 20, Mkfs: []string{"-b", "1024"}})
	m := view(t, out)
	if n := m["d/f"]; n.UID != 42 || n.GID != 8 || n.Mode&0o777 != 0o604 || n.Size != 4 || m["d"].UID != 42 {
		t.Errorf("%+v", m)
	}
	if info, err := os.Stat(out); err != nil || info.Size() != 20<<20 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestRun_Socket leaves sockets out, and reports them.
func TestRun_Socket(t *testing.T) {
	source, out := t.TempDir(), filepath.Join(t.TempDir(), "image")
	l, err := net.Listen("unix", filepath.Join(source, "socket"))
	fatal(t, err)
	defer l.Close()
	var skipped []string
	pack(t, Options{Out: out, Source: source, Skipped: func(name string) { skipped = append(skipped, name) }})
	if _, ok := view(t, out)["socket"]; ok || len(skipped) == 0 || filepath.Base(skipped[0]) != "socket" {
		t.Errorf("skipped %q, and the socket is there: %v", skipped, ok)
	}
}

// TestRun_Reproducible: the same source gives the same bytes at another time and after it was read; another name, mode
// or time gives another UUID.
func TestRun_Reproducible(t *testing.T) {
	source, to := folder(t), t.TempDir()
	image := func(name string, epoch time.Time) ([]byte, string) {
		out := filepath.Join(to, name)
		r := pack(t, Options{Out: out, Source: source, Reproducible: true, Epoch: epoch})
		p, err := os.ReadFile(out)
		fatal(t, err)
		return p, r.UUID
	}
	first, uuid := image("first", time.Time{})
	fatal(t, os.Chtimes(filepath.Join(source, "sub", "file"), time.Unix(5, 0), time.Time{})) // the time of access
	second, again := image("second", time.Time{})
	if !bytes.Equal(first, second) || uuid != again {
		t.Errorf("two images of one source differ: UUIDs %s and %s", uuid, again)
	}
	fatal(t, os.Chmod(filepath.Join(source, "sub", "file"), 0o600))
	if _, other := image("third", time.Time{}); other == uuid {
		t.Errorf("two trees have the UUID %s", uuid)
	}
	image("old", time.Unix(1000, 0))
	for path, n := range view(t, filepath.Join(to, "old")) {
		if n.Mtime > "1000.999999999" || len(n.Mtime) > len("1000.000000000") {
			t.Errorf("%s: mtime %s is after the epoch", path, n.Mtime)
		}
	}
}

// TestRun_Refusals: what cannot be made leaves no file behind, and changes none.
func TestRun_Refusals(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "tune2fs")
	source, to := folder(t), t.TempDir()
	there := filepath.Join(to, "there")
	fatal(t, os.WriteFile(there, []byte("mine"), 0o600))
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx  context.Context
		o    Options
		is   error  // may be nil
		says string // in the error
	}{
		"a file that exists":      {nil, Options{Out: there}, fs.ErrExist, "--force"},
		"no such source":          {nil, Options{Source: filepath.Join(to, "none")}, fs.ErrNotExist, "none"},
		"a stream without a size": {nil, Options{Source: "-"}, nil, "a size is needed"},
		"a stream, reproducible":  {nil, Options{Source: "-", Size: 1 << 24, Reproducible: true}, nil, "read once"},
		"no room":                 {nil, Options{Size: 300 << 10}, ext4.ErrNoSpace, "larger size"},
		"mkfs refuses":            {nil, Options{Mkfs: []string{"-b", "1000"}}, nil, "mkfs.ext4: exit status"},
		"a journal of its own": {nil, Options{Mkfs: []string{"-J", "size=4"}, Reproducible: true}, nil,
			"leave -J out"},
		"an interrupt":         {ended, Options{}, context.Canceled, ""},
		"a folder that is not": {nil, Options{Out: filepath.Join(to, "no", "image")}, fs.ErrNotExist, "no"},
	} {
		if c.o.Out == "" {
			c.o.Out = filepath.Join(to, "image")
		}
		if c.o.Source == "" {
			c.o.Source = source
		}
		if c.ctx == nil {
			c.ctx = t.Context()
		}
		_, err := Run(c.ctx, c.o)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		left, err := os.ReadDir(to)
		if p, e := os.ReadFile(there); len(left) != 1 || err != nil || string(p) != "mine" || e != nil {
			t.Errorf("%s: %v are left, %v, %v", name, left, err, e)
		}
	}
	pack(t, Options{Out: there, Source: source, Force: true})
}

// TestSettled: a reproducible image has no time after its epoch, and no time of access; others have the source's.
func TestSettled(t *testing.T) {
	gid := uint32(5)
	e := importer.Entry{UID: 1, GID: 2, Mtime: time.Unix(2000, 3), Atime: time.Unix(3000, 0)}
	for name, c := range map[string]struct {
		o            Options
		mtime, atime int64
		gid          uint32
	}{
		"as it is":     {Options{}, 2000, 3000, 2},
		"a group":      {Options{GID: &gid}, 2000, 3000, 5},
		"reproducible": {Options{Reproducible: true}, 2000, 2000, 2},
		"an epoch":     {Options{Reproducible: true, Epoch: time.Unix(1000, 0)}, 1000, 1000, 2},
		"a later one":  {Options{Reproducible: true, Epoch: time.Unix(9000, 0)}, 2000, 2000, 2},
	} {
		p := packer{Options: c.o}
		got := p.settled(e)
		if got.Mtime.Unix() != c.mtime || got.Atime.Unix() != c.atime || got.UID != 1 || got.GID != c.gid {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestNow: the clock of an image is its epoch, or the newest time of its source, and never zero: e2fsck takes that for
// no time.
func TestNow(t *testing.T) {
	for _, c := range []struct {
		epoch, newest time.Time
		want          int64
	}{
		{time.Time{}, time.Time{}, 1},
		{time.Time{}, time.Unix(0, 0), 1},
		{time.Time{}, time.Unix(77, 0), 77},
		{time.Unix(55, 0), time.Unix(77, 0), 55},
	} {
		p := packer{Options: Options{Epoch: c.epoch}, need: need{newest: c.newest}}
		if got := p.now().Unix(); got != c.want {
			t.Errorf("epoch %v, newest %v: %d, expected %d", c.epoch, c.newest, got, c.want)
		}
	}
}

// TestLookPath finds mkfs.ext4 where only root has its folder in the path; a program that is missing is named.
func TestLookPath(t *testing.T) {
	oracle.Need(t, "mkfs.ext4")
	t.Setenv("PATH", t.TempDir())
	if got := lookPath("mkfs.ext4"); !strings.HasSuffix(got, "sbin/mkfs.ext4") {
		t.Errorf("mkfs.ext4 is at %q", got)
	}
	p := packer{ctx: t.Context()}
	if err := p.run("no-such-program"); err == nil ||
		!strings.Contains(err.Error(), "no-such-program is needed, of e2fsprogs") {
		t.Errorf("a program that is missing: %v", err)
	}
}
