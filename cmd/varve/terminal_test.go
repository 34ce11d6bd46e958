package main

import (
	"archive/tar"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// unfit are characters that a terminal could obey, or that make text look like other text.
var unfit = []string{
	"\x1b[31m",
	"\x07",
	"\r",
	"\n",
	"\x7f",
	"\u009b31m",
	"\x9b31m",
	"\u202egnp.exe",
	"\u2066",
	"\xff\xfe",
	"\U000e0041",
}

// obeyed finds what a terminal could obey.
func obeyed(s string) string {
	for i, r := range s {
		if r != '\n' && r != '\t' &&
			(unicode.IsControl(r) || unicode.In(r, unicode.Cf) || r == unicode.ReplacementChar) {
			return s[max(0, i-20):min(len(s), i+20)]
		}
	}
	return ""
}

// unfitImage has such characters wherever an image can have them.
func unfitImage(t *testing.T) string {
	t.Helper()
	image := rwImage(t, "16M", "-L", "a\x1b[31mb\nc", "-M", "/mnt\x1b]0;x\x07")
	dir, unmount := oracle.MountKernel(t, image, "rw")
	defer unmount()
	for _, s := range unfit {
		fatal(t, os.WriteFile(filepath.Join(dir, "file"+s), []byte("contents "+s), 0o644))
		fatal(t, os.Symlink("to "+s, filepath.Join(dir, "link"+s)))
		fatal(t, os.Mkdir(filepath.Join(dir, "dir"+s), 0o755))
		fatal(t, unix.Mknod(filepath.Join(dir, "dir"+s, "socket"+s), unix.S_IFSOCK|0o644, 0))
		fatal(t, unix.Setxattr(filepath.Join(dir, "file"+s), "user.attr"+s, []byte(s), 0))
	}
	return image
}

// TestTerminal_Images: no character of an image that a terminal could obey reaches it, neither as text nor as JSON.
// JSON says what the names are.
func TestTerminal_Images(t *testing.T) {
	oracle.NeedRoot(t)
	image := unfitImage(t)
	hard := "/file" + unfit[0]
	for _, args := range [][]string{{"info"}, {"info", "--json"}, {"ls"}, {"ls", "-l"}, {"ls", "--json"}, {"tree"},
		{"tree", "--json"}, {"stat", hard}, {"stat", "--json", hard},
		{"stat", "/link" + unfit[4]}, {"stat", "/none" + unfit[5]}, {"cat", "/none" + unfit[0]},
		{"cat", "/dir" + unfit[6]}, {"cat", "/dir" + unfit[3] + "/none"}, {"ls", hard + "/x"},
		{"tar", "-o", os.DevNull}, {"cp", "/", t.TempDir()}, {"cp", "/none" + unfit[0], "/nowhere" + unfit[0]},
		{"fsck", "-f"}, {"fsck", "--json"}, {"mount", "/none" + unfit[0]}, {"umount"},
		{"stats"}, {"diff", "/none" + unfit[0]}, {"commit", "/none" + unfit[6]}, {"map", "/file" + unfit[0]},
		{"nothing" + unfit[0]}, {"ls", "--" + unfit[0]}} {
		at := 1
		for at < len(args) && strings.HasPrefix(args[at], "-") {
			at++
			if args[0] == "tar" {
				at++
			}
		}
		r := varve(t, slices.Insert(slices.Clone(args), at, image)...)
		if bad := obeyed(r.Stdout + r.Stderr); bad != "" {
			t.Errorf("%q prints %q", args, bad)
		}
		if slices.Contains(args, "--json") && !json.Valid([]byte(r.Stdout)) {
			t.Errorf("%q prints no JSON: %s", args, r.Stdout)
		}
	}
	var l listing
	fatal(t, json.Unmarshal([]byte(must(t, "ls", "--json", image).Stdout), &l))
	found := map[string]bool{}
	for _, e := range l.Entries {
		found[e.Name] = true
	}
	for _, s := range unfit {
		if want := "file" + strings.ToValidUTF8(s, "\ufffd"); !found[want] &&
			!found["file"+strings.Repeat("\ufffd", 2)] {
			t.Errorf("ls --json does not name %q", want)
		}
	}
}

// TestTerminal_Data: contents and archives are as they are.
func TestTerminal_Data(t *testing.T) {
	oracle.NeedRoot(t)
	image := unfitImage(t)
	names := map[string]bool{}
	for r := tar.NewReader(strings.NewReader(varve(t, "tar", image).Stdout)); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		names[h.Name] = true
	}
	for _, s := range unfit {
		if got := must(t, "cat", image, "/file"+s).Stdout; got != "contents "+s {
			t.Errorf("cat gives %q", got)
		}
		if !names["file"+s] {
			t.Errorf("tar does not have %q", "file"+s)
		}
	}
}
