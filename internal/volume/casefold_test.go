package volume_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func create(w *volume.Writable, dir ext4.Node, name string, mode uint16) error {
	_, err := w.Create(root, dir, name, ext4.CreateOptions{Mode: mode})
	return err
}

// TestCasefold_Names: directories that ignore case find, refuse, rename and delete names in any case, keep them
// as they were given first, and hash them so that e2fsck agrees, also those with characters newer than its tables.
func TestCasefold_Names(t *testing.T) {
	path := mkfs(t, "64M", "-t", "ext4", "-b", "1024", "-O", "casefold", "-E", "encoding=utf8")
	w := open(t, path, volume.WriteOptions{})
	dir := mkdir(t, w, ext4.Root, "dir")
	if err := w.SetFlags(root, dir, disk.InodeExtents|disk.InodeCasefold); err != nil {
		t.Fatal(err)
	}
	sub := mkdir(t, w, dir, "Sub")
	file := mkfile(t, w, dir, "Straße", nil)
	for _, n := range []ext4.Node{sub, file} {
		got := must[ext4.Inode](t)(lookup(w, dir, map[ext4.Node]string{sub: "SUB", file: "STRASSE"}[n]))
		if ext4.NodeOf(&got) != n || got.Has(disk.InodeCasefold) != got.IsDir() {
			t.Errorf("%v: found %v with flags 0x%x", n, ext4.NodeOf(&got), got.Flags)
		}
	}
	long := strings.Repeat("Ä", 40)
	for i := range 600 { // a hash tree of two levels
		mkfile(t, w, dir, fmt.Sprintf("%s%04d", long, i), nil)
	}
	for i, r := range []rune{0xa7c7, 0x10570, 0x11938, 0x898, 0x378, 0x2c2f} {
		mkfile(t, w, dir, fmt.Sprintf("New%c%d", r, i), nil)
	}
	mkfile(t, w, dir, "\xff\xfe", nil) // stands for itself
	mkfile(t, w, dir, "soft\u00adhyphen", nil)
	refused := map[string]error{
		"create":      create(w, dir, "STRASSE", disk.ModeRegular|0o600),
		"mkdir":       create(w, dir, strings.ToLower(long)+"0123", disk.ModeDir|0o700),
		"ignorable":   create(w, dir, "SoftHyphen", disk.ModeRegular|0o600),
		"link":        second(w.Link(root, file, dir, "strasse")),
		"not replace": second(w.Rename(root, dir, "sub", dir, "strasse", ext4.RenameNoReplace)),
	}
	for what, err := range refused {
		if !errors.Is(err, ext4.ErrExists) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must[ext4.Removed](t)(w.Rename(root, dir, "straße", dir, "STRASSE", 0))                     // its case
	must[ext4.Removed](t)(w.Rename(root, dir, strings.ToLower(long)+"0001", dir, "strasse", 0)) // over it
	must[ext4.Removed](t)(w.Unlink(root, dir, strings.ToLower(long)+"0002"))
	must[ext4.Removed](t)(w.Rmdir(root, dir, "sUB"))
	if err := w.SetFlags(root, dir, disk.InodeExtents|disk.InodeIndex); !errors.Is(err, ext4.ErrNotEmpty) {
		t.Errorf("-F of a directory with names: %v", err)
	}
	if err := w.SetFlags(root, ext4.Root, disk.InodeExtents|disk.InodeCasefold); !errors.Is(err, ext4.ErrNotEmpty) {
		t.Errorf("+F of a directory with names: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	v := openVolume(t, path)
	if verdict, err := v.Check(nil); err != nil || !verdict.Clean() {
		t.Fatalf("varve's own checker: %v, %+v", err, verdict.Problems)
	}
	names := strings.Join(list(t, v, "/dir"), "\n")
	for name, want := range map[string]bool{"STRASSE": true, "Straße": false, "strasse": false, "Sub": false,
		long + "0000": true, long + "0001": false, long + "0002": false, long + "0599": true} {
		if strings.Contains(names+"\n", "\n"+name+"\n") != want {
			t.Errorf("%q is there: %v, expected %v", name, !want, want)
		}
	}
}

// TestCasefold_Strict: a strict file system takes UTF-8 alone where case is ignored, and one without the feature takes
// no such directory.
func TestCasefold_Strict(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-O", "casefold", "-E", "encoding=utf8,encoding_flags=strict")
	w := open(t, path, volume.WriteOptions{})
	dir := mkdir(t, w, ext4.Root, "dir")
	if err := w.SetFlags(root, dir, disk.InodeExtents|disk.InodeCasefold); err != nil {
		t.Fatal(err)
	}
	if err := create(w, dir, "\xff", disk.ModeRegular|0o600); !errors.Is(err, ext4.ErrInvalid) {
		t.Errorf("no UTF-8: %v", err)
	}
	mkfile(t, w, ext4.Root, "\xff", nil)
	mkfile(t, w, dir, "ÿ", nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	w = open(t, mkfs(t, "16M", "-t", "ext4"), volume.WriteOptions{})
	dir = mkdir(t, w, ext4.Root, "dir")
	if err := w.SetFlags(root, dir, disk.InodeExtents|disk.InodeCasefold); !errors.Is(err, ondisk.ErrUnsupported) {
		t.Errorf("without the feature: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
