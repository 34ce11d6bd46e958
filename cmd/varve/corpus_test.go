package main

import (
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/oracle"
)

// filledName is the test's name for an image with every kind of file, of which more is compared than of others.
const filledName = "/filled"

// TestLook_Judged runs the commands that look into images on one with every kind of file and on a sixth of those of the
// folder VARVE_CORPUS, another one each day, and compares what they show with dumpe2fs, debugfs, and find(1) and du(1)
// on the kernel's mount.
func TestLook_Judged(t *testing.T) {
	oracle.Need(t, "dumpe2fs", "debugfs", "e2fsck", "find", "du")
	judged := map[string]int{}
	look := func(t *testing.T, image string) {
		judgeDump(t, image, judged)
		judgeInfo(t, image, judged)
		judgeInspect(t, image, judged)
		judgeSame(t, image, judged)
		judgeTree(t, image, judged) // last: the kernel may change the image
	}
	images := oracle.Share(0, 6, corpusImages(t))
	t.Run(filledName[1:], func(t *testing.T) { look(t, filledImage(t)) })
	for _, compressed := range images {
		t.Run(strings.TrimSuffix(filepath.Base(compressed), ".img.gz"), func(t *testing.T) {
			look(t, gunzip(t, compressed))
		})
	}
	t.Logf("compared: %v", judged)
	for what, least := range map[string]int{"superblock": 1, "inode": 15, "extents": 5, "dir": 5, "htree": 2, "xattr": 10,
		"journal": 1, "block": 1, "group": 4, "journal state": 1, "find": len(findings), "du": len(usageCases), "page": 1,
		"same": 1} {
		if judged[what] < least {
			t.Errorf("%s: %d were compared, expected %d", what, judged[what], least)
		}
	}
}

// corpusImages are the odd and damaged images in the folder VARVE_CORPUS, compressed.
func corpusImages(t *testing.T) []string {
	t.Helper()
	folder := os.Getenv("VARVE_CORPUS")
	if folder == "" {
		t.Log("SKIP: VARVE_CORPUS names no folder of images")
		return nil
	}
	images, err := filepath.Glob(filepath.Join(folder, "*.img.gz"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no images in %s: %v", folder, err)
	}
	return images
}

func gunzip(t *testing.T, path string) string {
	t.Helper()
	in, err := os.Open(path)
	fatal(t, err)
	defer in.Close()
	z, err := gzip.NewReader(in)
	fatal(t, err)
	out, err := os.Create(filepath.Join(t.TempDir(), "image"))
	fatal(t, err)
	defer out.Close()
	_, err = io.Copy(out, z)
	fatal(t, err)
	return out.Name()
}

// filledImage makes an image with every type of file, hash trees, extent trees and attributes.
func filledImage(t *testing.T) string {
	t.Helper()
	oracle.Need(t, "mkfs.ext4", "debugfs", "setfacl")
	oracle.NeedRoot(t)
	image, _ := oracle.Row{Name: "filled", Mkfs: []string{"-b", "1024", "-N", "2000"}, Size: 32 << 20,
		Fill: oracle.Filling{Wide: 200, Xattrs: true, Trees: true}}.Build(t)
	return image
}

// askDebugfs runs commands of debugfs, and returns the answer to each; nil where debugfs does not open the image.
func askDebugfs(t *testing.T, image string, commands []string) []string {
	t.Helper()
	cmd := exec.Command("debugfs", "-f", "-", image)
	cmd.Env = append(os.Environ(), "DEBUGFS_PAGER=__none__", "TZ=UTC")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, _ := cmd.CombinedOutput()
	parts := strings.Split("\n"+string(out), "\ndebugfs: ")
	if len(parts) != len(commands)+1 || strings.Contains(string(out), "Filesystem not open") {
		return nil
	}
	for i := range commands {
		_, parts[i+1], _ = strings.Cut(parts[i+1], "\n")
	}
	return parts[1:]
}

// imageCodes are the exit codes by which a command may answer for the state of an image.
var imageCodes = []int{exitOK, exitSystem, exitNotFound, exitDamaged, exitUnsupported, exitNoKey}

// answers runs a command line in this process, and fails the test where its answer takes long, or its exit code
// is none of those that say something of an image.
func answers(t *testing.T, args ...string) (stdout string, code int) {
	t.Helper()
	late := time.AfterFunc(time.Minute, func() { panic(strings.Join(args, " ") + ": no answer for a minute") })
	defer late.Stop()
	r := command(t, args...)
	if !slices.Contains(imageCodes, r.Code) || (r.Code != exitOK) != (r.Stderr != "") {
		t.Errorf("varve %s: exit code %d, %q", strings.Join(args, " "), r.Code, r.Stderr)
	}
	if r.Code == exitSystem && !strings.Contains(r.Stderr, "journal is on another device") &&
		!strings.Contains(r.Stderr, "unexpected EOF") {
		t.Errorf("varve %s: exit code %d, %q", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r.Stdout, r.Code
}
