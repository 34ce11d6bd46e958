package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// corrupt copies an image and changes it.
func corrupt(t testing.TB, image string, change func([]byte)) string {
	t.Helper()
	p, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	to := filepath.Join(t.TempDir(), "changed")
	if err := os.WriteFile(to, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestCLI_Backup finds the backup superblock of an image whose primary one is lost, and reads by it.
func TestCLI_Backup(t *testing.T) {
	image := corrupt(t, smallImage(t, "-b", "1024"), func(p []byte) { copy(p[1024:2048], make([]byte, 1024)) })
	r := varve(t, "ls", image)
	if r.Code != exitDamaged || !strings.Contains(r.Stderr, "sb=8193") {
		t.Fatalf("%+v", r)
	}
	oracle.NeedFUSE(t)
	dir, _ := mountImage(t, image, "-o", "sb=8193")
	if _, err := os.Stat(filepath.Join(dir, "hello")); err != nil {
		t.Error(err)
	}
}

// TestCLI_Partitions reads file systems out of GPT and MBR images.
func TestCLI_Partitions(t *testing.T) {
	oracle.Need(t, "sfdisk")
	fs, err := os.ReadFile(smallImage(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"gpt", "dos"} {
		disk := filepath.Join(t.TempDir(), label)
		table := "label: " + label + "\nsize=4M\nsize=16M\nsize=4M\n"
		if err := errors.Join(os.WriteFile(disk, nil, 0o644), os.Truncate(disk, 40<<20)); err != nil {
			t.Fatal(err)
		}
		script := filepath.Join(t.TempDir(), "table")
		if err := os.WriteFile(script, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
		oracle.MustRun(t, "sh", "-c", "sfdisk -q --no-tell-kernel "+disk+" < "+script)
		f, err := os.OpenFile(disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		const second = (2048 + 8192) * 512
		if _, err := f.WriteAt(fs, second); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for _, args := range [][]string{{"--part", "2"}, {"--part", "auto"}, {"--offset", "5242880"}} {
			if r := must(t, append([]string{"cat", disk, "hello"}, args...)...); r.Stdout != "hello, world\n" {
				t.Errorf("%s %v: %+v", label, args, r)
			}
		}
		if r := varve(t, "ls", disk); r.Code == exitOK || !strings.Contains(r.Stderr, "--part auto") {
			t.Errorf("%s without --part: %+v", label, r)
		}
		if r := varve(t, "ls", disk, "--part", "9"); r.Code != exitSystem ||
			!strings.Contains(r.Stderr, "no partition 9") {
			t.Errorf("%s --part 9: %+v", label, r)
		}
		oracle.NeedFUSE(t)
		dir, unmount := mountImage(t, disk, "-o", "part=2")
		if _, err := os.Stat(filepath.Join(dir, "hello")); err != nil {
			t.Error(err)
		}
		unmount()
	}
}

// TestCLI_BlockDevice reads a block device as it reads a file.
func TestCLI_BlockDevice(t *testing.T) {
	device, _ := oracle.Loop(t, smallImage(t))
	if r := must(t, "cat", device, "/hello"); r.Stdout != "hello, world\n" {
		t.Errorf("%+v", r)
	}
	oracle.NeedFUSE(t)
	dir, _ := mountImage(t, device)
	if p, err := os.ReadFile(filepath.Join(dir, "hello")); err != nil || string(p) != "hello, world\n" {
		t.Errorf("read %q, %v", p, err)
	}
}
