package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// quotaImage is an image with quotas of three users, and the places of the user quota's own blocks in it.
func quotaImage(t *testing.T) (image []byte, places []int64) {
	t.Helper()
	m := openMem(t, "quota")
	for i := range uint32(3) {
		m.own(m.mkfile(Root, fmt.Sprint(i), fill(1, 2000)), i*77777, i)
	}
	m.check()
	is(t, "places", m.View(func(fs *FS) error {
		q, err := fs.quotaFile(disk.UserQuota)
		if err != nil {
			return err
		}
		for nr := range q.header.Blocks {
			at := ok(q.place(nr))(t)
			places = append(places, fs.super.BlockSize.Offset(at.block)+int64(at.off))
		}
		return nil
	}), nil)
	return slices.Clone(m.store.image.p), places
}

// TestQuota_Refused: a header or an inode that is wrong keeps the image from being opened for writing, and says why.
func TestQuota_Refused(t *testing.T) {
	image, places := quotaImage(t)
	for _, c := range []struct {
		what string
		off  int64
		v    uint32
		want string
	}{
		{"magic", 0, 1, "magic is 0x00000001, expected 0xd9c01f11"},
		{"version", 4, 0, "version is 0, expected 1"},
		{"blocks", disk.OffQuotaBlocks, 1 << 20, "1048576 blocks in a file of"},
		{"no blocks", disk.OffQuotaBlocks, 1, "1 blocks in a file of"},
		{"free block", disk.OffQuotaFreeBlock, 999, "free lists begin at blocks 999 and"},
		{"free entry", disk.OffQuotaFreeEntry, 1 << 31, "free lists begin at blocks 0 and 2147483648"},
	} {
		p := slices.Clone(image)
		binary.LittleEndian.PutUint32(p[places[0]+c.off:], c.v)
		store := newMemStore(p, 1024)
		base := ok(Open(store.image, Options{}))(t)
		_, err := OpenWritable(base, store, store.image, WriteOptions{})
		if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), "e2fsck") {
			t.Errorf("%s: %v, expected %q", c.what, err, c.want)
		}
		if _, err := base.Quotas(disk.UserQuota); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("%s: report: %v", c.what, err)
		}
		if v, err := base.Check(nil); err != nil || v.Clean() {
			t.Errorf("%s: the checker: %v, %+v", c.what, err, v)
		}
	}
}

// TestQuota_CheckRejects: varve's checker finds each of these, and e2fsck those that are none of the tree: it takes
// entries that the tree does not lead to from their id, if another id leads to their block.
func TestQuota_CheckRejects(t *testing.T) {
	image, places := quotaImage(t)
	leaf, node := places[5], places[4]
	for _, c := range []struct {
		what string
		at   int64
		v    uint32
		want string
	}{
		{"space", leaf + disk.QuotaLeafHeader + disk.DquotSize + disk.OffDquotSpace, 4096, "says 4096 bytes and 1 inodes"},
		{"inodes", leaf + disk.QuotaLeafHeader + disk.DquotSize + disk.OffDquotInodes, 2, "2048 bytes and 2 inodes"},
		{"id", leaf + disk.QuotaLeafHeader + disk.DquotSize, 5, "quota of user 77777 is not there"},
		{"tree", node, 0, "quota of user 0: does not exist"},
		{"tree", node, 1, "refers to block 1 of"},
	} {
		m := openMemWith(t, slices.Clone(image), WriteOptions{})
		binary.LittleEndian.PutUint32(m.store.image.p[c.at:], c.v)
		path := m.save()
		if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err == nil && c.what != "tree" {
			t.Errorf("%s: e2fsck says clean: %s", c.what, out)
		}
		v := ok(m.sealed().Check(nil))(t)
		if all := fmt.Sprint(v.Problems); !strings.Contains(all, c.want) {
			t.Errorf("%s: %s, expected %q", c.what, all, c.want)
		}
	}
}

// TestQuota_RandomDamage changes words of the file with quotas. Operations succeed, or say that it is damaged.
func TestQuota_RandomDamage(t *testing.T) {
	image, places := quotaImage(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	for range 150 {
		p := slices.Clone(image)
		for range 1 + rng.IntN(3) {
			at := places[rng.IntN(len(places))]
			word := rng.IntN(8)
			if rng.IntN(2) == 0 {
				word = rng.IntN(disk.QuotaBlockSize / 4)
			}
			binary.LittleEndian.PutUint32(p[at+int64(4*word):], uint32(rng.IntN(2*len(places))))
		}
		store := newMemStore(p, 1024)
		base := ok(Open(store.image, Options{}))(t)
		if _, err := base.Check(nil); err != nil {
			t.Fatalf("check: %v", err)
		}
		w, err := OpenWritable(base, store, store.image, WriteOptions{Log: LogOverlay})
		if err != nil {
			is(t, "open", err, ondisk.ErrCorrupt)
			refused++
			continue
		}
		store.seal = w.Seal
		for i := range uint32(30) {
			id := []uint32{0, 77777, 155554, 1 << (i % 32), i}[i%5]
			_, err := w.Create(Cred{UID: id, GID: 1}, Root, fmt.Sprint("new ", i), CreateOptions{Mode: disk.ModeDir | 0o755})
			if err != nil && !errors.Is(err, ErrQuota) {
				is(t, "create", err, ondisk.ErrCorrupt)
				refused++
			}
		}
		if err := w.EvictAll(); err != nil {
			is(t, "evict", err, ondisk.ErrCorrupt)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}
