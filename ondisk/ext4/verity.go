package ext4

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"github.com/varvefs/varve/ondisk"
)

// The hash algorithms of fs-verity (kernel documentation, "fs-verity").
const (
	VeritySHA256 = 1
	VeritySHA512 = 2
)

const (
	// VerityAlign is the alignment of the place of a file's Merkle tree, in bytes behind the file's end.
	VerityAlign = 1 << 16
	// VerityDescriptorSize is the size of a descriptor without its signature, MaxVerityDescriptor with it.
	VerityDescriptorSize = 256
	MaxVerityDescriptor  = 16384
	// MaxVerityLevels is how many levels of tree blocks the kernel takes.
	MaxVerityLevels = 8

	verityMinLog, verityMaxLog = 10, 16
)

// Verity describes the Merkle tree of a file: struct fsverity_descriptor.
//
//	0 version  1 hash  2 log2 of the block size  3 size of the salt  4 size of the signature (4)
//	8 size of the data (8)  16 root hash (64)  80 salt (32)  112 reserved (144)  256 signature
type Verity struct {
	BlockSize int // of the data that one hash covers, and of the tree, in bytes
	DataSize  uint64
	Root      []byte   // the hash of the tree's top block, or of the only block of data
	Levels    []uint64 // where each level of the tree begins, in blocks of the tree; that of the hashes of data first
	Blocks    uint64   // of the tree

	algorithm uint8
	salt      []byte // padded as the hash is begun with it
	fixed     [VerityDescriptorSize]byte
}

// DecodeVerity decodes a descriptor with its signature, which is not checked.
func DecodeVerity(p []byte) (*Verity, error) {
	bad := func(format string, args ...any) (*Verity, error) {
		return nil, ondisk.Corruptf("verity descriptor", format, args...)
	}
	if len(p) < VerityDescriptorSize || len(p) > MaxVerityDescriptor {
		return bad("%d bytes", len(p))
	}
	le := binary.LittleEndian
	v := &Verity{DataSize: le.Uint64(p[8:]), algorithm: p[1]}
	saltSize := int(p[3])
	switch {
	case p[0] != 1:
		return bad("version %d", p[0])
	case v.algorithm != VeritySHA256 && v.algorithm != VeritySHA512:
		return bad("hash algorithm %d", v.algorithm)
	case p[2] < verityMinLog || p[2] > verityMaxLog:
		return bad("blocks of 2^%d bytes", p[2])
	case saltSize > 32:
		return bad("a salt of %d bytes", saltSize)
	case int64(le.Uint32(p[4:])) > int64(len(p)-VerityDescriptorSize):
		return bad("a signature of %d bytes in %d", le.Uint32(p[4:]), len(p)-VerityDescriptorSize)
	case !bytes.Equal(p[112:VerityDescriptorSize], make([]byte, VerityDescriptorSize-112)):
		return bad("reserved bytes are set")
	}
	v.BlockSize = 1 << p[2]
	copy(v.fixed[:], p)
	clear(v.fixed[4:8])
	h := v.newHash()
	v.Root = bytes.Clone(p[16 : 16+h.Size()])
	if saltSize > 0 {
		v.salt = make([]byte, h.BlockSize())
		copy(v.salt, p[80:80+saltSize])
	}
	return v, v.layOut(h.Size())
}

// layOut finds the places of the tree's levels: the one with a single block comes first in the file.
func (v *Verity) layOut(digest int) error {
	per := uint64(v.BlockSize / digest)
	var blocks []uint64
	for n := (v.DataSize-min(v.DataSize, 1))/uint64(v.BlockSize) + min(v.DataSize, 1); n > 1; {
		if len(blocks) == MaxVerityLevels {
			return ondisk.Corruptf("verity descriptor", "%d bytes need more than %d levels", v.DataSize, MaxVerityLevels)
		}
		n = (n + per - 1) / per
		blocks = append(blocks, n)
	}
	v.Levels = make([]uint64, len(blocks))
	for i := len(blocks) - 1; i >= 0; i-- {
		v.Levels[i] = v.Blocks
		v.Blocks += blocks[i]
	}
	return nil
}

func (v *Verity) newHash() hash.Hash {
	if v.algorithm == VeritySHA512 {
		return sha512.New()
	}
	return sha256.New()
}

// HashSize is the length of a hash in bytes.
func (v *Verity) HashSize() int { return len(v.Root) }

// Hash is the hash of a block of the data or of the tree.
func (v *Verity) Hash(p []byte) []byte {
	h := v.newHash()
	h.Write(v.salt)
	h.Write(p)
	return h.Sum(nil)
}

// Algorithm is the name of the hash.
func (v *Verity) Algorithm() string {
	if v.algorithm == VeritySHA512 {
		return "sha512"
	}
	return "sha256"
}

// Digest is the file's digest as fsverity(1) measures it: the hash of the descriptor without its signature.
func (v *Verity) Digest() []byte {
	h := v.newHash()
	h.Write(v.fixed[:])
	return h.Sum(nil)
}
