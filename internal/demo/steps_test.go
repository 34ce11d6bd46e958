package demo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
)

// script writes a program for the demo to run as varve.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "varve")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDemo_WithoutMount: the library reads what mkfs put into the image, and a file that differs is reported.
func TestDemo_WithoutMount(t *testing.T) {
	oracle.Need(t, "mkfs.ext4")
	var out bytes.Buffer
	d := &Demo{Dir: t.TempDir(), Out: &out}
	if err := d.makeImage(); err != nil {
		t.Fatal(err)
	}
	if err := d.withoutMount(); err != nil || !strings.Contains(out.String(), "year-3/layer-39/first without a mount") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := os.WriteFile(filepath.Join(d.path("source"), "year-3/layer-39/first"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.withoutMount(); err == nil || !strings.Contains(err.Error(), "differs from what was written") {
		t.Errorf("another source: %v", err)
	}
	if err := os.WriteFile(d.path("image"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.withoutMount(); err == nil {
		t.Error("an image of zeros was read")
	}
}

// TestDemo_NoImage: an image that cannot be made is a failure that names it.
func TestDemo_NoImage(t *testing.T) {
	d := &Demo{Dir: t.TempDir(), Out: new(bytes.Buffer)}
	if err := os.Mkdir(d.path("image"), 0o755); err != nil { // in its place
		t.Fatal(err)
	}
	if err := d.makeImage(); err == nil || !strings.Contains(err.Error(), "image") {
		t.Errorf("%v", err)
	}
}

// TestDemo_MountFails: a mount that fails is a MountError with the program's words, of both kinds of mount; one that
// shows another tree, or lets a file be written, is a failure, too, and is unmounted.
func TestDemo_MountFails(t *testing.T) {
	d := trees(t)
	d.Program = script(t, "echo no device >&2; exit 3\n")
	var mount *daemon.MountError
	if err := d.mountAndVerify(); !errors.As(err, &mount) || !strings.Contains(err.Error(), "no device") {
		t.Errorf("a mount that reads: %v", err)
	}
	if _, err := d.mountLive(); !errors.As(err, &mount) || !strings.Contains(err.Error(), "no device") {
		t.Errorf("a mount that writes: %v", err)
	}
	calls := filepath.Join(t.TempDir(), "calls")
	d.Program = script(t, "echo $1 >>"+calls+"\n")
	if err := d.mountAndVerify(); err == nil || !strings.Contains(err.Error(), "let a file be written") {
		t.Errorf("a folder for a mount: %v", err)
	}
	gone := []string{filepath.Join(d.path("mnt"), "new"), filepath.Join(d.path("mnt"), "dir/file")}
	if err := errors.Join(os.Remove(gone[0]), os.Remove(gone[1])); err != nil {
		t.Fatal(err)
	}
	if err := d.mountAndVerify(); err == nil || !strings.Contains(err.Error(), "names, the folder has") {
		t.Errorf("a mount without a file: %v", err)
	}
	if got, _ := os.ReadFile(calls); string(got) != "mount\numount\nmount\numount\n" {
		t.Errorf("the program was called for %q", got)
	}
	d.Program = script(t, "echo nonsense\n")
	if _, err := d.mountLive(); err == nil {
		t.Error("an answer that is no JSON was taken")
	}
}

// TestHashOf: SHA-256 of a file, of any length.
func TestHashOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for text, want := range map[string]string{
		"":    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := hashOf(path); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	if _, err := hashOf(filepath.Join(path, "none")); err == nil {
		t.Error("no file has a hash")
	}
}

// TestWriteDurable: contents differ by writer and file, and a directory that is gone is an error.
func TestWriteDurable(t *testing.T) {
	d := &Demo{Dir: t.TempDir()}
	if err := d.writeDurable(1, 2); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(d.demoFile(1, 2)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.writeDurable(1, 2); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(d.demoFile(1, 2)); err != nil || string(got) != demoContents(1, 2) {
		t.Errorf("%q, %v", got, err)
	}
	if demoContents(1, 2) == demoContents(2, 1) || demoContents(1, 2) == demoContents(1, 3) {
		t.Error("two files have the same contents")
	}
}
