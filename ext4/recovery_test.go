package ext4_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// dirtyImage is an image with transactions in its journal (ondisk/ext4/testdata/make.sh).
func dirtyImage(t *testing.T) blockcache.Memory {
	t.Helper()
	f, err := os.Open("testdata/dirty.img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// treeOf is the names and contents of a file system.
func treeOf(image io.ReaderAt, o ext4.Options) (string, error) {
	fs, err := ext4.Open(image, o)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = iofs.WalkDir(fs.IOFS(), ".", func(path string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			out.WriteString(path + "/\n")
			return err
		}
		p, err := fs.IOFS().ReadFile(path)
		out.WriteString(path + ": " + string(p) + "\n")
		return err
	})
	return out.String(), err
}

// stale is the image with zeros at home for blocks that the journal has: a reader that ignores it sees another tree.
func stale(t *testing.T, image blockcache.Memory) blockcache.Memory {
	t.Helper()
	want, err := treeOf(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fs, err := ext4.Open(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, size := bytes.Clone(image), int64(fs.Superblock().BlockSize)
	err = fs.EachReplayed(func(n block.Number, _ []byte) error {
		next := bytes.Clone(out)
		clear(next[int64(n)*size:][:size])
		if got, err := treeOf(blockcache.Memory(next), ext4.Options{}); err == nil && got == want {
			out = next // others are needed to find the journal
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEachReplayed_Home writes home what the journal holds: without the journal, the tree is the one that was seen
// through it. A second time changes nothing.
func TestEachReplayed_Home(t *testing.T) {
	image := stale(t, dirtyImage(t))
	want, err := treeOf(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if before, err := treeOf(image, ext4.Options{NoRecovery: true}); err == nil && before == want {
		t.Fatal("the journal holds nothing that matters")
	}
	home := bytes.Clone(image)
	for range 2 {
		fs, err := ext4.Open(blockcache.Memory(home), ext4.Options{})
		if err != nil {
			t.Fatal(err)
		}
		last, size := block.Number(0), fs.Superblock().BlockSize
		next := bytes.Clone(home)
		count := 0
		err = fs.EachReplayed(func(n block.Number, p []byte) error {
			if n < last || len(p) != int(size) {
				t.Errorf("block %d of %d bytes comes after block %d", n, len(p), last)
			}
			last, count = n, count+1
			copy(next[size.Offset(n):], p)
			return nil
		})
		if err != nil || count != fs.Replayed() || count == 0 {
			t.Fatalf("%d blocks of %d: %v", count, fs.Replayed(), err)
		}
		home = next
	}
	got, err := treeOf(blockcache.Memory(home), ext4.Options{NoRecovery: true})
	if err != nil || got != want {
		t.Errorf("after recovery the tree is\n%s, expected\n%s: %v", got, want, err)
	}
	fs, err := ext4.Open(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := fs.EachReplayed(func(block.Number, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of writing home: %v", err)
	}
}

// TestReplayPrivate_SameBlocks reads the image's journal as an overlay's: the same blocks, the same sequence. A journal
// that is cut short is damage.
func TestReplayPrivate_SameBlocks(t *testing.T) {
	image := dirtyImage(t)
	fs, err := ext4.Open(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	places, next, err := fs.JournalPlaces()
	if err != nil {
		t.Fatal(err)
	}
	s := fs.Superblock()
	want := map[block.Number]string{}
	if err := fs.EachReplayed(func(n block.Number, p []byte) error { want[n] = string(p); return nil }); err != nil {
		t.Fatal(err)
	}
	got := map[block.Number]string{}
	seq, err := ext4.ReplayPrivate(image, s.BlockSize, places, s.Blocks, func(n block.Number, p []byte) error {
		got[n] = string(p)
		return nil
	})
	if err != nil || seq != next || len(got) != len(want) {
		t.Fatalf("%d blocks up to transaction %d, expected %d up to %d: %v", len(got), seq, len(want), next, err)
	}
	for n, p := range want {
		if got[n] != p {
			t.Errorf("block %d differs", n)
		}
	}
	nothing := func(block.Number, []byte) error { return nil }
	if _, err := ext4.ReplayPrivate(image, s.BlockSize, places[:2], s.Blocks, nothing); err == nil {
		t.Error("a journal of two blocks is read")
	}
	if _, err := ext4.ReplayPrivate(image, s.BlockSize, places, 3, nothing); err == nil {
		t.Error("blocks behind the end of the image are replayed")
	}
}

// TestJournalFailed_Errno: an error that ended the journal's use is seen, also with a journal that needs no recovery.
func TestJournalFailed_Errno(t *testing.T) {
	image := dirtyImage(t)
	failed := func() bool {
		fs, err := ext4.Open(image, ext4.Options{NoRecovery: true})
		if err != nil {
			t.Fatal(err)
		}
		out, err := fs.JournalFailed()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if failed() {
		t.Fatal("the journal has failed before anything was changed")
	}
	fs, err := ext4.Open(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	places, _, err := fs.JournalPlaces()
	if err != nil {
		t.Fatal(err)
	}
	p := image[fs.Superblock().BlockSize.Offset(places[0]):][:1024]
	super, err := jbd2.DecodeSuperblock(p)
	if err != nil {
		t.Fatal(err)
	}
	super.PutErrno(p, jbd2.ErrnoIO)
	if !failed() {
		t.Error("the journal's error is not seen")
	}
	super.PutErrno(p, 0)
	if failed() {
		t.Error("an error that is gone is seen")
	}
}
