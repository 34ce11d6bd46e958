package volume_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// randomBytes are bytes that no two blocks have alike.
func randomBytes(n int) []byte {
	p, r := make([]byte, n), rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(p)
	return p
}

// verityForms are options of fsverity and sizes of files: no tree, one level, several, blocks that no page has.
var verityForms = []struct {
	name    string
	size    int
	options []string
}{
	{"empty", 0, nil},
	{"short", 100, nil},
	{"one-block", 4096, nil},
	{"two-blocks", 4097, nil},
	{"two-levels", 3_000_001, nil},
	{"sha512", 1_000_000, []string{"--hash-alg=sha512"}},
	{"salt", 700_000, []string{"--salt=0102030405060708090a"}},
	{"sha512-salt-1k", 500_000, []string{"--hash-alg=sha512", "--salt=ffee", "--block-size=1024"}},
	{"1k-three-levels", 2_000_000, []string{"--block-size=1024"}},
	{"64k", 5_000_000, []string{"--block-size=65536"}},
}

func verityImage(t *testing.T, blockSize string) (path string, digests map[string]string) {
	t.Helper()
	path, digests = mkfs(t, "64M", "-t", "ext4", "-b", blockSize, "-O", "verity"), map[string]string{}
	for _, f := range verityForms {
		digests[f.name], _ = oracle.Verity(t, path, f.name, randomBytes(f.size), f.options...)
	}
	oracle.Clean(t, path)
	return path, digests
}

func openVolume(t *testing.T, path string) *volume.Volume {
	t.Helper()
	v := must[*volume.Volume](t)(volume.Open(volume.Spec{Image: path}))
	t.Cleanup(func() { v.Close() })
	return v
}

// TestVerity_Reads reads files under verity of each form, by ReadAt at odd places, by Segments and by io/fs, and has
// fsverity(1) compute their digests.
func TestVerity_Reads(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		path, digests := verityImage(t, bs)
		v := openVolume(t, path)
		for _, f := range verityForms {
			want := randomBytes(f.size)
			n := must[*ext4.Inode](t)(v.Resolve("/"+f.name, false))
			d := must[*disk.Verity](t)(n.Verity())
			if got := hex.EncodeToString(d.Digest()); got != digests[f.name] {
				t.Errorf("%s: digest %s:%s, by fsverity %s", f.name, d.Algorithm(), got, digests[f.name])
			}
			got, err := v.IOFS().ReadFile(f.name)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s in blocks of %s: %d bytes of %d, %v", f.name, bs, len(got), len(want), err)
			}
			for _, span := range [][2]int{{1, 70_000}, {4095, 2}, {f.size - 1, 1}, {f.size / 2, 300_000}, {f.size, 5}} {
				offset, length := span[0], span[1]
				if offset < 0 {
					continue
				}
				part := want[min(offset, f.size):min(offset+length, f.size)]
				p := make([]byte, length)
				k, err := n.ReadAt(p, int64(offset))
				if !bytes.Equal(p[:k], part) || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("%s: %d bytes at %d: %d, %v", f.name, length, offset, k, err)
				}
				segments, err := n.Segments(nil, int64(offset), length)
				var joined []byte
				for _, s := range segments {
					if s.Image >= 0 {
						t.Errorf("%s: a piece of the image, which is not verified", f.name)
					}
					joined = append(joined, s.Bytes...)
				}
				if err != nil || !bytes.Equal(joined, part) {
					t.Errorf("%s: pieces of %d bytes at %d: %d, %v", f.name, length, offset, len(joined), err)
				}
			}
			if at, err := n.SeekHole(0); f.size > 0 && (err != nil || at != int64(f.size)) {
				t.Errorf("%s: a hole at %d: %v", f.name, at, err)
			}
		}
	}
}

// blockPlace is where a byte of a file lies on the image.
func blockPlace(t *testing.T, path, name string, offset int64) int64 {
	t.Helper()
	v := must[*volume.Volume](t)(volume.Open(volume.Spec{Image: path}))
	defer v.Close()
	n := must[*ext4.Inode](t)(v.Resolve(name, false))
	bs := v.Superblock().BlockSize
	run := must[ext4.Run](t)(n.Map(ext4.FileBlock(offset / int64(bs))))
	if run.Kind != ext4.Data {
		t.Fatalf("%s has no block at %d", name, offset)
	}
	return bs.Offset(run.Start) + offset%int64(bs)
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestVerity_Damage changes single bits of the contents, of each level of the tree, and of the descriptor: what they
// cover is refused, with the place, and all else is read.
func TestVerity_Damage(t *testing.T) {
	for _, c := range verityDamages {
		path := mkfs(t, "16M", "-t", "ext4", "-b", "4096", "-O", "verity")
		oracle.Verity(t, path, "file", randomBytes(3_000_001))
		flip(t, path, blockPlace(t, path, "/file", c.offset))
		for _, msg := range c.check(t, path) {
			t.Errorf("a bit at byte %d: %s", c.offset, msg)
		}
	}
}

type verityDamage struct {
	offset  int64
	text    string
	corrupt bool     // the descriptor cannot be used
	bad     [2]int64 // what cannot be read
}

// The tree begins at 3,014,656 with its root; the level below has 6 blocks, each of the hashes of 128 blocks.
var verityDamages = []verityDamage{
	{offset: 1_000_000, text: "block of 4096 bytes at byte 999424", bad: [2]int64{999424, 1003520}},
	{offset: 3_000_000, text: "block of 4096 bytes at byte 2998272", bad: [2]int64{2998272, 3000001}},
	{offset: 3_014_656 + 10, text: "Merkle tree block of 4096 bytes at byte 3014656", bad: [2]int64{0, 3000001}},
	{offset: 3_014_656 + 2*4096, text: "Merkle tree block of 4096 bytes at byte 3022848",
		bad: [2]int64{128 * 4096, 256 * 4096}},
	{offset: 3_014_656 + 7*4096 + 16, text: "verity hash", bad: [2]int64{0, 3000001}},     // the root hash
	{offset: 3_014_656 + 7*4096, text: "version", corrupt: true},                          // descriptor
	{offset: 3_014_656 + 7*4096 + 8, text: "by its verity descriptor", corrupt: true},     // size of the data
	{offset: 3_014_656 + 7*4096 + 200, text: "reserved", corrupt: true},                   //
	{offset: 3_014_656 + 8*4096 - 2, text: "verity descriptor of", corrupt: true},         // its size
	{offset: 3_014_656 + 7*4096 + 3, text: "verity hash", bad: [2]int64{0, 3000001}},      // salt
	{offset: 3_014_656 + 7*4096 + 2, text: "verity descriptor", corrupt: true},            // block size: of 2^28 bytes
	{offset: 3_014_656 + 7*4096 + 1, text: "hash algorithm", corrupt: true},               //
	{offset: 3_014_656 + 7*4096 + 4, text: "a signature of 16 bytes in 0", corrupt: true}, //
}

func (c verityDamage) check(t *testing.T, path string) (wrong []string) {
	t.Helper()
	v := must[*volume.Volume](t)(volume.Open(volume.Spec{Image: path}))
	defer v.Close()
	n := must[*ext4.Inode](t)(v.Resolve("/file", false))
	want, p := randomBytes(3_000_001), make([]byte, 4096)
	for at := int64(0); at < int64(len(want)); at += 4096 {
		k, err := n.ReadAt(p, at)
		_, segmentsErr := n.Segments(nil, at, 4096)
		refused := c.corrupt || at >= c.bad[0] && at < c.bad[1]
		switch {
		case !refused && (!bytes.Equal(p[:k], want[at:min(at+4096, int64(len(want)))]) || segmentsErr != nil):
			return append(wrong, fmt.Sprintf("at %d: %v, %v", at, err, segmentsErr))
		case refused && (err == nil || segmentsErr == nil || k > 0 || !strings.Contains(err.Error(), c.text)):
			return append(wrong, fmt.Sprintf("at %d: %d bytes, %v, %v", at, k, err, segmentsErr))
		case refused && errors.Is(err, ext4.ErrVerity) == c.corrupt:
			return append(wrong, fmt.Sprintf("at %d: of another family: %v", at, err))
		}
	}
	return wrong
}

// TestVerity_Changes: the contents of files under verity cannot be changed; all else about them can.
func TestVerity_Changes(t *testing.T) {
	path, _ := verityImage(t, "4096")
	w := open(t, path, volume.WriteOptions{})
	n := must[ext4.Inode](t)(lookup(w, ext4.Root, "two-levels"))
	node, size := ext4.NodeOf(&n), uint64(10)
	plain := mkfile(t, w, ext4.Root, "plain", []byte("plain"))
	same := n.Size
	refused := map[string]error{
		"write":       second(w.Write(root, node, 0, []byte("x"), false)),
		"append":      second(w.Write(root, node, int64(n.Size), []byte("x"), false)),
		"truncate":    second(w.SetAttr(root, node, ext4.Attr{Size: &size})),
		"to its size": second(w.SetAttr(root, node, ext4.Attr{Size: &same})),
		"allocate":    w.Allocate(root, node, 0, 1<<20, true),
		"punch":       w.Punch(root, node, 0, 1<<20),
		"zero":        w.ZeroRange(root, node, 0, 1<<20, false),
		"copy":        second(w.CopyRange(t.Context(), root, ext4.Range{Node: plain}, ext4.Range{Node: node}, 5)),
		"open":        n.CheckOpen(syscall.O_RDWR),
		"open trunc":  n.CheckOpen(syscall.O_TRUNC),
	}
	for what, err := range refused {
		if !errors.Is(err, ext4.ErrNotPermit) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := n.CheckOpen(syscall.O_RDONLY); err != nil {
		t.Error(err)
	}
	mode, uid := uint16(0o600), uint32(1000)
	must[ext4.Inode](t)(w.SetAttr(root, node, ext4.Attr{Mode: &mode, UID: &uid, Mtime: &n.Ctime}))
	must[ext4.Inode](t)(w.Link(root, node, ext4.Root, "second"))
	must[ext4.Removed](t)(w.Rename(root, ext4.Root, "two-levels", ext4.Root, "renamed", 0))
	if err := w.SetXattr(root, node, "user.a", []byte("b"), 0, false); err != nil {
		t.Error(err)
	}
	must[int64](t)(w.CopyRange(t.Context(), root, ext4.Range{Node: node}, ext4.Range{Node: plain}, 100_000))
	r := must[ext4.Removed](t)(w.Unlink(root, ext4.Root, "sha512"))
	if err := w.Evict(r.Node); err != nil {
		t.Error(err)
	}
	if got := contents(t, w, "renamed"); !bytes.Equal(got, randomBytes(3_000_001)) {
		t.Error("the contents differ")
	}
	if got := contents(t, w, "plain"); !bytes.Equal(got, randomBytes(100_000)) {
		t.Error("the copy differs")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oracle.Clean(t, path)
	v := openVolume(t, path)
	if verdict, err := v.Check(nil); err != nil || !verdict.Clean() {
		t.Fatalf("varve's own checker: %v, %+v", err, verdict.Problems)
	}
	if got, err := v.IOFS().ReadFile("second"); err != nil || !bytes.Equal(got, randomBytes(3_000_001)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func second[T any](_ T, err error) error { return err }
