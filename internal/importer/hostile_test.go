package importer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/oracle"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// archiveOf is a tar archive of headers, whose regular files have random contents of their sizes.
func archiveOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	random := rand.NewChaCha8([32]byte{1})
	for _, h := range headers {
		h.Mode = 0o640
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, random, h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t *testing.T, p []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestTar_Damaged: an archive that is cut off within a file leaves nothing of that file, and one whose checksum is
// wrong is an error, although its last entry was read. What is behind a whole archive does not matter.
func TestTar_Damaged(t *testing.T) {
	plain := archiveOf(t, tar.Header{Name: "a", Size: 10}, tar.Header{Name: "b", Size: 300_000})
	packed := gzipped(t, plain)
	flipped := bytes.Clone(packed)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		archive []byte
		want    error
		whole   bool // b is there
	}{
		"cut":             {plain[:100_000], io.ErrUnexpectedEOF, false},
		"cut, compressed": {packed[:100_000], io.ErrUnexpectedEOF, false},
		"flipped":         {flipped, gzip.ErrChecksum, true},
		"padded":          {append(bytes.Clone(packed), make([]byte, 512)...), nil, true},
	} {
		w, image := open(t)
		im := importer.New(w.Writable, ext4.Root, importer.Options{Atomic: true, Replace: true})
		err := im.Tar(context.Background(), bytes.NewReader(c.archive))
		if (err == nil) != (c.want == nil) || err != nil && !strings.Contains(err.Error(), c.want.Error()) {
			t.Errorf("%s: %v", name, err)
		}
		if got := describe(t, w, "/b") != "/b: true\n"; got != c.whole {
			t.Errorf("%s: b is there: %v", name, got)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		oracle.Clean(t, image)
	}
}

// TestTar_Hostile: entries that take each other's places lead to what tar(1) makes of them, and what no file system can
// hold is refused before it is there.
func TestTar_Hostile(t *testing.T) {
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
	symlink := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, c := range map[string]struct {
		headers []tar.Header
		want    error
		there   []string
	}{
		"a file for a directory": {[]tar.Header{dir("d"), {Name: "d", Size: 3}}, nil, []string{"/d"}},
		"below what was a directory": {
			[]tar.Header{dir("d"), {Name: "d", Size: 3}, {Name: "d/x", Size: 3}}, ext4.ErrNotDir, []string{"/d"},
		},
		"a symlink for a directory": {
			[]tar.Header{dir("d"), dir("e"), symlink("d", "e"), {Name: "d/x", Size: 3}}, nil, []string{"/d", "/e/x"},
		},
		"a symlink for a symlink": {
			[]tar.Header{
				dir("d"), dir("e"), symlink("s", "d"), {Name: "s/x", Size: 3}, symlink("s", "e"), {Name: "s/y", Size: 3},
			},
			nil, []string{"/d/x", "/e/y"},
		},
		"a symlink out of the image": {
			[]tar.Header{symlink("s", "../.."), {Name: "s/x", Size: 3}}, nil, []string{"/s", "/x"},
		},
		"a symlink to nothing": {[]tar.Header{symlink("s", "")}, ext4.ErrInvalid, nil},
		"a link to nothing":    {[]tar.Header{{Name: "l", Typeflag: tar.TypeLink}}, ext4.ErrInvalid, nil},
	} {
		w, image := open(t)
		im := importer.New(w.Writable, ext4.Root, importer.Options{Atomic: true, Replace: true, Follow: true})
		if err := im.Tar(context.Background(), bytes.NewReader(archiveOf(t, c.headers...))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		for _, path := range c.there {
			if got := describe(t, w, path); got == path+": true\n" {
				t.Errorf("%s: %s is not there", name, path)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		oracle.Clean(t, image)
	}
	w, _ := open(t)
	defer w.Close()
	im := importer.New(w.Writable, ext4.Root, importer.Options{})
	bad := archiveOf(t, tar.Header{Name: "x\nvarve: done\n", Typeflag: tar.TypeLink, Linkname: "no\nname"})
	if err := im.Tar(context.Background(), bytes.NewReader(bad)); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("names in the message %v", err)
	}
	for _, o := range []ext4.CreateOptions{{Mode: 0o644}, {Mode: disk.ModeSymlink | 0o777}} {
		if _, err := w.Create(ext4.Cred{}, ext4.Root, "n", o); err == nil {
			t.Errorf("%+v was made", o)
		}
	}
}

// TestTar_Bomb: a context ends the import of a file that is one hole of 8 EiB.
func TestTar_Bomb(t *testing.T) {
	h := make([]byte, 512)
	copy(h, "bomb")
	for at, field := range map[int]string{
		100: "0000644\x00", 108: "0000000\x00", 116: "0000000\x00", 124: "00000000000\x00", 136: "00000000000\x00",
		148: "        ", 156: "S", 257: "ustar  \x00", 386: "00000000000\x00", 398: "00000000000\x00",
		483: "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
	} {
		copy(h[at:], field)
	}
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	w, image := open(t)
	im := importer.New(w.Writable, ext4.Root, importer.Options{Atomic: true, Replace: true})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := im.Tar(ctx, bytes.NewReader(append(h, make([]byte, 1024)...)))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if got := describe(t, w, "/bomb"); got != "/bomb: true\n" {
		t.Errorf("%s", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, image)
}
