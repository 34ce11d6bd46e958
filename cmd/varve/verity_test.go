package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
)

// verityImage has two files under verity, of which one was changed at byte 400,000 behind its tree's back.
func verityImage(t *testing.T) (image string, contents []byte) {
	t.Helper()
	image = oracle.NewImage(t, 32<<20, "-b", "4096", "-O", "verity")
	contents = make([]byte, 600_000)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(contents)
	oracle.Verity(t, image, "good", contents)
	oracle.Verity(t, image, "bad", contents, "--hash-alg=sha512")
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fsys, err := ext4.Open(f, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := fsys.Resolve("bad", false)
	if err != nil {
		t.Fatal(err)
	}
	run, err := n.Map(400_000 / 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 16), fsys.Superblock().BlockSize.Offset(run.Start)+100); err != nil {
		t.Fatal(err)
	}
	return image, contents
}

// TestMount_Verity reads files under verity through mounts: a changed block is EIO, all others are read. Where the
// mount writes, contents under verity are refused with EPERM.
func TestMount_Verity(t *testing.T) {
	oracle.NeedFUSE(t)
	for _, options := range []string{"ro", "rw", "rw,no_open", "rw,data=journal"} {
		t.Run(options, func(t *testing.T) {
			image, contents := verityImage(t)
			dir, unmount := mountImage(t, image, "-o", options)
			good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
			if got, err := os.ReadFile(good); err != nil || !bytes.Equal(got, contents) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			f, err := os.Open(bad)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			p := make([]byte, 4096)
			for at := 0; at+4096 <= len(contents); at += 4096 {
				k, err := f.ReadAt(p, int64(at))
				if at == 400_000/4096*4096 {
					if !errors.Is(err, unix.EIO) || k > 0 {
						t.Errorf("the changed block: %d bytes, %v", k, err)
					}
				} else if err != nil || !bytes.Equal(p, contents[at:at+4096]) {
					t.Errorf("at byte %d: %v", at, err)
				}
			}
			f.Close()
			if options != "ro" {
				verityChanges(t, good, contents, options)
			}
			unmount()
			oracle.Clean(t, image)
		})
	}
}

func verityChanges(t *testing.T, good string, contents []byte, options string) {
	t.Helper()
	f, err := os.OpenFile(good, os.O_RDWR, 0)
	if err == nil && options == "rw,no_open" { // refused at the write
		_, err = f.WriteAt([]byte("x"), 0)
		f.Close()
	}
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("writing: %v", err)
	}
	if err := os.Truncate(good, 10); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncate: %v", err)
	}
	if err := os.Chmod(good, 0o600); err != nil {
		t.Error(err)
	}
	if err := os.Rename(good, good+"-2"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(good + "-2"); err != nil || !bytes.Equal(got, contents) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := os.Remove(good + "-2"); err != nil {
		t.Error(err)
	}
}

// TestCLI_Verity: cat, cp and tar report a changed block, and give out none of it.
func TestCLI_Verity(t *testing.T) {
	image, contents := verityImage(t)
	if r := varve(t, "cat", image, "good"); r.Code != exitOK || r.Stdout != string(contents) {
		t.Errorf("cat: %d, %s", r.Code, r.Stderr)
	}
	const place = "block of 4096 bytes at byte 397312"
	r := varve(t, "cat", image, "bad")
	if r.Code != exitDamaged || strings.Count(r.Stderr, place) != 1 || r.Stdout != string(contents[:397312]) {
		t.Errorf("cat: %d, %d bytes, %s", r.Code, len(r.Stdout), r.Stderr)
	}
	to := filepath.Join(t.TempDir(), "copy")
	if r := varve(t, "cp", image, "bad", to); r.Code == exitOK || !strings.Contains(r.Stderr, place) {
		t.Errorf("cp: %d, %s", r.Code, r.Stderr)
	}
	if r := varve(t, "tar", image, "-o", to+".tar"); r.Code == exitOK || !strings.Contains(r.Stderr, place) {
		t.Errorf("tar: %d, %s", r.Code, r.Stderr)
	}
}
