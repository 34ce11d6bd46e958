package jbd2

import (
	"testing"
)

// TestSuperblock_Features: features that are set are decoded again, with a checksum where they ask for one.
func TestSuperblock_Features(t *testing.T) {
	for _, c := range []struct {
		compat, incompat uint32
		names            string
	}{
		{0, 0, ""},
		{CompatChecksum, IncompatRevoke, "journal_checksum journal_revoke"},
		{0, IncompatCsumV3 | Incompat64Bit, "journal_64bit journal_checksum_v3"},
		{CompatChecksum, IncompatAsyncCommit, "journal_checksum journal_async_commit"},
	} {
		p := NewSuperblock(1024, 1024, [16]byte{9}, IncompatRevoke|IncompatCsumV3)
		s, err := DecodeSuperblock(p)
		if err != nil {
			t.Fatal(err)
		}
		s.PutFeatures(p, c.compat, c.incompat)
		n, err := DecodeSuperblock(p)
		if err != nil || n.Compat != c.compat || n.Incompat != c.incompat || n.FeatureNames() != c.names {
			t.Errorf("0x%x, 0x%x became 0x%x, 0x%x (%s): %v", c.compat, c.incompat, n.Compat, n.Incompat, n.FeatureNames(), err)
		}
		if !s.HasChecksums() {
			continue
		}
		p[0x24] ^= 1
		_, err = DecodeSuperblock(p)
		rejects(t, "a changed superblock", err, "checksum")
	}
}

// TestSuperblock_External: a journal on a device of its own begins behind its superblock, and names its user.
func TestSuperblock_External(t *testing.T) {
	uuid, user := [16]byte{1, 2}, [16]byte{3, 4}
	for _, at := range []uint32{0, 1} { // blocks of 4 KiB, and of 1 KiB
		p := NewExternalSuperblock(1024, 2048, at, uuid, user, IncompatCsumV3)
		s, err := DecodeSuperblock(p)
		if err != nil {
			t.Fatal(err)
		}
		if s.First != at+1 || s.Blocks != 2048 || s.UUID != uuid || [16]byte(p[0x100:]) != user || s.Start != 0 {
			t.Errorf("superblock in block %d: %+v", at, s)
		}
	}
}

// TestSuperblock_FastArea: the fast-commit area lies behind the log, and a block between them is free.
func TestSuperblock_FastArea(t *testing.T) {
	for _, c := range []struct{ blocks, fast, end, first uint32 }{
		{1024, 0, 1024, 1025},
		{1024, 256, 768, 769},
	} {
		s := Superblock{Blocks: c.blocks, FastBlocks: c.fast}
		if s.End() != c.end || s.FastFirst() != c.first {
			t.Errorf("%d blocks, %d of them for fast commits: the log ends at %d, and they begin at %d", c.blocks, c.fast,
				s.End(), s.FastFirst())
		}
	}
}
