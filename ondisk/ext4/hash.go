package ext4

import (
	"encoding/binary"
	"math/bits"
)

// Hash versions of hashed directories (ext4 doc, "Hash Tree Directories").
const (
	HashLegacy          = 0
	HashHalfMD4         = 1
	HashTea             = 2
	HashLegacyUnsigned  = 3
	HashHalfMD4Unsigned = 4
	HashTeaUnsigned     = 5
	HashSiphash         = 6
)

// htreeEOF is the hash that marks a directory's end in the kernel, and so is never a name's.
const htreeEOF = 0x7fffffff << 1

// EffectiveHash turns the hash version of a directory's root into the one to compute with: whether characters are
// signed is a flag of the superblock.
func (s *Superblock) EffectiveHash(version uint8) uint8 {
	if version <= HashTea && s.Flags&FlagUnsignedHash != 0 {
		return version + HashLegacyUnsigned
	}
	return version
}

// NameHash computes the hash of a name and its minor hash. It reports false for versions that need a key (siphash) or
// are not known.
func (s *Superblock) NameHash(version uint8, name []byte) (hash, minor uint32, ok bool) {
	seed := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if s.HashSeed != [4]uint32{} {
		seed = s.HashSeed
	}
	signed := version <= HashTea
	switch version {
	case HashLegacy, HashLegacyUnsigned:
		hash = legacyHash(name, signed)
	case HashHalfMD4, HashHalfMD4Unsigned:
		var in [8]uint32
		for p := name; len(p) > 0; p = p[min(32, len(p)):] {
			packName(p, in[:], signed)
			halfMD4(&seed, &in)
		}
		hash, minor = seed[1], seed[2]
	case HashTea, HashTeaUnsigned:
		var in [4]uint32
		for p := name; len(p) > 0; p = p[min(16, len(p)):] {
			packName(p, in[:], signed)
			tea(&seed, &in)
		}
		hash, minor = seed[0], seed[1]
	default:
		return 0, 0, false
	}
	hash &^= 1
	if hash == htreeEOF {
		hash = (0x7fffffff - 1) << 1
	}
	return hash, minor, true
}

func charValue(c byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(c)))
	}
	return uint32(c)
}

func legacyHash(name []byte, signed bool) uint32 {
	h0, h1 := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for _, c := range name {
		h := h1 + (h0 ^ charValue(c, signed)*7152373)
		if h&0x80000000 != 0 {
			h -= 0x7fffffff
		}
		h1, h0 = h0, h
	}
	return h0 << 1
}

// packName packs the beginning of a name into words, big end first, padded with its length.
func packName(p []byte, out []uint32, signed bool) {
	pad := uint32(len(p)) | uint32(len(p))<<8
	pad |= pad << 16
	n := min(len(p), len(out)*4)
	val, w := pad, 0
	for i := range n {
		val = charValue(p[i], signed) + val<<8
		if i%4 == 3 {
			out[w] = val
			val = pad
			w++
		}
	}
	if w < len(out) {
		out[w] = val
		w++
	}
	for ; w < len(out); w++ {
		out[w] = pad
	}
}

// halfMD4 is one round of the cut-down MD4 (RFC 1320) that hashes 32 bytes of a name.
func halfMD4(buf *[4]uint32, in *[8]uint32) {
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	f := func(x, y, z uint32) uint32 { return z ^ x&(y^z) }
	g := func(x, y, z uint32) uint32 { return x&y + (x^y)&z }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	step := func(fn func(x, y, z uint32) uint32, k uint32, order [8]int, shift [4]int) {
		for i := 0; i < 8; i += 4 {
			a = bits.RotateLeft32(a+fn(b, c, d)+in[order[i]]+k, shift[0])
			d = bits.RotateLeft32(d+fn(a, b, c)+in[order[i+1]]+k, shift[1])
			c = bits.RotateLeft32(c+fn(d, a, b)+in[order[i+2]]+k, shift[2])
			b = bits.RotateLeft32(b+fn(c, d, a)+in[order[i+3]]+k, shift[3])
		}
	}
	step(f, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19})
	step(g, 0x5a827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13})
	step(h, 0x6ed9eba1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15})
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}

// tea is the Tiny Encryption Algorithm (Wheeler and Needham, 1994) over 16 bytes of a name, with 16 rounds.
func tea(buf, in *[4]uint32) {
	b0, b1 := buf[0], buf[1]
	sum := uint32(0)
	for range 16 {
		sum += 0x9e3779b9
		b0 += (b1<<4 + in[0]) ^ (b1 + sum) ^ (b1>>5 + in[1])
		b1 += (b0<<4 + in[2]) ^ (b0 + sum) ^ (b0>>5 + in[3])
	}
	buf[0] += b0
	buf[1] += b1
}

// putHashes writes the two hash words that begin a no-key name.
func putHashes(dst []byte, hash, minor uint32) {
	binary.LittleEndian.PutUint32(dst, hash)
	binary.LittleEndian.PutUint32(dst[4:], minor)
}
