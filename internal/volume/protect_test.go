package volume_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// mmpImage makes an image with multiple mount protection, its counter growing every second.
func mmpImage(t *testing.T) (path string, super *disk.Superblock) {
	t.Helper()
	path = mkfs(t, "16M", "-t", "ext4", "-O", "mmp", "-E", "mmp_update_interval=1")
	v, super, err := volume.OpenSuperblock(volume.Spec{Image: path})
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	return path, super
}

func readMMP(t *testing.T, path string, super *disk.Superblock) *disk.MMP {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, super.BlockSize)
	if _, err := f.ReadAt(p, super.BlockSize.Offset(super.MMPBlock)); err != nil {
		t.Fatal(err)
	}
	m, err := super.DecodeMMP(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func putMMP(t *testing.T, path string, super *disk.Superblock, m *disk.MMP) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, super.BlockSize)
	super.PutMMP(p, m)
	if _, err := f.WriteAt(p, super.BlockSize.Offset(super.MMPBlock)); err != nil {
		t.Fatal(err)
	}
}

// TestProtect_Kernel: while varve has a file system open the kernel refuses to mount it for writing, although nothing
// is locked, and the other way round.
func TestProtect_Kernel(t *testing.T) {
	t.Parallel()
	oracle.NeedRoot(t)
	path, super := mmpImage(t)
	dir := t.TempDir()
	loop := func() (string, []byte, error) {
		out, err := exec.Command("losetup", "-f", "--show", path).CombinedOutput()
		if err != nil {
			t.Fatalf("losetup: %v\n%s", err, out)
		}
		dev := strings.TrimSpace(string(out))
		out, err = exec.Command("mount", "-t", "ext4", dev, dir).CombinedOutput()
		return dev, out, err
	}
	w := open(t, path, volume.WriteOptions{})
	if m := readMMP(t, path, super); !m.InUse() || m.Node == "" {
		t.Errorf("while it is open: %+v", m)
	}
	dev, out, err := loop()
	if err == nil {
		t.Errorf("the kernel mounts what varve has open")
		_ = exec.Command("umount", dir).Run()
	}
	t.Logf("the kernel: %s", out)
	if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
		t.Errorf("losetup -d: %v\n%s", err, out)
	}
	mkfile(t, w, ext4.Root, "file", []byte("one"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if m := readMMP(t, path, super); m.InUse() {
		t.Errorf("after closing it: %+v", m)
	}
	oracle.Clean(t, path)
	dev, out, err = loop()
	if err != nil {
		t.Fatalf("mount after varve: %v\n%s", err, out)
	}
	var notice string
	_, err = volume.OpenWritable(
		volume.Spec{Image: path, NoLock: true},
		volume.WriteOptions{Notice: func(s string) { notice = s }},
	)
	if !errors.Is(err, volume.ErrInUse) || !strings.Contains(err.Error(), filepath.Base(dev)) ||
		!strings.Contains(notice, "11s") {
		t.Errorf("what the kernel has mounted: %v; notice %q", err, notice)
	}
	for _, args := range [][]string{{"umount", dir}, {"losetup", "-d", dev}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	w = open(t, path, volume.WriteOptions{})
	if got := contents(t, w, "file"); string(got) != "one" {
		t.Errorf("contents %q", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestProtect_Crash: who died with the file system open is waited for, and then it is taken over.
func TestProtect_Crash(t *testing.T) {
	t.Parallel()
	path, _ := mmpImage(t)
	w := open(t, path, volume.WriteOptions{})
	mkfile(t, w, ext4.Root, "file", []byte("one"))
	if err := w.SyncNode(t.Context(), ext4.Root); err != nil {
		t.Fatal(err)
	}
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w = open(t, path, volume.WriteOptions{})
	if took := time.Since(began); took < 11*time.Second {
		t.Errorf("taken over after %v", took)
	}
	if got := contents(t, w, "file"); string(got) != "one" {
		t.Errorf("contents %q", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

// TestProtect_Lost: where another host takes the file system nevertheless, nothing more is written to it.
func TestProtect_Lost(t *testing.T) {
	t.Parallel()
	path, super := mmpImage(t)
	w := open(t, path, volume.WriteOptions{})
	first := readMMP(t, path, super).Sequence
	for began := time.Now(); readMMP(t, path, super).Sequence == first; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the counter does not grow")
		}
	}
	mkfile(t, w, ext4.Root, "file", []byte("one"))
	other := &disk.MMP{Sequence: 7, Time: time.Now(), Node: "elsewhere", Device: "sdz", Check: 5}
	putMMP(t, path, super, other)
	for began := time.Now(); w.Store.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the store takes changes on and on")
		}
	}
	before := oracle.HashFile(t, path)
	_, err := w.Create(root, ext4.Root, "another", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
	if !errors.Is(err, ext4.ErrFailed) || !errors.Is(err, volume.ErrInUse) ||
		!strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("a change afterwards: %v", err)
	}
	if err := w.SyncNode(t.Context(), ext4.Root); err == nil {
		t.Error("what was not durable was made durable")
	}
	if err := w.Close(); err == nil {
		t.Error("closed as if all were well")
	}
	if oracle.HashFile(t, path) != before {
		t.Error("the image was written to")
	}
}

// TestProtect_Fsck: the mark of e2fsck is respected, and no overlay needs the protection.
func TestProtect_Fsck(t *testing.T) {
	t.Parallel()
	path, super := mmpImage(t)
	putMMP(t, path, super, &disk.MMP{Sequence: disk.MMPFsck, Time: time.Now()})
	before := oracle.HashFile(t, path)
	_, err := volume.OpenWritable(volume.Spec{Image: path}, volume.WriteOptions{})
	if !errors.Is(err, volume.ErrInUse) || !strings.Contains(err.Error(), "clear_mmp") {
		t.Errorf("marked by e2fsck: %v", err)
	}
	overlay := filepath.Join(t.TempDir(), "overlay")
	w, err := volume.OpenOverlay(volume.Spec{Image: path}, overlay, volume.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mkfile(t, w, ext4.Root, "file", []byte("one"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := volume.CommitOverlay(volume.Spec{Image: path}, overlay, nil, nil); !errors.Is(err, volume.ErrInUse) {
		t.Errorf("commit to what e2fsck has marked: %v", err)
	}
	if oracle.HashFile(t, path) != before {
		t.Error("the image was written to")
	}
	if out, err := exec.Command("tune2fs", "-f", "-E", "clear_mmp", path).CombinedOutput(); err != nil {
		t.Fatalf("tune2fs: %v\n%s", err, out)
	}
}

// TestDisk_Claimed: a block device that is mounted is refused, and one that is open is not mounted.
func TestDisk_Claimed(t *testing.T) {
	oracle.NeedRoot(t)
	path := mkfs(t, "16M", "-t", "ext4")
	out, err := exec.Command("losetup", "-f", "--show", path).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	dev, dir := strings.TrimSpace(string(out)), t.TempDir()
	defer func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v\n%s", err, out)
		}
	}()
	d, err := blockcache.OpenDisk(dev)
	if err != nil {
		t.Fatal(err)
	}
	if exec.Command("mount", "-t", "ext4", dev, dir).Run() == nil {
		t.Error("mounted although it is open")
		_ = exec.Command("umount", dir).Run()
	}
	d.Close()
	if out, err := exec.Command("mount", "-t", "ext4", dev, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	if d, err := blockcache.OpenDisk(dev); err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("opened although it is mounted: %v", err)
		if err == nil {
			d.Close()
		}
	}
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Errorf("umount: %v\n%s", err, out)
	}
}
