package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestCLI_Pack packs a whole tree from a folder and from an archive, with several kinds of file systems, and compares
// what the kernel's mount shows with the tree. e2fsck finds nothing, and the journal is there.
func TestCLI_Pack(t *testing.T) {
	oracle.NeedRoot(t)
	source := oracle.NewImage(t, 128<<20)
	kernel, _ := oracle.MountKernel(t, source, "")
	oracle.Fill(t, kernel, oracle.Filling{Wide: 100, Xattrs: true})
	want := oracle.Kept(oracle.Tree(t, kernel))
	delete(want, "types/socket") // no archive can hold one, and pack leaves them out
	archive := filepath.Join(t.TempDir(), "archive.tar")
	oracle.MustRun(t, "tar", append(tarAll, "-S", "-C", kernel, "-czf", archive, ".")...)
	for _, c := range []struct{ from, options string }{
		{kernel, "-O orphan_file"}, {archive, ""}, {archive, "-b 1024 -J size=2"}, {kernel, "-O ^has_journal -I 128"},
		{kernel, "-O inline_data -b 4096"}, {archive, "-t ext3"},
	} {
		image := filepath.Join(t.TempDir(), "image")
		must(t, "pack", image, c.from, "--fs-options", c.options, "--label", "packed")
		oracle.Clean(t, image)
		header := oracle.MustRun(t, "dumpe2fs", "-h", image)
		if strings.Contains(header, "has_journal") == strings.Contains(c.options, "^has_journal") ||
			!strings.Contains(header, "packed") {
			t.Errorf("%q:\n%s", c.options, header)
		}
		if strings.Contains(c.options, "128") {
			continue // times of such inodes have no nanoseconds
		}
		dir, unmount := oracle.MountKernel(t, image, "ro")
		oracle.Compare(t, "source", want, "pack "+c.options, oracle.Kept(oracle.Tree(t, dir)))
		unmount()
	}
}

// TestCLI_PackFits: the size that varve chooses is enough, for trees of each kind, and not far too much.
func TestCLI_PackFits(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	for name, fill := range map[string]func(dir string){
		"nothing": func(string) {},
		"small files": func(dir string) {
			for i := range 3000 {
				fatal(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("a-rather-long-name-%d", i)), []byte("x"), 0o644))
			}
		},
		"directories": func(dir string) {
			for i := range 1000 {
				fatal(t, os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o755))
			}
		},
		"large file": func(dir string) {
			fatal(t, os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("contents"), 5<<20), 0o644))
		},
		"holes": func(dir string) {
			fatal(t, os.WriteFile(filepath.Join(dir, "sparse"), []byte("x"), 0o644))
			fatal(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<32))
		},
		"symlinks": func(dir string) {
			for i := range 1000 {
				fatal(t, os.Symlink(strings.Repeat("x", 100), filepath.Join(dir, fmt.Sprint(i))))
			}
		},
	} {
		for _, options := range []string{"-b 1024", "-b 4096"} {
			dir, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
			fill(dir)
			must(t, "pack", image, dir, "--fs-options", options)
			oracle.Clean(t, image)
			info, err := os.Stat(image)
			fatal(t, err)
			if most := int64(64 << 20); info.Size() > most {
				t.Errorf("%s %s: %d bytes", name, options, info.Size())
			}
		}
	}
}

// TestCLI_PackReproducible packs one tree twice, with other times of access and at another time, into the same bytes;
// other contents of it give others.
func TestCLI_PackReproducible(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	dir := t.TempDir()
	for i := range 200 {
		sub := filepath.Join(dir, fmt.Sprint(i%7))
		fatal(t, errors.Join(os.MkdirAll(sub, 0o755),
			os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, i*100), 0o644)))
	}
	pack := func(args ...string) string {
		image := filepath.Join(t.TempDir(), "image")
		must(t, append([]string{"pack", image, dir, "--reproducible", "--fs-options", "-O orphan_file"}, args...)...)
		oracle.Clean(t, image)
		return oracle.HashFile(t, image)
	}
	first := pack()
	file := filepath.Join(dir, "0", "0")
	info, err := os.Stat(file)
	fatal(t, err)
	fatal(t, os.Chtimes(file, time.Now(), info.ModTime()))
	if again := pack(); again != first {
		t.Error("the second image is another one")
	}
	if other := pack("--uuid", "11111111-2222-3333-4444-555555555555"); other == first {
		t.Error("another UUID makes no difference")
	}
	fatal(t, os.Chmod(file, 0o600))
	if other := pack(); other == first {
		t.Error("another mode makes no difference")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	early := pack()
	fatal(t, os.Chtimes(file, time.Now(), time.Now()))
	if again := pack(); again != early {
		t.Error("a time after SOURCE_DATE_EPOCH makes a difference")
	}
}

// TestCLI_PackRefused: each says why, and leaves nothing behind.
func TestCLI_PackRefused(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	source, out := t.TempDir(), t.TempDir()
	fatal(t, os.WriteFile(filepath.Join(source, "file"), bytes.Repeat([]byte("x"), 4<<20), 0o644))
	there := filepath.Join(out, "there")
	fatal(t, os.WriteFile(there, []byte("precious"), 0o644))
	image := filepath.Join(out, "image")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{there, source}, exitSystem, "--force"},
		{[]string{image, source + "/no"}, exitSystem, "no such file"},
		{[]string{image, filepath.Join(source, "file")}, exitSystem, "the archive"},
		{[]string{image, source, "--size", "2M"}, exitSystem, "larger size"},
		{[]string{image, source, "--size", "much"}, exitUsage, "much"},
		{[]string{image, source, "--fs-options", "-O nonsense"}, exitSystem, "nonsense"},
		{[]string{image, source, "--owner", "me"}, exitUsage, "me"},
		{[]string{image, "-"}, exitSystem, "size"},
		{[]string{filepath.Join(out, "no", "image"), source}, exitSystem, "no such"},
	} {
		r := varve(t, append([]string{"pack"}, c.args...)...)
		if r.Code != c.code || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("%v: %+v, expected %d and %q", c.args, r, c.code, c.says)
		}
	}
	left, err := os.ReadDir(out)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if p, err := os.ReadFile(there); err != nil || string(p) != "precious" {
		t.Errorf("%q, %v", p, err)
	}
}

// TestCLI_PackUser packs an archive with the owners and devices of root as another user.
func TestCLI_PackUser(t *testing.T) {
	oracle.NeedRoot(t)
	source, dir := t.TempDir(), t.TempDir()
	oracle.MustRun(t, "mknod", filepath.Join(source, "null"), "c", "1", "3")
	fatal(t, os.WriteFile(filepath.Join(source, "setuid"), nil, 0o644))
	fatal(t, os.Chmod(filepath.Join(source, "setuid"), 0o755|os.ModeSetuid))
	archive := filepath.Join(dir, "tar")
	oracle.MustRun(t, "tar", "-C", source, "-cf", archive, ".")
	fatal(t, errors.Join(os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)))
	image := filepath.Join(dir, "image")
	program.AsUser(t, program.Stranger, func() error {
		var stderr bytes.Buffer
		if code := run([]string{"varve", "pack", image, archive}, &stderr, &stderr); code != exitOK {
			return fmt.Errorf("exit code %d: %s", code, stderr.String())
		}
		return nil
	})
	oracle.Clean(t, image)
	for path, want := range map[string]string{"/null": "character device", "/setuid": "4755"} {
		if r := must(t, "stat", image, path); !strings.Contains(r.Stdout, want) || !strings.Contains(r.Stdout, "0:0") {
			t.Errorf("%s: %s", path, r.Stdout)
		}
	}
}
