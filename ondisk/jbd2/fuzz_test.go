package jbd2

import "testing"

func FuzzJournal(f *testing.F) {
	s, p := goldenLog(f)
	for n := range 40 {
		f.Add(blockOf(p, n))
	}
	bare := *s
	bare.Incompat = Incompat64Bit
	f.Fuzz(func(t *testing.T, p []byte) {
		_, _ = DecodeSuperblock(p)
		if len(p) != int(s.BlockSize) {
			return
		}
		DecodeHeader(p)
		for _, s := range []*Superblock{s, &bare} {
			tags, _ := s.DecodeDescriptor(2, p)
			for _, tag := range tags {
				_ = s.CheckData(2, tag, p)
			}
			_, _ = s.DecodeRevoke(2, p)
			_, _ = s.DecodeCommit(2, p)
		}
		SumV1(SumV1Seed, p)
	})
}

func FuzzFastCommit(f *testing.F) {
	head := fast(FastHead, []byte{0, 0, 0, 0, 9, 0, 0, 0})
	f.Add(fastCommit(head, 9, fast(FastLink, []byte("parentinname"))))
	f.Fuzz(func(t *testing.T, p []byte) {
		s := FastScanner{Want: 9}
		s.Add(p)
		s.Add(p)
		s.Records()
	})
}
