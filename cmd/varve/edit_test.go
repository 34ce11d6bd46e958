package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// TestCLI_Edit makes, renames, changes and removes files of images without mounting them: in place, and in an overlay,
// which leaves the image as it is.
func TestCLI_Edit(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	for _, overlay := range []bool{false, true} {
		image := rwImage(t, "16M")
		before := oracle.HashFile(t, image)
		file := filepath.Join(t.TempDir(), "over")
		edit := func(args ...string) {
			t.Helper()
			if overlay {
				args = append(args, "--overlay", file)
			}
			must(t, args...)
		}
		edit("mkdir", image, "-p", "/a/b/c", "/d")
		edit("mkdir", image, "-m", "1777", "/tmp")
		edit("put", image, "main_test.go", "/a/file")
		edit("chmod", image, "u=rwxs,go-r", "/a/file")
		edit("chown", image, "1000:100", "/a/b")
		edit("setfattr", image, "-n", "user.k", "-v", "0x4100", "/a/b")
		edit("setfattr", image, "-n", "user.gone", "-v", "0sQUJD", "/a/b")
		edit("setfattr", image, "-x", "user.gone", "/a/b")
		edit("mv", image, "/a/file", "/a/b/c")          // into a directory
		edit("mv", image, "/a/b/c/file", "/d/new")      // to a name
		edit("mv", image, "-T", "/a/b/c", "/d/c")       // a directory
		edit("mv", image, "--exchange", "/a/b", "/d/c") // each takes the other's place
		edit("rm", image, "-f", "/nothing")
		edit("rm", image, "-r", "/a")
		if overlay {
			if oracle.HashFile(t, image) != before {
				t.Error("the image was changed")
			}
			must(t, "commit", image, file)
		}
		oracle.Clean(t, image)
		if r := must(t, "tree", image); r.Stdout != "/\n  d/\n    c/\n    new\n  lost+found/\n  tmp/\n" {
			t.Errorf("%s", r.Stdout)
		}
		for path, want := range map[string][]string{
			"/d/c": {"1000:100", `user.k = "A\x00"`}, "/d/new": {"4700"}, "/tmp": {"1777"},
		} {
			r := must(t, "stat", image, path)
			for _, s := range want {
				if !strings.Contains(r.Stdout, s) {
					t.Errorf("%s has no %q:\n%s", path, s, r.Stdout)
				}
			}
		}
	}
}

// TestCLI_EditRefused: what cannot be done says why, does not change the image, and has its exit code.
func TestCLI_EditRefused(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	image := rwImage(t, "16M")
	must(t, "mkdir", image, "-p", "/full/dir", "/other")
	fatal(t, os.WriteFile(image+".txt", []byte("x"), 0o644))
	before := must(t, "tree", image).Stdout
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"mkdir IMAGE /full", exitSystem, "exists"},
		{"mkdir IMAGE /no/dir", exitNotFound, "does not exist"},
		{"mkdir IMAGE /", exitSystem, "a path that ends with a name"},
		{"mkdir IMAGE /full/..", exitSystem, "a path that ends with a name"},
		{"mkdir IMAGE -m 9 /x", exitUsage, "mode"},
		{"rm IMAGE /full", exitSystem, "rm -r"},
		{"rm IMAGE /no", exitNotFound, "does not exist"},
		{"mv IMAGE -T /full /full/dir/x", exitSystem, "invalid"},
		{"mv IMAGE -n -T /full /other", exitSystem, "exists"},
		{"mv IMAGE -T /other /full", exitSystem, "not empty"},
		{"mv IMAGE --exchange -n /other /full", exitUsage, "contradict"},
		{"chmod IMAGE u+z /full", exitUsage, "u+z"},
		{"chmod IMAGE 755 /no", exitNotFound, "does not exist"},
		{"chown IMAGE root /full", exitUsage, "in numbers"},
		{"setfattr IMAGE /full", exitUsage, "--name"},
		{"setfattr IMAGE -n other.k /full", exitUnsupported, "/full"},
		{"setfattr IMAGE -n user.k -v 0xZZ /full", exitUsage, "0xZZ"},
		{"setfattr IMAGE -x user.none /full", exitSystem, "no such"},
		{"mkdir IMAGE.txt /x", exitDamaged, "superblock"},
	} {
		args := strings.Fields(strings.ReplaceAll(c.args, "IMAGE", image))
		if r := varve(t, args...); r.Code != c.code || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("%s: %+v, expected %d and %q", c.args, r, c.code, c.says)
		}
	}
	if after := must(t, "tree", image).Stdout; after != before {
		t.Errorf("changed:\n%s", after)
	}
	oracle.Clean(t, image)
}

// TestModeChange compares modes with those that chmod(1) sets.
func TestModeChange(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []string{
		"0", "755", "4711", "u+x", "u=rwx,g=rx,o=", "a+X", "go-w", "u+s,g+s", "+t", "=r", "ug=rw,o-r", "u=rwxs", "g=s",
		"a=rwX", "u+rw-x", "o+t",
	} {
		for _, start := range []uint16{0, 0o644, 0o755, 0o7777, 0o2750} {
			for _, isDir := range []bool{false, true} {
				m, err := parseMode(mode)
				fatal(t, err)
				path := filepath.Join(dir, "f")
				if isDir {
					path = filepath.Join(dir, "d")
				}
				_ = os.Remove(path)
				if isDir {
					fatal(t, os.Mkdir(path, 0o700))
				} else {
					fatal(t, os.WriteFile(path, nil, 0o600))
				}
				oracle.MustRun(t, "sh", "-c", "umask 0; chmod "+octal(start)+" "+path+"; chmod "+mode+" "+path)
				want := strings.TrimSpace(oracle.MustRun(t, "stat", "-c", "%a", path))
				if got := octal(m.apply(start, isDir)); got != want && !(isDir && m.octal) {
					t.Errorf("%s of %s (directory: %v): %s, chmod makes it %s", mode, octal(start), isDir, got, want)
				}
			}
		}
	}
	for _, bad := range []string{"", "u", "8", "77777", "u+q", "x+u", "u+x,", "-", "u=rw g=r"} {
		if m, err := parseMode(bad); err == nil && bad != "-" {
			t.Errorf("%q is taken for %+v", bad, m)
		}
	}
}

func octal(mode uint16) string { return strconv.FormatUint(uint64(mode), 8) }
