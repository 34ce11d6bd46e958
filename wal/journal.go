package wal

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// Journal is a write-ahead log in the format of ext4's journal (ext4 doc, "Journal (jbd2)"): each epoch is one
// transaction of whole, sealed blocks, which the kernel and e2fsck replay as well as varve. Its rules are J1 to J9 of
// docs/guarantees.md.
//
//	tail ─▶ descriptor, images …, revokes, commit │ descriptor, …, commit │ ◀─ head
//
// The caller makes one call at a time. A failed write or flush is final for the caller: it is unknown what the device
// holds.
type Journal struct {
	dev    blockcache.Writable
	super  *jbd2.Superblock
	raw    []byte         // the journal's superblock as it lies on the device
	places []block.Number // of each block of the journal
	size   block.Size

	head   uint32 // the next block that is written
	used   uint32 // blocks from tail to head
	next   jbd2.Sequence
	logged map[block.Number]jbd2.Sequence // the newest copy of each block in the log
	marks  []mark
	begun  bool
	bytes  atomic.Uint64 // written to the log
	clean  uint32        // the incompatible features of the journal while nothing is in it

	over    uint32 // where the epoch begins that takes the place of fast commits; 0 where none does
	largest int
	flush   atomic.Int64 // ns
}

// mark is where a transaction of the log ends.
type mark struct {
	sequence jbd2.Sequence
	blocks   uint32
}

// Image is a whole block, sealed.
type Image struct {
	Number block.Number
	Data   []byte
	Late   bool // it goes home when the epoch's others are there
}

// OpenJournal opens a journal whose transactions are all home: the blocks at places of a device, with so many bytes
// each. Its sequences go on behind next (J5). Nothing is written yet.
func OpenJournal(
	dev blockcache.Writable,
	size block.Size,
	places []block.Number,
	next jbd2.Sequence,
) (*Journal, error) {
	j := &Journal{dev: dev, size: size, places: places, next: next + 1, logged: map[block.Number]jbd2.Sequence{}}
	if len(places) == 0 {
		return nil, fmt.Errorf("%w: the journal has no blocks", ErrCorrupt)
	}
	j.raw = make([]byte, size)
	if _, err := dev.ReadAt(j.raw, size.Offset(places[0])); err != nil {
		return nil, fmt.Errorf("read the journal's superblock: %w", err)
	}
	var err error
	if j.super, err = jbd2.DecodeSuperblock(j.raw); err != nil {
		return nil, err
	}
	if err := j.check(); err != nil {
		return nil, err
	}
	if j.super.Version < 2 {
		return nil, fmt.Errorf("%w; make a new one with tune2fs -O ^has_journal and tune2fs -j", ErrJournalVersion)
	}
	j.clean = j.super.Incompat &^ jbd2.IncompatAsyncCommit
	if mutant.Off(mutant.J5) {
		j.next = 1
	}
	j.head = j.super.First
	quarter := j.Blocks() / 4
	j.largest = quarter - quarter/(int(size)/32) - 3 // no tag is longer than 16 bytes, and most of a block are tags
	return j, nil
}

// check compares the journal's superblock with where the journal lies.
func (j *Journal) check() error {
	switch end := block.Number(j.dev.Size() / int64(j.size)); {
	case j.super.BlockSize != j.size:
		return fmt.Errorf("%w: the journal's blocks have %d bytes, the device's %d", ErrCorrupt, j.super.BlockSize, j.size)
	case uint64(j.super.Blocks) > uint64(len(j.places)):
		return fmt.Errorf("%w: the journal has %d blocks, and room for %d", ErrCorrupt, j.super.Blocks, len(j.places))
	case slices.Max(j.places) >= end:
		return fmt.Errorf("%w: the journal has %v, and the device %d blocks", ErrCorrupt, slices.Max(j.places), end)
	}
	return nil
}

// Reset says on the device that there is nothing to replay, and reserves the journal's room. The journal has the
// features that are given, beside its own, while it is empty.
func (j *Journal) Reset(features uint32) error {
	j.clean |= features
	j.reserve()
	if err := j.empty(); err != nil {
		return err
	}
	return j.endFast()
}

// reserve gets room for the journal's blocks where the device is a file with holes: a device that is full then does not
// end the journal. Without room for all of them the journal goes on with what there is.
func (j *Journal) reserve() {
	for rest := j.places[:j.super.Blocks]; len(rest) > 0; {
		k := 1
		for k < len(rest) && rest[k] == rest[k-1]+1 {
			k++
		}
		if blockcache.Reserve(j.dev, j.size.Offset(rest[0]), j.size.Offset(block.Number(k))) != nil {
			return
		}
		rest = rest[k:]
	}
}

// Errno is the error that ended an earlier use of the journal: a negative errno, or 0. ForgetErrno has the next Reset
// forget it, after its caller has noted it elsewhere.
func (j *Journal) Errno() int32 { return j.super.Errno }

// ForgetErrno is for the first Reset.
func (j *Journal) ForgetErrno() { j.super.PutErrno(j.raw, 0) }

// Abort notes that the journal's use ends with an error, for the next mount, by any program (kernel, fs/jbd2:
// jbd2_journal_abort). The device may fail again.
func (j *Journal) Abort() {
	if mutant.Off(mutant.JournalErrno) {
		return
	}
	j.super.PutErrno(j.raw, jbd2.ErrnoIO)
	_ = j.writeSuper()
}

// empty makes the journal one with nothing to replay.
func (j *Journal) empty() error {
	j.super.PutFeatures(j.raw, j.super.Compat&^jbd2.CompatChecksum, j.clean)
	j.super.PutStart(j.raw, 0, j.next)
	return j.writeSuper()
}

func (j *Journal) writeSuper() error {
	if _, err := j.dev.WriteAt(j.raw, j.size.Offset(j.places[0])); err != nil {
		return fmt.Errorf("write the journal's superblock: %w", err)
	}
	return j.sync()
}

func (j *Journal) sync() error {
	began := time.Now()
	if err := j.dev.Sync(); err != nil {
		return fmt.Errorf("flush the journal: %w", err)
	}
	j.flush.Add(int64(time.Since(began))/8 - j.flush.Load()/8)
	return nil
}

// FlushTime is the duration of a flush, a moving average. It may be called at any time.
func (j *Journal) FlushTime() time.Duration { return time.Duration(j.flush.Load()) }

// Begin makes the beginning of the log durable, before the first commit (J3). From here to its end the log has
// checksums of version 1, which cover a whole transaction: its commit block may be written together with the rest then
// (the kernel's journal_async_commit), as the checksum reveals an incomplete one.
func (j *Journal) Begin() error {
	j.begun = true
	j.putLogFeatures(j.clean)
	if mutant.Off(mutant.J3) {
		return nil
	}
	j.super.PutStart(j.raw, j.head, j.next)
	return j.writeSuper()
}

// putLogFeatures sets the features that the log is written with, beside those of the empty journal.
func (j *Journal) putLogFeatures(clean uint32) {
	j.super.PutFeatures(
		j.raw,
		j.super.Compat|jbd2.CompatChecksum,
		clean&^(jbd2.IncompatCsumV2|jbd2.IncompatCsumV3)|jbd2.IncompatAsyncCommit,
	)
}

// end is the block behind the log.
func (j *Journal) end() uint32 {
	if mutant.Off(mutant.J8) {
		return j.super.Blocks
	}
	return j.super.End()
}

// Blocks is the room of the log in blocks, and Used how many of them are taken.
func (j *Journal) Blocks() int { return int(j.super.End() - j.super.First) }

// Used is how many blocks of the log hold transactions that are not home yet.
func (j *Journal) Used() int { return int(j.used) }

// Largest is how many images one epoch may have (J9): a quarter of the log, its own blocks taken off. It may be called
// at any time.
func (j *Journal) Largest() int { return j.largest }

// Bytes is how many bytes were written to the log. It may be called at any time.
func (j *Journal) Bytes() uint64 { return j.bytes.Load() }

// need is how many blocks an epoch takes in the log.
func (j *Journal) need(images, revokes int) int {
	n := images + (images+j.super.TagsPerBlock()-1)/j.super.TagsPerBlock() + 1
	return n + (revokes+j.super.RevokesPerBlock()-1)/j.super.RevokesPerBlock()
}

// Fits reports whether there is room for an epoch with so many images, which frees blocks. Only those that the log has
// copies of are revoked, so no number of freed blocks is too large for an empty log. One block always stays free.
func (j *Journal) Fits(images int, freed []block.Number) bool {
	revokes := len(j.revoked(freed))
	if mutant.Off(mutant.RevokeAll) {
		revokes = len(freed)
	}
	return int(j.used)+j.need(images, revokes) < j.Blocks()
}

// revoked are those of the freed blocks that the log has copies of (J1).
func (j *Journal) revoked(freed []block.Number) (out []block.Number) {
	for _, n := range freed {
		if _, ok := j.logged[n]; ok && !mutant.Off(mutant.J1) {
			out = append(out, n)
		}
	}
	return out
}

// Commit writes an epoch and returns when it is durable. Freed blocks are revoked where the log has copies of them
// (J1); none of them is among the images. With ordered set, what was written to the same device before is durable
// before the commit block is (W3). That takes two flushes; one is enough without, unless there are revokes, which
// checksums of version 1 do not cover.
func (j *Journal) Commit(images []Image, freed []block.Number, ordered bool) error {
	if !j.Fits(len(images), freed) {
		return fmt.Errorf("%w: an epoch of %d blocks, and %d of %d are in use", ErrFull, len(images), j.used, j.Blocks())
	}
	if !j.begun {
		if err := j.Begin(); err != nil {
			return err
		}
	}
	if err := j.checkOver(len(images)); err != nil {
		return err
	}
	revoked := j.revoked(freed)
	w := &journalWriter{j: j, sum: jbd2.SumV1Seed}
	for rest := images; len(rest) > 0; {
		n := min(len(rest), j.super.TagsPerBlock())
		w.images(rest[:n])
		rest = rest[n:]
	}
	for rest := revoked; len(rest) > 0; {
		n := min(len(rest), j.super.RevokesPerBlock())
		j.super.EncodeRevoke(w.block(), j.next, rest[:n])
		rest = rest[n:]
	}
	if ordered || len(revoked) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	j.super.EncodeCommit(w.block(), j.next, time.Now(), w.sum)
	if err := w.write(); err != nil {
		return err
	}
	failpoint.At("journal", "commit block")
	if err := j.sync(); err != nil {
		return err
	}
	if err := j.endOver(); err != nil {
		return err
	}
	failpoint.At("journal", "commit")
	for _, n := range revoked {
		delete(j.logged, n)
	}
	for _, i := range images {
		j.logged[i.Number] = j.next
	}
	j.marks = append(j.marks, mark{j.next, w.count})
	j.next++
	return nil
}

// journalWriter gathers blocks of a transaction and writes them.
type journalWriter struct {
	j       *Journal
	pending []byte
	count   uint32
	sum     uint32 // of what the checksum of version 1 covers
}

// flush makes all but the commit block durable. That one's place is made zeros first: of the block itself one sector
// alone is new then, and no tear makes half of one, which the kernel would take for damage.
func (w *journalWriter) flush() error {
	clear(w.block())
	if err := w.write(); err != nil {
		return err
	}
	failpoint.At("journal", "append")
	if err := w.j.sync(); err != nil {
		return err
	}
	failpoint.At("journal", "flush")
	w.back()
	return nil
}

// block returns the next block of the log, to be filled in before the next call.
func (w *journalWriter) block() []byte {
	n := len(w.pending)
	w.pending = slices.Grow(w.pending, int(w.j.size))[:n+int(w.j.size)]
	return w.pending[n:]
}

// back steps back over the last block that was written.
func (w *journalWriter) back() {
	j := w.j
	if j.head == j.super.First {
		j.head = j.end()
	}
	j.head--
	j.used--
	w.count--
}

// images adds a descriptor block and the images that it names.
func (w *journalWriter) images(images []Image) {
	j := w.j
	size := int(j.size)
	start := len(w.pending)
	for range len(images) + 1 {
		w.block()
	}
	homes, escaped, data := make([]block.Number, len(images)), make([]bool, len(images)), make([][]byte, len(images))
	for i, image := range images {
		data[i] = w.pending[start+(i+1)*size:][:size]
		copy(data[i], image.Data)
		homes[i] = image.Number
		if !mutant.Off(mutant.J6) {
			escaped[i] = jbd2.Escape(data[i])
		}
	}
	j.super.EncodeDescriptor(w.pending[start:start+size], j.next, homes, escaped, data)
	w.sum = jbd2.SumV1(w.sum, w.pending[start:])
}

// write writes the gathered blocks at the head, neighbours in one go.
func (w *journalWriter) write() error {
	j := w.j
	size := int(j.size)
	for len(w.pending) > 0 {
		n, at := 1, j.places[j.head]
		for n*size < len(w.pending) && j.head+uint32(n) < j.end() && j.places[j.head+uint32(n)] == at+block.Number(n) {
			n++
		}
		if _, err := j.dev.WriteAt(w.pending[:n*size], j.size.Offset(at)); err != nil {
			return fmt.Errorf("write to the journal: %w", err)
		}
		w.pending = w.pending[n*size:]
		w.count += uint32(n)
		j.used += uint32(n)
		j.bytes.Add(uint64(n * size))
		if j.head += uint32(n); j.head >= j.end() {
			j.head = j.super.First
		}
	}
	return nil
}

// Next is the sequence of the epoch that is written next, for Trim.
func (j *Journal) Next() jbd2.Sequence { return j.next }

// Trim gives up the epochs before a sequence, which are home, and flushed (J4). The room is used again only after the
// moved tail is durable.
func (j *Journal) Trim(before jbd2.Sequence) error {
	freed, k := uint32(0), 0
	for k < len(j.marks) && j.marks[k].sequence.Before(before) {
		freed += j.marks[k].blocks
		k++
	}
	if k == 0 {
		return nil
	}
	length := uint32(j.Blocks())
	tail := j.super.First + (j.head-j.super.First+length-(j.used-freed))%length
	j.super.PutStart(j.raw, tail, before)
	if err := j.writeSuper(); err != nil {
		return err
	}
	j.used -= freed
	j.marks = slices.Delete(j.marks, 0, k)
	for n, s := range j.logged {
		if s.Before(before) {
			delete(j.logged, n)
		}
	}
	return nil
}

// End says on the device that there is nothing to replay (J7). Every epoch is home, and flushed.
func (j *Journal) End() error { return j.empty() }

// Home follows EpochLog: epochs are in the log, and their images go home later.
func (j *Journal) Home() bool { return false }

// HasChecksums reports whether the journal's blocks carry checksums.
func (j *Journal) HasChecksums() bool { return j.super.HasChecksums() }
