package ext4

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
)

// quotaGolden is what mke2fs 1.47 writes at the beginning of a file with the quotas of users, and its first entry.
func quotaGolden(t testing.TB) (header, entry []byte) {
	t.Helper()
	header, err := hex.DecodeString("111fc0d901000000803a0900803a0900" + "00000000060000000000000005000000")
	if err != nil {
		t.Fatal(err)
	}
	entry, err = hex.DecodeString("00000000000000000000000000000000" + "00000000000000000200000000000000" +
		"00000000000000000000000000000000" + "0034000000000000" + "0000000000000000" + "0000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	return append(header, make([]byte, QuotaBlockSize-len(header))...), entry
}

func TestQuota_Golden(t *testing.T) {
	header, entry := quotaGolden(t)
	h, err := DecodeQuotaHeader(UserQuota, 6*QuotaBlockSize, header)
	if want := (QuotaHeader{SpaceGrace: 604800, InodeGrace: 604800, Blocks: 6, FreeEntry: 5}); err != nil || h != want {
		t.Errorf("header %+v, %v", h, err)
	}
	d, ok := DecodeDquot(entry)
	if want := (Dquot{Space: 13312, Inodes: 2}); !ok || d != want {
		t.Errorf("entry %+v, %v", d, ok)
	}
	again := bytes.Repeat([]byte{0xff}, DquotSize)
	if d.Encode(again); !bytes.Equal(again, entry) {
		t.Errorf("encoded as %x", again)
	}
}

// TestQuota_EmptyRoot: the entry of id 0 without anything differs from a free one.
func TestQuota_EmptyRoot(t *testing.T) {
	p := make([]byte, DquotSize)
	if _, ok := DecodeDquot(p); ok {
		t.Error("zeros are an entry")
	}
	Dquot{}.Encode(p)
	if binary.LittleEndian.Uint64(p[OffDquotInodeTime:]) != 1 {
		t.Errorf("encoded as %x", p)
	}
	if d, ok := DecodeDquot(p); !ok || d != (Dquot{}) {
		t.Errorf("%+v, %v", d, ok)
	}
}

func TestQuota_Rejects(t *testing.T) {
	for _, c := range []struct {
		off  int
		v    uint32
		typ  QuotaType
		want string
	}{
		{0, 0xd9c01927, UserQuota, "magic"},
		{0, 0xd9c01f11, GroupQuota, "magic"},
		{4, 0, UserQuota, "version is 0"},
		{OffQuotaBlocks, 7, UserQuota, "7 blocks in a file of 6144 bytes"},
		{OffQuotaBlocks, 1, UserQuota, "1 blocks"},
		{OffQuotaFreeBlock, 6, UserQuota, "free lists"},
		{OffQuotaFreeEntry, 6, UserQuota, "free lists"},
	} {
		p, _ := quotaGolden(t)
		binary.LittleEndian.PutUint32(p[c.off:], c.v)
		_, err := DecodeQuotaHeader(c.typ, 6*QuotaBlockSize, p)
		if !errors.Is(err, ondisk.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d at %d: %v, expected %q", c.v, c.off, err, c.want)
		}
	}
	if _, err := DecodeQuotaHeader(UserQuota, 6*QuotaBlockSize, nil); !errors.Is(err, ondisk.ErrCorrupt) {
		t.Errorf("no bytes: %v", err)
	}
	h := QuotaHeader{Blocks: 6}
	p := make([]byte, QuotaBlockSize)
	for _, v := range []uint32{QuotaRoot, 6} {
		binary.LittleEndian.PutUint32(p[4*9:], v)
		if _, err := h.QuotaChild(p, 9); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("child %d: %v", v, err)
		}
	}
	for off, v := range map[int]uint32{OffLeafNext: 6, OffLeafPrev: 7, OffLeafEntries: QuotaPerBlock + 1} {
		p := make([]byte, QuotaBlockSize)
		binary.LittleEndian.PutUint32(p[off:], v)
		if _, err := h.DecodeQuotaLeaf(5, p); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("%d at %d of a block of entries: %v", v, off, err)
		}
	}
}

func TestQuota_Index(t *testing.T) {
	for depth, want := range []uint32{0x12, 0x34, 0x56, 0x78} {
		if got := QuotaIndex(0x12345678, depth); got != want {
			t.Errorf("at depth %d: %#x, expected %#x", depth, got, want)
		}
	}
}

func FuzzQuota(f *testing.F) {
	header, entry := quotaGolden(f)
	f.Add(header)
	f.Add(entry)
	f.Fuzz(func(t *testing.T, p []byte) {
		for typ := range QuotaTypes {
			h, err := DecodeQuotaHeader(typ, 1<<20, p)
			if err != nil || len(p) < QuotaBlockSize {
				continue
			}
			if h.Blocks <= QuotaRoot || h.FreeBlock >= h.Blocks || h.FreeEntry >= h.Blocks {
				t.Errorf("inconsistent: %+v", h)
			}
			for i := range uint32(QuotaFanout) {
				if n, err := h.QuotaChild(p, i); err == nil && n >= h.Blocks {
					t.Errorf("child %d of %d blocks", n, h.Blocks)
				}
			}
			_, _ = h.DecodeQuotaLeaf(2, p)
		}
		if len(p) < DquotSize {
			return
		}
		if d, ok := DecodeDquot(p); ok {
			again := make([]byte, DquotSize)
			d.Encode(again)
			if d2, ok := DecodeDquot(again); !ok || d2 != d {
				t.Errorf("%+v became %+v", d, d2)
			}
		}
	})
}
