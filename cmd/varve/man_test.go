package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/program"
)

// TestCLI_ManPages and completions are generated.
func TestCLI_ManPages(t *testing.T) {
	dir := t.TempDir()
	must(t, "man", dir)
	page, err := os.ReadFile(filepath.Join(dir, "varve-mount.8"))
	if err != nil || !bytes.Contains(page, []byte("allow_other")) {
		t.Errorf("varve-mount.8: %v", err)
	}
	if !bytes.Contains(page, []byte("\n.EX\nro, rw  ")) {
		t.Error("varve-mount.8: the list of options is a filled paragraph")
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := must(t, "completion", shell); !strings.Contains(r.Stdout, "varve") {
			t.Errorf("no completion for %s", shell)
		}
	}
}

// TestMake_InstallUninstall: make uninstall removes all that make install has put below a folder, and nothing else.
func TestMake_InstallUninstall(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "usr/local/share/man/man8/variable.8")
	fatal(t, os.MkdirAll(filepath.Dir(other), 0o755))
	fatal(t, os.WriteFile(other, nil, 0o644))
	files := func() (out []string) {
		fatal(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out = append(out, strings.TrimPrefix(path, dir))
			}
			return err
		}))
		return out
	}
	run := func(target string) {
		t.Helper()
		cmd := exec.Command("make", "-C", "../..", "-o", "build", target, "BIN="+program.Path(t), "DESTDIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
	}
	run("install")
	for _, want := range []string{"/usr/local/bin/varve", "/sbin/mount.varve", "/sbin/umount.fuse.varve",
		"/usr/local/share/man/man8/varve-mount.8", "/usr/local/share/bash-completion/completions/varve",
		"/usr/local/share/zsh/site-functions/_varve", "/usr/local/share/fish/vendor_completions.d/varve.fish"} {
		if !slices.Contains(files(), want) {
			t.Errorf("%s is not installed", want)
		}
	}
	run("uninstall")
	if left := files(); len(left) != 1 || dir+left[0] != other {
		t.Errorf("left behind: %q", left)
	}
}
