package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

var user = ext4.Cred{UID: 1000, GID: 1000}

// fill writes a file until there is no room for its owner.
func fill(t testing.TB, w *volume.Writable, who ext4.Cred, name string) ext4.Node {
	t.Helper()
	n := mkfile(t, w, ext4.Root, name, nil)
	done, err := w.Write(who, n, 0, make([]byte, 64<<20), false)
	if !errors.Is(err, ext4.ErrNoSpace) {
		t.Fatalf("%d bytes were written: %v", done, err)
	}
	return n
}

// promised writes to every other block of what fallocate allocated, and punches holes into what is written, where root
// has filled the file system.
func promised(t testing.TB, o volume.WriteOptions) (err error) {
	t.Helper()
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024")
	w := open(t, path, o)
	file := mkfile(t, w, ext4.Root, "promised", nil)
	holes := mkfile(t, w, ext4.Root, "holes", make([]byte, 1<<20))
	const blocks = 2048
	if err := w.Allocate(user, file, 0, blocks<<10, false); err != nil {
		t.Fatal(err)
	}
	fill(t, w, user, "a user's")
	fill(t, w, root, "root's")
	for i := int64(0); i < blocks && err == nil; i += 2 {
		if _, err = w.Write(user, file, i<<10, bytes.Repeat([]byte{byte(i >> 1)}, 1024), false); err != nil {
			err = fmt.Errorf("write promised block %d: %w", i, err)
		}
	}
	for i := uint64(0); i < 1<<10 && err == nil; i += 4 {
		if err = w.Punch(user, holes, i<<10, 1<<10); err != nil {
			err = fmt.Errorf("punch block %d: %w", i, err)
		}
	}
	if cerr := w.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	oracle.Clean(t, path)
	return err
}

// TestFull_Promised: what fallocate has promised can be written on a full file system, also where each write needs an
// extent of its own, and any user can punch holes.
func TestFull_Promised(t *testing.T) {
	for _, journal := range []bool{false, true} {
		if err := promised(t, volume.WriteOptions{JournalData: journal}); err != nil {
			t.Errorf("data in the journal: %v: %v", journal, err)
		}
	}
}

// reservedFor returns the owners that get at reserved blocks, of an image on which user 1001, group 2000 and thread 7
// may.
func reservedFor(t testing.TB) map[string]bool {
	t.Helper()
	path := mkfs(t, "16M", "-t", "ext4", "-b", "1024", "-m", "10")
	oracle.MustRun(t, "tune2fs", "-u", "1001", "-g", "2000", path)
	w := open(t, path, volume.WriteOptions{})
	w.SetRights(func(thread, gid uint32) bool { return thread == 7 && gid == 2000 })
	fill(t, w, user, "file")
	got := map[string]bool{}
	for name, who := range map[string]ext4.Cred{"user": user, "root": root, "resuid": {UID: 1001, GID: 1000},
		"resgid": {UID: 1000, GID: 2000},
		"member": {UID: 1000, GID: 1000, Thread: 7}, "other": {UID: 1000, GID: 1000, Thread: 8}} {
		n := mkfile(t, w, ext4.Root, name, nil)
		_, err := w.Write(who, n, 0, make([]byte, 4096), false)
		if err != nil && !errors.Is(err, ext4.ErrNoSpace) {
			t.Fatal(err)
		}
		got[name] = err == nil
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	return got
}

// TestFull_Reserved: reserved blocks are for root, and for the user and the group that the superblock names.
func TestFull_Reserved(t *testing.T) {
	want := map[string]bool{"user": false, "root": true, "resuid": true, "resgid": true, "member": true, "other": false}
	if got := reservedFor(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("reserved blocks: %v, expected %v", got, want)
	}
}

// TestFull_Parts: a write of which a part is promised, or fits, writes that part.
func TestFull_Parts(t *testing.T) {
	path := mkfs(t, "16M", "-t", "ext4", "-b", "4096")
	w := open(t, path, volume.WriteOptions{})
	n := mkfile(t, w, ext4.Root, "file", nil)
	if err := w.Allocate(user, n, 0, 4096, false); err != nil {
		t.Fatal(err)
	}
	fill(t, w, user, "rest")
	if k, err := w.Write(user, n, 4000, make([]byte, 200), false); k != 96 || !errors.Is(err, ext4.ErrNoSpace) {
		t.Errorf("%d bytes of 96 that fit were written: %v", k, err)
	}
	if k, err := w.WriteWhole(user, n, 4000, make([]byte, 200), false); k != 0 || !errors.Is(err, ext4.ErrNoSpace) {
		t.Errorf("%d bytes of a write that is not to be parted were written: %v", k, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
}
