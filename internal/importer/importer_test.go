package importer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// open makes an empty file system, and opens it for writing.
func open(t *testing.T) (*volume.Writable, string) {
	t.Helper()
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	image := oracle.NewImage(t, 16<<20)
	w, err := volume.OpenWritable(volume.Spec{Image: image}, volume.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return w, image
}

// file is an entry with contents.
func file(path, contents string, mode uint16) importer.Entry {
	return importer.Entry{
		Path: path, Mode: disk.ModeRegular | mode, UID: 5, GID: 6, Mtime: time.Unix(1000, 7),
		Contents: importer.Reader(strings.NewReader(contents)), Size: uint64(len(contents)),
	}
}

// describe is what a tree has, one line a path.
func describe(t *testing.T, w *volume.Writable, paths ...string) string {
	t.Helper()
	var out strings.Builder
	err := w.View(func(fs *ext4.FS) error {
		for _, path := range paths {
			n, err := fs.Resolve(path, false)
			if err != nil {
				fmt.Fprintf(&out, "%s: %v\n", path, errors.Is(err, ext4.ErrNotExist))
				continue
			}
			fmt.Fprintf(&out, "%s: %o %d:%d %d links %d", path, n.Mode, n.UID, n.GID, n.Links, n.Mtime.UnixNano())
			if n.IsRegular() {
				p := make([]byte, n.Size)
				if _, err := n.ReadAt(p, 0); err != nil && len(p) > 0 {
					return err
				}
				fmt.Fprintf(&out, " %q", p)
			}
			out.WriteString("\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestImporter_Add makes files, directories and links, with files that appear at once and without: times and modes of
// directories stand in the end, missing directories are made, and a file is replaced only where that is allowed.
func TestImporter_Add(t *testing.T) {
	ctx := context.Background()
	for _, atomic := range []bool{false, true} {
		w, image := open(t)
		im := importer.New(w.Writable, ext4.Root, importer.Options{Atomic: atomic})
		dir := importer.Entry{
			Path: "./d/", Mode: disk.ModeDir | 0o2750, UID: 1, GID: 2, Mtime: time.Unix(500, 0),
			Xattrs: []importer.Xattr{{Name: "user.k", Value: []byte("v")}},
		}
		for _, e := range []importer.Entry{
			dir, file("d/setuid", "one", 0o4711), file("made/on/the/way", "two", 0o600),
			{Path: "d/hard", Link: "/made/on/./the/way"}, file("empty", "", 0o644),
		} {
			if err := im.Add(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		if err := im.Finish(ctx); err != nil {
			t.Fatal(err)
		}
		const want = "/d: 42750 1:2 2 links 500000000000\n" +
			"/d/setuid: 104711 5:6 1 links 1000000000007 \"one\"\n" +
			"/made/on/the/way: 100600 5:6 2 links 1000000000007 \"two\"\n" +
			"/d/hard: 100600 5:6 2 links 1000000000007 \"two\"\n" +
			"/empty: 100644 5:6 1 links 1000000000007 \"\"\n"
		if got := describe(t, w, "/d", "/d/setuid", "/made/on/the/way", "/d/hard", "/empty"); got != want {
			t.Errorf("atomic %v:\n%s", atomic, got)
		}
		if im.Files != 3 || im.Directories != 4 || im.Bytes != 6 {
			t.Errorf("%d files, %d directories, %d bytes", im.Files, im.Directories, im.Bytes)
		}
		if err := im.Add(ctx, file("d/setuid", "other", 0o644)); !errors.Is(err, ext4.ErrExists) {
			t.Errorf("over a file: %v", err)
		}
		replace := importer.New(w.Writable, ext4.Root, importer.Options{Atomic: atomic, Replace: true})
		for _, e := range []importer.Entry{
			file("d/setuid", "new", 0o644), {Path: "empty", Link: "d/setuid"},
			{Path: "made/on/the/way", Mode: disk.ModeDir | 0o755}, file("made/on/the/way/in", "x", 0o644),
		} {
			if err := replace.Add(ctx, e); err != nil {
				t.Errorf("replace %s: %v", e.Path, err)
			}
		}
		const after = "/d/setuid: 100644 5:6 2 links 1000000000007 \"new\"\n" +
			"/empty: 100644 5:6 2 links 1000000000007 \"new\"\n" +
			"/d/hard: 100600 5:6 1 links 1000000000007 \"two\"\n"
		if got := describe(t, w, "/d/setuid", "/empty", "/d/hard"); got != after {
			t.Errorf("replaced, atomic %v:\n%s", atomic, got)
		}
		if err := replace.Add(ctx, importer.Entry{Path: "x", Link: "none/y"}); !errors.Is(err, ext4.ErrNotExist) {
			t.Errorf("a link to nothing: %v", err)
		}
		if got := describe(t, w, "/none"); got != "/none: true\n" {
			t.Errorf("a link to nothing made its directory:\n%s", got)
		}
		if err := replace.Add(ctx, file("d", "over a full directory", 0o644)); !errors.Is(err, ext4.ErrNotEmpty) {
			t.Errorf("over a directory: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		oracle.Clean(t, image)
	}
}

// TestImporter_AtOnce: a file whose contents fail half-way leaves nothing behind, and what was there stays.
func TestImporter_AtOnce(t *testing.T) {
	ctx := context.Background()
	w, image := open(t)
	im := importer.New(w.Writable, ext4.Root, importer.Options{Atomic: true, Replace: true})
	if err := im.Add(ctx, file("f", "old", 0o644)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	half := file("f", "", 0o644)
	half.Contents = func(write func([]byte, int64) error) error {
		return errors.Join(write(bytes.Repeat([]byte("x"), 100_000), 0), broken)
	}
	if err := im.Add(ctx, half); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	half.Path = "g"
	if err := im.Add(ctx, half); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if got := describe(t, w, "/f", "/g"); got != "/f: 100644 5:6 1 links 1000000000007 \"old\"\n/g: true\n" {
		t.Errorf("%s", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, image)
}

// TestImporter_Ends: a cancelled context ends an import, and damage of an archive is an error.
func TestImporter_Ends(t *testing.T) {
	w, _ := open(t)
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	im := importer.New(w.Writable, ext4.Root, importer.Options{})
	if err := im.Add(ctx, file("f", "x", 0o644)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{
		"no archive", strings.Repeat("x", 4096), "\x1f\x8bnot gzip", "\x28\xb5\x2f\xfdnot zstd", "BZh9no", "\xfd7zXZ\x00",
	} {
		if err := im.Tar(context.Background(), strings.NewReader(bad)); err == nil {
			t.Errorf("%.10q is taken for an archive", bad)
		}
	}
	if err := im.Folder(context.Background(), os.DevNull+"/no", "x", nil); err == nil {
		t.Error("a folder that is not there was copied")
	}
}
