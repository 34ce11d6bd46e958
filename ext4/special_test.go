package ext4_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestEncrypted_NoKeyNames lists encrypted directories as the kernel does without their key, and refuses contents.
func TestEncrypted_NoKeyNames(t *testing.T) {
	for _, mkfs := range [][]string{{"-O", "encrypt"}, {"-b", "1024", "-O", "encrypt"}, {"-b", "1024", "-O",
		"encrypt,^dir_index"}} {
		t.Run(strings.Join(mkfs, " "), func(t *testing.T) {
			image := oracle.NewImage(t, 64<<20, mkfs...)
			dir, unmount := oracle.MountKernel(t, image, "test_dummy_encryption")
			sub := filepath.Join(dir, "secret")
			fatal(t, os.Mkdir(sub, 0o755))
			for i := range 300 { // enough for a hash tree, and lengths on both sides of where names are cut
				name := fmt.Sprintf("%03d%s", i, strings.Repeat("n", i%250))
				fatal(t, os.WriteFile(filepath.Join(sub, name), []byte(name), 0o644))
			}
			fatal(t, os.Mkdir(filepath.Join(sub, "small"), 0o755))
			fatal(t, os.WriteFile(filepath.Join(sub, "small", "one"), []byte("1"), 0o644))
			fatal(t, os.Symlink("where it leads", filepath.Join(sub, "link")))
			fatal(t, os.Symlink(strings.Repeat("far", 70), filepath.Join(sub, "long-link")))
			unmount()
			dir, _ = oracle.MountKernel(t, image, "ro")
			want, unread := oracle.TreeOf(dir)
			got, failed := oracle.ViewOf(openImage(t, image, ext4.Options{}))
			if len(unread) < 300 {
				t.Fatalf("the kernel refuses only %d files: %v", len(unread), unread)
			}
			for path := range unread {
				if !errors.Is(failed[path], ext4.ErrNoKey) {
					t.Fatalf("%s: %v, expected ErrNoKey", path, failed[path])
				}
				delete(failed, path)
			}
			if len(failed) > 0 {
				t.Fatalf("the kernel can read %v", failed)
			}
			oracle.Compare(t, "kernel", want, "varve", got)
		})
	}
}

// TestCasefold_Lookup finds names in any case, in linear directories and in hash trees that e2fsck made.
func TestCasefold_Lookup(t *testing.T) {
	oracle.Need(t, "debugfs", "e2fsck")
	source := t.TempDir()
	names := []string{"Straße", "ΑΒΓ", "Éclair", "İstanbul", "plain"}
	for i := range 400 {
		names = append(names, fmt.Sprintf("Wide-%03d-Ä", i))
	}
	fatal(t, os.Mkdir(filepath.Join(source, "dir"), 0o755))
	image := oracle.NewImage(t, 32<<20, "-b", "1024", "-O", "casefold", "-E", "encoding=utf8", "-d", source)
	// The flag can only be set on an empty directory.
	oracle.MustRun(t, "debugfs", "-w", "-R", "set_inode_field dir flags 0x40080000", image)
	var script strings.Builder
	file := filepath.Join(t.TempDir(), "empty")
	fatal(t, os.WriteFile(file, nil, 0o644))
	script.WriteString("cd dir\n")
	for _, name := range names {
		fmt.Fprintf(&script, "write %s %s\n", file, name)
	}
	commands := filepath.Join(t.TempDir(), "commands")
	fatal(t, os.WriteFile(commands, []byte(script.String()), 0o644))
	oracle.MustRun(t, "debugfs", "-w", "-f", commands, image)
	lookup := func(what string, wantIndex bool) {
		fsys := openImage(t, image, ext4.Options{})
		dir, err := fsys.Resolve("dir", true)
		fatal(t, err)
		if !dir.Has(disk.InodeCasefold) || dir.Has(disk.InodeIndex) != wantIndex {
			t.Fatalf("%s: flags are 0x%x", what, dir.Flags)
		}
		for query, stored := range map[string]string{"STRASSE": "Straße", "strasse": "Straße", "αβγ": "ΑΒΓ",
			"E\u0301CLAIR": "Éclair",
			"PLAIN":        "plain", "wide-123-ä": "Wide-123-Ä", "WIDE-399-a\u0308": "Wide-399-Ä", "pl\u00adain": "plain"} {
			want, err := dir.LookupIno(stored)
			fatal(t, err)
			if got, err := dir.LookupIno(query); err != nil || got != want {
				t.Errorf("%s: %q leads to inode %d (%v), expected that of %q, %d", what, query, got, err, stored, want)
			}
		}
		for _, query := range []string{"wide-400-ä", "plai", "plainer", "\xff\xfe"} {
			if got, err := dir.LookupIno(query); !errors.Is(err, ext4.ErrNotExist) {
				t.Errorf("%s: %q leads to inode %d (%v), expected none", what, query, got, err)
			}
		}
	}
	lookup("linear", false)
	oracle.MustRun(t, "sh", "-c", "e2fsck -fyD "+image+"; test $? -le 1")
	oracle.Clean(t, image)
	lookup("hash tree", true)
}

// TestHash_Debugfs computes the hashes of names as debugfs does, for each version that it knows. Those over unsigned
// characters are shown by looking names up in directories that the kernel hashed so.
func TestHash_Debugfs(t *testing.T) {
	oracle.Need(t, "debugfs")
	image := oracle.NewImage(t, 4<<20, "-O", "^has_journal")
	fsys := openImage(t, image, ext4.Options{})
	super := *fsys.Superblock()
	word := func(u uint32) string {
		return fmt.Sprintf("%02x%02x%02x%02x", byte(u), byte(u>>8), byte(u>>16), byte(u>>24))
	}
	s := super.HashSeed
	all := word(s[0]) + word(s[1]) + word(s[2]) + word(s[3])
	seed := all[:8] + "-" + all[8:12] + "-" + all[12:16] + "-" + all[16:20] + "-" + all[20:]
	printed := regexp.MustCompile(`is 0x([0-9a-f]+) \(minor 0x([0-9a-f]+)\)`)
	for i, version := range []string{"legacy", "half_md4", "tea"} {
		for _, name := range []string{"a", "hello", "ümläut-ÿ", strings.Repeat("long", 40), "exactly-16-bytes",
			"thirty-two-bytes-long-name-is-it"} {
			out := oracle.MustRun(t, "debugfs", "-R", fmt.Sprintf("dx_hash -s %s -h %s %s", seed, version, name), image)
			m := printed.FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("debugfs printed %q", out)
			}
			hash, minor, ok := super.NameHash(uint8(i), []byte(name))
			if got := []string{fmt.Sprintf("%x", hash), fmt.Sprintf("%x", minor)}; !ok || !slices.Equal(got, m[1:]) {
				t.Errorf("%s of %q is %v, by debugfs %v", version, name, got, m[1:])
			}
		}
	}
}

// TestView_FSTest passes the standard library's own test of file systems.
func TestView_FSTest(t *testing.T) {
	source := t.TempDir()
	for _, name := range []string{"a", "dir/b", "dir/sub/c"} {
		fatal(t, os.MkdirAll(filepath.Dir(filepath.Join(source, name)), 0o755))
		fatal(t, os.WriteFile(filepath.Join(source, name), []byte(strings.Repeat(name, 3000)), 0o644))
	}
	fatal(t, os.Symlink("dir/b", filepath.Join(source, "link")))
	for _, mkfs := range [][]string{nil, {"-O", "inline_data"}, {"-t", "ext2"}} {
		fsys := openImage(t, oracle.NewImage(t, 16<<20, append(mkfs, "-d", source)...), ext4.Options{})
		if err := fstest.TestFS(fsys.IOFS(), "a", "dir/b", "dir/sub/c", "link", "lost+found"); err != nil {
			t.Error(err)
		}
		sub, err := fsys.IOFS().Sub("dir")
		fatal(t, err)
		if err := fstest.TestFS(sub, "b", "sub/c"); err != nil {
			t.Error(err)
		}
		f, err := fsys.IOFS().Open("link")
		fatal(t, err)
		p := make([]byte, 5)
		if _, err := f.(io.ReaderAt).ReadAt(p, 10); err != nil || string(p) != "dir/b" {
			t.Errorf("read %q at 10: %v", p, err)
		}
		if at, err := f.(io.Seeker).Seek(-2, io.SeekEnd); err != nil || at != 14998 {
			t.Errorf("seek leads to %d: %v", at, err)
		}
	}
}

// TestResolve_Links follows symlinks within the image, and gives up on loops.
func TestResolve_Links(t *testing.T) {
	source := t.TempDir()
	fatal(t, os.MkdirAll(filepath.Join(source, "d/e"), 0o755))
	fatal(t, os.WriteFile(filepath.Join(source, "d/f"), []byte("f"), 0o644))
	for name, target := range map[string]string{"abs": "/d/f", "up": "d/e/../../../d/f", "loop": "loop", "a": "b",
		"b": "a", "todir": "d"} {
		fatal(t, os.Symlink(target, filepath.Join(source, name)))
	}
	fsys := openImage(t, oracle.NewImage(t, 16<<20, "-d", source), ext4.Options{})
	want, err := fsys.Resolve("/d/f", true)
	fatal(t, err)
	for _, p := range []string{"abs", "up", "todir/f", "//d//.//f", "../../d/f", "todir/e/../f"} {
		if n, err := fsys.Resolve(p, true); err != nil || n.Ino != want.Ino {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"loop", "a", "loop/x"} {
		if _, err := fsys.Resolve(p, true); !errors.Is(err, ext4.ErrLoop) {
			t.Errorf("%s: %v, expected ErrLoop", p, err)
		}
	}
	if n, err := fsys.Resolve("loop", false); err != nil || !n.IsSymlink() {
		t.Errorf("loop itself: %v", err)
	}
}
