package volume_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestFull fills a file system in small and in large pieces until nothing fits: ENOSPC, and nothing is lost; removing
// makes room at once.
func TestFull(t *testing.T) {
	for _, piece := range []int{700, 5000, 60_000} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			path := mkfs(t, "8M", "-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "512")
			w := open(t, path, volume.WriteOptions{})
			names := map[string][]byte{}
			full := 0
			for i := 0; full < 20; i++ {
				name := fmt.Sprint("file", i)
				n, err := w.Create(root, ext4.Root, name, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
				if errors.Is(err, ext4.ErrNoSpace) {
					full++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				data := bytes.Repeat([]byte{byte(i)}, piece)
				k, err := w.Write(root, ext4.NodeOf(&n), 0, data, false)
				if err != nil && !errors.Is(err, ext4.ErrNoSpace) {
					t.Fatal(err)
				}
				if err != nil {
					full++
				}
				names[name] = data[:k]
			}
			for name, want := range names {
				if got := contents(t, w, name); !bytes.Equal(got, want) {
					t.Fatalf("%s has %d bytes, expected %d", name, len(got), len(want))
				}
			}
			for name := range names { // one file's room is enough for another one
				r := must[ext4.Removed](t)(w.Unlink(root, ext4.Root, name))
				if err := w.Evict(r.Node); err != nil {
					t.Fatal(err)
				}
				mkfile(t, w, ext4.Root, "again", bytes.Repeat([]byte("x"), min(len(names[name]), 700)))
				break
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
		})
	}
}

// TestFull_Pinned: blocks that a reader's snapshot keeps are named in ENOSPC; when the snapshot ends they
// are used again by themselves.
func TestFull_Pinned(t *testing.T) {
	path := mkfs(t, "8M", "-t", "ext4", "-b", "1024", "-J", "size=1", "-m", "0")
	w := open(t, path, volume.WriteOptions{})
	big := mkfile(t, w, ext4.Root, "big", nil)
	if _, err := w.Write(root, big, 0, make([]byte, 16<<20), false); !errors.Is(err, ext4.ErrNoSpace) {
		t.Fatalf("a file larger than the image: %v", err)
	}
	before := must[ext4.Stat](t)(w.Stat())
	held, let, left := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		left <- w.View(func(fs *ext4.FS) error {
			close(held)
			<-let
			return nil
		})
	}()
	<-held
	none := uint64(0)
	must[ext4.Inode](t)(w.SetAttr(root, big, ext4.Attr{Size: &none}))
	if st := must[ext4.Stat](t)(w.Stat()); st.Free < before.Free+4096 {
		t.Errorf("%d blocks free, and %d before most were freed", st.Free, before.Free)
	}
	other := mkfile(t, w, ext4.Root, "other", nil)
	_, err := w.Write(root, other, 0, make([]byte, 2<<20), false)
	if !errors.Is(err, ext4.ErrNoSpace) || !strings.Contains(err.Error(), "freed blocks are kept for the snapshot of") {
		t.Errorf("with a snapshot that keeps what was freed: %v", err)
	}
	close(let)
	if err := <-left; err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(root, other, 0, make([]byte, 2<<20), false); err != nil {
		t.Errorf("when it has gone: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}

func contents(t *testing.T, w *volume.Writable, name string) (p []byte) {
	t.Helper()
	err := w.View(func(fs *ext4.FS) error {
		n, err := fs.Resolve(name, false)
		if err != nil {
			return err
		}
		p = make([]byte, n.Size)
		_, err = n.ReadAt(p, 0)
		return err
	})
	if err != nil && len(p) > 0 {
		t.Fatal(err)
	}
	return p
}

// TestFault has the device fail: the operation that meets it fails; after a failed flush nothing more is taken, and why
// is said; reading goes on; the next mount has what was durable.
func TestFault(t *testing.T) {
	for _, fault := range []blockcache.Fault{blockcache.FlushError, blockcache.WriteError, blockcache.ShortWrite,
		blockcache.NoSpace} {
		t.Run(fault.String(), func(t *testing.T) {
			image, err := os.ReadFile(mkfs(t, "16M", "-t", "ext4", "-b", "1024"))
			if err != nil {
				t.Fatal(err)
			}
			ram := blockcache.NewRAM(image)
			dev := blockcache.NewFaulty(ram)
			w, err := volume.OpenOn(dev, volume.WriteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			mkfile(t, w, ext4.Root, "durable", []byte("this was promised"))
			if err := w.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			dev.Fail(fault, 0, false)
			_, err = w.Create(root, ext4.Root, "later", ext4.CreateOptions{Mode: disk.ModeRegular})
			if err == nil {
				err = w.Sync(context.Background())
			}
			if err == nil {
				t.Fatal("the fault was not noticed")
			}
			if _, err := w.Create(root, ext4.Root, "more", ext4.CreateOptions{Mode: disk.ModeRegular}); !errors.Is(
				err,
				ext4.ErrFailed,
			) {
				t.Errorf("after the fault: %v", err)
			}
			if got := contents(t, w, "durable"); string(got) != "this was promised" {
				t.Errorf("read after the fault: %q", got)
			}
			if err := w.Close(); err == nil {
				t.Error("an unmount after the fault says that all is well")
			}
			again, err := volume.OpenOn(ram, volume.WriteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := contents(t, again, "durable"); string(got) != "this was promised" {
				t.Errorf("after recovery: %q", got)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFault_Data has a single write of file data fail: the operation fails, nothing of it is there, and the mount goes
// on.
func TestFault_Data(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024")
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dev := blockcache.NewFaulty(blockcache.NewRAM(image))
	w, err := volume.OpenOn(dev, volume.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := mkfile(t, w, ext4.Root, "file", nil)
	dev.Fail(blockcache.WriteError, 0, true)
	if n, err := w.Write(root, f, 0, make([]byte, 5000), false); err == nil || n != 0 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if got := contents(t, w, "file"); len(got) != 0 {
		t.Errorf("%d bytes of a write that failed", len(got))
	}
	if n, err := w.Write(root, f, 0, make([]byte, 5000), false); err != nil || n != 5000 {
		t.Errorf("the next write: %d bytes, %v", n, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRefusals are the features that are read and not written, each by its name.
func TestRefusals(t *testing.T) {
	for feature, bit := range map[string]disk.ROCompat{
		"shared_blocks": disk.ROCompatSharedBlocks,
		"read-only":     disk.ROCompatReadonly,
	} {
		path := mkfs(t, "16M", "-t", "ext4", "-O", "^metadata_csum")
		image := must[[]byte](t)(os.ReadFile(path))
		at := image[disk.SuperblockOffset+0x64:]
		binary.LittleEndian.PutUint32(at, binary.LittleEndian.Uint32(at)|uint32(bit))
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		before := oracle.HashFile(t, path)
		_, err := volume.OpenWritable(volume.Spec{Image: path}, volume.WriteOptions{})
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(feature)) {
			t.Errorf("%s: %v", feature, err)
		}
		if oracle.HashFile(t, path) != before {
			t.Errorf("%s: the image was changed", feature)
		}
	}
}
