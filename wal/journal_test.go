package wal

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk/jbd2"
)

const (
	journalFirst  = 64  // block of the device where the test journal begins
	journalBlocks = 128 // of the test journal
)

// journalFixture is a device with a journal behind 64 blocks.
type journalFixture struct {
	dev    *blockcache.RAM
	faulty *blockcache.Faulty
	places []block.Number
}

func newJournal(t *testing.T, incompat uint32) (*Journal, *journalFixture) {
	t.Helper()
	f := &journalFixture{dev: blockcache.NewRAM(make([]byte, (journalFirst+journalBlocks)*int(size)))}
	f.faulty = blockcache.NewFaulty(f.dev)
	for i := range block.Number(journalBlocks) {
		f.places = append(f.places, journalFirst+i)
	}
	super := jbd2.NewSuperblock(size, journalBlocks, [16]byte{1}, incompat)
	if _, err := f.dev.WriteAt(super, size.Offset(journalFirst)); err != nil {
		t.Fatal(err)
	}
	return f.open(t, 41), f
}

func (f *journalFixture) open(t *testing.T, next jbd2.Sequence) *Journal {
	t.Helper()
	j, err := OpenJournal(f.faulty, size, f.places, next)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (f *journalFixture) super(t *testing.T) *jbd2.Superblock {
	t.Helper()
	s, err := jbd2.DecodeSuperblock(f.dev.Bytes()[size.Offset(journalFirst):][:size])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// replay is what a recovery by the format's rules makes of the journal: the newest copy of each block that is not
// revoked.
func (f *journalFixture) replay(t *testing.T) map[block.Number][]byte {
	t.Helper()
	s, img := f.super(t), f.dev.Bytes()
	out, logged := map[block.Number][]byte{}, map[block.Number][]byte{}
	if s.Start == 0 {
		return out
	}
	at, seq, sum := s.Start, s.Sequence, jbd2.SumV1Seed
	var revoked []block.Number
	next := func() []byte {
		p := img[size.Offset(f.places[at]):][:size]
		if at++; at == s.End() {
			at = s.First
		}
		return slices.Clone(p)
	}
	for {
		p := next()
		h, ok := jbd2.DecodeHeader(p)
		if !ok || h.Sequence != seq {
			return out
		}
		switch h.Type {
		case jbd2.TypeDescriptor:
			tags, err := s.DecodeDescriptor(seq, p)
			if err != nil {
				t.Fatal(err)
			}
			sum = jbd2.SumV1(sum, p)
			for _, tag := range tags {
				data := next()
				sum = jbd2.SumV1(sum, data)
				if tag.Escaped {
					jbd2.Unescape(data)
				}
				logged[tag.Home] = data
			}
		case jbd2.TypeRevoke:
			homes, err := s.DecodeRevoke(seq, p)
			if err != nil {
				t.Fatal(err)
			}
			revoked = append(revoked, homes...)
		case jbd2.TypeCommit:
			c, err := s.DecodeCommit(seq, p)
			if err != nil || !c.HasV1 || c.ChecksumV1 != sum {
				t.Fatalf("transaction %d: %+v, want checksum %#x: %v", seq, c, sum, err)
			}
			for _, n := range revoked {
				delete(out, n)
			}
			maps.Copy(out, logged)
			clear(logged)
			revoked, sum = nil, jbd2.SumV1Seed
			seq++
		}
	}
}

// image is a block of one byte's repetitions.
func image(n block.Number, v byte) Image {
	return Image{Number: n, Data: bytes.Repeat([]byte{v}, int(size))}
}

func mustCommit(t *testing.T, j *Journal, freed []block.Number, images ...Image) {
	t.Helper()
	if err := j.Commit(images, freed, false); err != nil {
		t.Fatal(err)
	}
}

// want checks what a recovery finds, by the first byte of each block.
func (f *journalFixture) want(t *testing.T, what string, want map[block.Number]byte) {
	t.Helper()
	got := map[block.Number]byte{}
	for n, p := range f.replay(t) {
		got[n] = p[len(p)-1]
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: a recovery finds %v, want %v", what, got, want)
	}
}

// TestJournal_Commit: committed epochs are what a recovery finds, newest copies last, revoked blocks left out (J1).
func TestJournal_Commit(t *testing.T) {
	j, f := newJournal(t, jbd2.IncompatRevoke)
	if f.super(t).Start != 0 || j.Next() != 42 {
		t.Fatalf("a new journal starts at %d, its next transaction is %d", f.super(t).Start, j.Next())
	}
	mustCommit(t, j, nil, image(1, 1), image(2, 2))
	f.want(t, "one epoch", map[block.Number]byte{1: 1, 2: 2})
	mustCommit(t, j, nil, image(2, 3), image(5, 4))
	f.want(t, "two epochs", map[block.Number]byte{1: 1, 2: 3, 5: 4})
	mustCommit(t, j, []block.Number{2, 9}, image(6, 6))
	f.want(t, "a freed block", map[block.Number]byte{1: 1, 5: 4, 6: 6})
	mustCommit(t, j, nil, image(2, 7))
	f.want(t, "a freed block that is used again", map[block.Number]byte{1: 1, 2: 7, 5: 4, 6: 6})
	if err := j.Commit([]Image{image(7, 8)}, nil, true); err != nil { // with a flush before its commit block
		t.Fatal(err)
	}
	f.want(t, "ordered", map[block.Number]byte{1: 1, 2: 7, 5: 4, 6: 6, 7: 8})
	if j.Bytes() == 0 || j.Next() != 47 {
		t.Errorf("%d bytes, the next transaction is %d", j.Bytes(), j.Next())
	}
}

// TestJournal_Escapes: an image that begins with the journal's magic is no journal block to a recovery (J6).
func TestJournal_Escapes(t *testing.T) {
	j, f := newJournal(t, jbd2.IncompatRevoke)
	magic := image(3, 9)
	copy(magic.Data, f.dev.Bytes()[size.Offset(journalFirst):][:4])
	before := slices.Clone(magic.Data)
	mustCommit(t, j, nil, magic)
	if got := f.replay(t)[3]; !bytes.Equal(got, before) || !bytes.Equal(magic.Data, before) {
		t.Errorf("it came back as %x, from %x", got[:8], before[:8])
	}
}

// TestJournal_Wraps: the log goes round its blocks for as long as its tail moves on, and a full one takes nothing (J4,
// J9).
func TestJournal_Wraps(t *testing.T) {
	j, f := newJournal(t, jbd2.IncompatRevoke)
	var images []Image
	for i := range j.Largest() {
		images = append(images, image(block.Number(i), 1))
	}
	rounds := 4 * j.Blocks() / len(images)
	for round := range rounds {
		if !j.Fits(len(images), nil) {
			if err := j.Commit(images, nil, false); !errors.Is(err, ErrFull) {
				t.Fatalf("a commit into a full journal: %v", err)
			}
			if err := j.Trim(j.Next()); err != nil || j.Used() != 0 {
				t.Fatalf("%v; %d blocks are in use after all was given up", err, j.Used())
			}
		}
		for i := range images {
			images[i] = image(images[i].Number, byte(round))
		}
		mustCommit(t, j, nil, images...)
		got := f.replay(t)
		if len(got) != len(images) || got[0][0] != byte(round) {
			t.Fatalf("round %d: a recovery finds %d blocks, the first of %v", round, len(got), got[0][:1])
		}
		if j.Used() > j.Blocks() {
			t.Fatalf("%d blocks of %d are in use", j.Used(), j.Blocks())
		}
	}
}

// TestJournal_Trim: the tail moves to where a transaction begins, and no further than asked.
func TestJournal_Trim(t *testing.T) {
	j, f := newJournal(t, jbd2.IncompatRevoke)
	mustCommit(t, j, nil, image(1, 1))
	used := j.Used()
	mark := j.Next()
	mustCommit(t, j, nil, image(2, 2))
	if err := j.Trim(42); err != nil || j.Used() != 2*used {
		t.Errorf("%v; %d blocks in use after a Trim of nothing, want %d", err, j.Used(), 2*used)
	}
	if err := j.Trim(mark); err != nil || j.Used() != used {
		t.Errorf("%v; %d blocks in use, want %d", err, j.Used(), used)
	}
	f.want(t, "trimmed", map[block.Number]byte{2: 2})
	mustCommit(t, j, []block.Number{1}, image(3, 3)) // block 1 has no copy in the log any more: no revoke
	f.want(t, "after it", map[block.Number]byte{2: 2, 3: 3})
	if j.Used() != 2*used {
		t.Errorf("%d blocks in use, want %d: a block without a copy needs no revoke", j.Used(), 2*used)
	}
}

// TestJournal_End: a journal that ended has nothing to replay, and its features of before; its next life goes on with
// its sequences (J5, J7).
func TestJournal_End(t *testing.T) {
	for name, incompat := range map[string]uint32{
		"none": jbd2.IncompatRevoke,
		"v3":   jbd2.IncompatRevoke | jbd2.IncompatCsumV3 | jbd2.Incompat64Bit,
	} {
		t.Run(name, func(t *testing.T) {
			j, f := newJournal(t, incompat)
			before := f.super(t)
			if err := j.Reset(0); err != nil {
				t.Fatal(err)
			}
			mustCommit(t, j, nil, image(1, 1))
			if s := f.super(t); s.Compat&jbd2.CompatChecksum == 0 || s.Incompat&jbd2.IncompatAsyncCommit == 0 ||
				s.HasChecksums() {
				t.Errorf("in use its features are %s, compat %#x", s.FeatureNames(), s.Compat)
			}
			if err := j.End(); err != nil {
				t.Fatal(err)
			}
			if s := f.super(t); s.Start != 0 || s.Incompat != before.Incompat || s.Compat != before.Compat ||
				s.Sequence != j.Next() {
				t.Errorf("after its end: %+v; before: %+v", s, before)
			}
			again := f.open(t, f.super(t).Sequence)
			if again.Next() <= j.Next() || again.HasChecksums() != (name == "v3") {
				t.Errorf("the next life begins with %d, after %d", again.Next(), j.Next())
			}
		})
	}
}

// TestJournal_Errno: what ended a journal stays in its superblock until a caller has noted it elsewhere.
func TestJournal_Errno(t *testing.T) {
	j, f := newJournal(t, jbd2.IncompatRevoke)
	mustCommit(t, j, nil, image(1, 1))
	j.Abort()
	again := f.open(t, 100)
	if again.Errno() != jbd2.ErrnoIO {
		t.Fatalf("errno %d", again.Errno())
	}
	f.want(t, "aborted", map[block.Number]byte{1: 1}) // what was durable is still there
	again.ForgetErrno()
	if f.super(t).Errno != jbd2.ErrnoIO {
		t.Error("it was forgotten before Reset")
	}
	if err := again.Reset(0); err != nil || f.super(t).Errno != 0 {
		t.Errorf("%v; errno %d after Reset", err, f.super(t).Errno)
	}
}

// TestJournal_Faults: a write or a flush that fails is an error of Commit; the epochs before stay.
func TestJournal_Faults(t *testing.T) {
	for _, fault := range []blockcache.Fault{
		blockcache.WriteError, blockcache.ShortWrite, blockcache.NoSpace, blockcache.FlushError,
	} {
		for after := range 2 {
			j, f := newJournal(t, jbd2.IncompatRevoke)
			mustCommit(t, j, nil, image(1, 1))
			f.faulty.Fail(fault, after, true)
			err := j.Commit([]Image{image(1, 2), image(2, 2)}, nil, true) // two writes, two flushes
			if err == nil {
				t.Errorf("%v of call %d: no error", fault, after)
			}
			if got := f.replay(t); got[1] == nil {
				t.Errorf("%v of call %d: the epoch before is lost", fault, after)
			}
		}
	}
}

// TestOpenJournal_Refuses: a place that is no journal, and a journal that cannot be read.
func TestOpenJournal_Refuses(t *testing.T) {
	_, f := newJournal(t, jbd2.IncompatRevoke)
	old := f.dev.Bytes()
	old[size.Offset(journalFirst)+7] = 3 // the block type of a superblock of version 1
	for name, c := range map[string]struct {
		dev  blockcache.Writable
		want error
	}{
		"zeros":      {blockcache.NewRAM(make([]byte, len(old))), nil},
		"no device":  {blockcache.NewRAM(nil), nil},
		"version 1":  {blockcache.NewRAM(old), ErrJournalVersion},
		"read error": {func() blockcache.Writable { f.faulty.Fail(blockcache.ReadError, 0, true); return f.faulty }(), nil},
	} {
		if j, err := OpenJournal(c.dev, size, f.places, 1); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, j, err)
		}
	}
}
