package ext4

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
)

// descriptor is a fs-verity descriptor: its fields at their places.
func descriptor(algorithm, log byte, size uint64, salt, root []byte) []byte {
	p := make([]byte, VerityDescriptorSize)
	p[0], p[1], p[2], p[3] = 1, algorithm, log, byte(len(salt))
	for i := range 8 {
		p[8+i] = byte(size >> (8 * i))
	}
	copy(p[16:], root)
	copy(p[80:], salt)
	return p
}

// rootOf builds the tree over contents by its definition, and returns the hash of its top, and the blocks of each
// level.
func rootOf(v *Verity, contents []byte) (root []byte, levels []int) {
	if len(contents) == 0 {
		return make([]byte, v.HashSize()), nil
	}
	for level := contents; ; {
		var hashes []byte
		n := 0
		for at := 0; at < len(level); at += v.BlockSize {
			b := make([]byte, v.BlockSize)
			copy(b, level[at:])
			hashes = append(hashes, v.Hash(b)...)
			n++
		}
		if n == 1 {
			return hashes, levels
		}
		level = hashes
		levels = append(levels, (len(hashes)+v.BlockSize-1)/v.BlockSize)
	}
}

// TestVerity_Vectors: digests that `fsverity digest` prints.
func TestVerity_Vectors(t *testing.T) {
	salt := []byte{0xa1, 0xb2, 0xc3}
	for _, c := range []struct {
		contents  []byte
		algorithm byte
		log       byte
		salt      []byte
		name      string
		digest    string
	}{
		{nil, VeritySHA256, 12, nil, "sha256", "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"},
		{[]byte("varve\n"), VeritySHA256, 12, nil, "sha256",
			"a132e8af07bd4975d763bb1d2dc6fd7a8b5d5a1cbb569b81520da9b3d077222e"},
		{[]byte("varve\n"), VeritySHA512, 10, salt, "sha512",
			"5cb54a1a53484331e24c5b3b4af9d5b0a8ec42347d71265fcfc02d6ed377249d" +
				"712c8324db58f00518f1cbae359ed6c1b1a2b22d2a1d6266dd76fdb861508f73"},
		{make([]byte, 600<<10), VeritySHA256, 12, nil, "sha256",
			"ee71eb6cbabc80fe402edbc19930294277e69d556f8834036cb6387a08cba7e4"},
		{make([]byte, 600<<10), VeritySHA512, 10, salt, "sha512",
			"ecccbb60f77ee19ac6def563b6b2053d7710e4d72454a062026ed2a307eaecf5" +
				"a87913f7bbcc68656be6afbee6df8dfe9e99830ef2346dbe991fd908d126072c"},
	} {
		p := descriptor(c.algorithm, c.log, uint64(len(c.contents)), c.salt, nil)
		v, err := DecodeVerity(p)
		if err != nil {
			t.Fatal(err)
		}
		root, levels := rootOf(v, c.contents)
		copy(p[16:], root)
		signed := append(bytes.Clone(p), "a signature"...)
		signed[4] = byte(len("a signature"))
		for _, p := range [][]byte{p, signed} { // the digest leaves the signature out
			if v, err = DecodeVerity(p); err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(v.Digest()); got != c.digest || v.Algorithm() != c.name {
				t.Errorf("%d bytes: %s:%s, expected %s:%s", len(c.contents), v.Algorithm(), got, c.name, c.digest)
			}
		}
		if !bytes.Equal(v.Root, root) || v.BlockSize != 1<<c.log || v.DataSize != uint64(len(c.contents)) {
			t.Errorf("%d bytes: decoded as %+v", len(c.contents), v)
		}
		var at []uint64 // the top comes first in the file
		blocks := uint64(0)
		for _, n := range slices.Backward(levels) {
			at = append([]uint64{blocks}, at...)
			blocks += uint64(n)
		}
		if !slices.Equal(v.Levels, at) || v.Blocks != blocks {
			t.Errorf("%d bytes: levels at %d of %d blocks, expected %d of %d", len(c.contents), v.Levels, v.Blocks, at, blocks)
		}
	}
}

// TestVerity_Rejects: each field that a descriptor must not have.
func TestVerity_Rejects(t *testing.T) {
	good := descriptor(VeritySHA256, 12, 1<<20, []byte{1}, nil)
	for _, c := range []struct {
		says   string
		change func(p []byte) []byte
	}{
		{"0 bytes", func([]byte) []byte { return nil }},
		{"255 bytes", func(p []byte) []byte { return p[:255] }},
		{"16385 bytes", func(p []byte) []byte { return append(p, make([]byte, MaxVerityDescriptor+1-len(p))...) }},
		{"version 2", func(p []byte) []byte { p[0] = 2; return p }},
		{"hash algorithm 3", func(p []byte) []byte { p[1] = 3; return p }},
		{"blocks of 2^9 bytes", func(p []byte) []byte { p[2] = 9; return p }},
		{"blocks of 2^17 bytes", func(p []byte) []byte { p[2] = 17; return p }},
		{"a salt of 33 bytes", func(p []byte) []byte { p[3] = 33; return p }},
		{"a signature of 1 bytes in 0", func(p []byte) []byte { p[4] = 1; return p }},
		{"a signature of 4294967295 bytes in 3", func(p []byte) []byte {
			copy(p[4:8], "\xff\xff\xff\xff")
			return append(p, 1, 2, 3)
		}},
		{"reserved bytes are set", func(p []byte) []byte { p[112] = 1; return p }},
		{"reserved bytes are set", func(p []byte) []byte { p[255] = 1; return p }},
		{"more than 8 levels", func(p []byte) []byte { // 16 hashes a block
			p[1], p[2] = VeritySHA512, 10
			for i := range 8 {
				p[8+i] = 0xff
			}
			return p
		}},
	} {
		if v, err := DecodeVerity(good); err != nil || v.HashSize() != 32 {
			t.Fatal(err)
		}
		_, err := DecodeVerity(c.change(bytes.Clone(good)))
		rejects(t, c.says, err, c.says)
	}
}
