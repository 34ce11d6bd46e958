package dump

import (
	"fmt"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// Journal shows the journal's superblock, and the blocks of the log that recovery reads: from the oldest transaction up
// to the first block that belongs to no transaction.
func Journal(fs *ext4.FS, found Sink) error {
	j, err := fs.Journal()
	if err != nil {
		return damagedJournal(fs, err, found)
	}
	p, at, err := j.Block(j.Start)
	if err != nil {
		return err
	}
	r := &Record{Kind: "journal superblock"}
	if err := found(journalSuper(r.at(at, 0, p), p)); err != nil {
		return err
	}
	if j.Super.Start != 0 {
		if err := journalLog(j, found); err != nil {
			return err
		}
	}
	return fastCommits(j, found)
}

// JournalBlock shows one block of the journal, by its number in the journal.
func JournalBlock(fs *ext4.FS, b uint32, found Sink) error {
	j, err := fs.Journal()
	if err != nil {
		return damagedJournal(fs, err, found)
	}
	if b >= j.Super.Blocks {
		return fmt.Errorf("journal block %d: %w: the journal has %d", b, ext4.ErrNotExist, j.Super.Blocks)
	}
	p, at, err := j.Block(b)
	if err != nil {
		return err
	}
	r := &Record{Which: fmt.Sprintf("in journal block %d", b)}
	r.at(at, 0, p)
	h, ok := jbd2.DecodeHeader(p)
	switch {
	case b == j.Start:
		r.Kind = "journal superblock"
		return found(journalSuper(r, p))
	case !ok:
		r.Kind = "logged block, or one not yet used"
		return found(r)
	}
	_, err = journalBlock(j, r, h, p, found)
	return err
}

// damagedJournal shows the superblock of a journal that cannot be opened, as far as it can be found.
func damagedJournal(fs *ext4.FS, problem error, found Sink) error {
	ino := fs.Superblock().JournalIno
	if ino == 0 || fs.Superblock().Compat&disk.CompatHasJournal == 0 {
		return problem
	}
	r := &Record{Kind: "journal superblock"}
	n, _, _, err := fs.StoredInode(ino)
	if err != nil {
		return found(r.wrong(problem))
	}
	if run, err := n.Map(0); err == nil && run.Kind == ext4.Data {
		if p, err := fs.Block(run.Start); err == nil {
			journalSuper(r.at(run.Start, 0, p), p)
		}
	}
	return found(r.wrong(problem))
}

// journalSuper shows the journal's superblock.
func journalSuper(r *Record, p []byte) *Record {
	n := min(len(p), 1024)
	s, err := jbd2.DecodeSuperblock(p)
	notes := map[string]string{}
	if s != nil {
		notes["s_feature_incompat"] = s.FeatureNames()
		if s.Start == 0 {
			notes["s_start"] = "nothing to recover"
		}
	}
	l := jbd2.SuperblockLayout
	if p[7] == jbd2.TypeSuperblockV1 {
		l = l.Within(0x24)
	}
	r.stored(l, p[:n], notes).wrong(err)
	if s != nil && s.FastBlocks > 0 {
		r.number("fast_commit_first", uint64(s.FastFirst())).number("fast_commit_blocks", uint64(s.FastBlocks))
	}
	return r
}

// journalLog shows the blocks of the log in their order. The ring is walked once at most.
func journalLog(j *ext4.Journal, found Sink) error {
	at, want := j.Super.Start, j.Super.Sequence
	for budget := int64(j.Super.End() - j.Super.First); budget > 0; {
		p, place, err := j.Block(at)
		if err != nil {
			return err
		}
		h, ok := jbd2.DecodeHeader(p)
		r := &Record{Which: fmt.Sprintf("in journal block %d", at)}
		r.at(place, 0, p)
		if !ok || h.Sequence != want {
			r.Kind, r.Contents = "end of the log", nil
			r.number("expected_sequence", uint64(want))
			if ok {
				r.number("sequence", uint64(h.Sequence))
			}
			return found(r)
		}
		data, err := journalBlock(j, r, h, p, found)
		if err != nil {
			return err
		}
		if h.Type == jbd2.TypeCommit {
			want++
		}
		for range 1 + data {
			at = j.Next(at)
			budget--
		}
	}
	return nil
}

// journalBlock shows one block of the log, and tells how many logged blocks follow it.
func journalBlock(j *ext4.Journal, r *Record, h jbd2.Header, p []byte, found Sink) (data int, err error) {
	r.stored(jbd2.HeaderLayout, p, nil)
	switch h.Type {
	case jbd2.TypeDescriptor:
		r.Kind = "descriptor block"
		tags, err := j.Super.DecodeDescriptor(h.Sequence, p)
		if err != nil {
			tags, _ = j.Super.Unsealed().DecodeDescriptor(h.Sequence, p)
		}
		r.number("tags", uint64(len(tags)))
		if err := found(r.wrong(err)); err != nil {
			return 0, err
		}
		for _, t := range tags {
			e := &Record{Kind: "tag", line: true}
			e.number("t_blocknr", uint64(t.Home))
			if t.Escaped {
				e.text("t_flags", "escaped")
			}
			if err := found(e); err != nil {
				return 0, err
			}
		}
		return len(tags), nil
	case jbd2.TypeRevoke:
		r.Kind = "revocation block"
		homes, err := j.Super.DecodeRevoke(h.Sequence, p)
		if err != nil {
			homes, _ = j.Super.Unsealed().DecodeRevoke(h.Sequence, p)
		}
		r.number("r_count", uint64(disk.GroupDescLayout.Order.Uint32([]byte{p[15], p[14], p[13], p[12]})))
		if err := found(r.wrong(err)); err != nil {
			return 0, err
		}
		return 0, revoked(homes, found)
	case jbd2.TypeCommit:
		r.Kind = "commit block"
		c, err := j.Super.DecodeCommit(h.Sequence, p)
		r.text("h_commit_sec", c.Time.Format(time.RFC3339Nano))
		return 0, found(r.wrong(err))
	}
	r.Kind = "block of the journal"
	if h.Type != jbd2.TypeSuperblockV1 && h.Type != jbd2.TypeSuperblockV2 {
		r.wrong(ondisk.Corruptf("journal", "a block has type %d", h.Type))
	}
	return 0, found(r)
}

func revoked(homes []block.Number, found Sink) error {
	for _, n := range homes {
		e := &Record{Kind: "revoked", line: true}
		if err := found(e.number("block", uint64(n))); err != nil {
			return err
		}
	}
	return nil
}

// fastNames are the tags of fast commits by the kernel's names.
var fastNames = map[uint16]string{jbd2.FastAddRange: "ADD_RANGE", jbd2.FastDelRange: "DEL_RANGE",
	jbd2.FastCreate: "CREAT", jbd2.FastLink: "LINK", jbd2.FastUnlink: "UNLINK", jbd2.FastInode: "INODE"}

// fastCommits shows the records of whole fast commits behind the last transaction.
func fastCommits(j *ext4.Journal, found Sink) error {
	_, fast, err := j.Pending()
	if err != nil || len(fast) == 0 {
		return err
	}
	r := &Record{Kind: "fast commits"}
	if err := found(r.number("records", uint64(len(fast)))); err != nil {
		return err
	}
	for _, f := range fast {
		e := &Record{Kind: "fast commit", line: true, Contents: f.Value}
		e.number("fc_tag", uint64(f.Tag)).note(fastNames[f.Tag]).number("fc_len", uint64(len(f.Value)))
		if len(f.Value) >= 4 {
			e.number("fc_ino", uint64(disk.InodeLayout.Order.Uint32(f.Value)))
		}
		if err := found(e); err != nil {
			return err
		}
	}
	return nil
}

// Orphans shows the inodes that recovery has to finish.
func Orphans(fs *ext4.FS, found Sink) error {
	list, file, problem := fs.Orphans()
	s := fs.Superblock()
	head := &Record{Kind: "orphans"}
	head.number("s_last_orphan", uint64(s.LastOrphan)).number("s_orphan_file_inum", uint64(s.OrphanFileIno))
	head.number("in_list", uint64(len(list))).number("in_file", uint64(len(file)))
	if err := found(head.wrong(problem)); err != nil {
		return err
	}
	for i, ino := range append(list, file...) {
		r := &Record{Kind: "orphan", line: true}
		r.number("inode", uint64(ino))
		n, _, problem, err := fs.StoredInode(ino)
		if r.wrong(err).wrong(problem); err == nil {
			r.number("i_links_count", uint64(n.Links)).text("i_mode", fmt.Sprintf("0%o", n.Mode)).number("size", n.Size)
			if i < len(list) {
				r.number("i_dtime", uint64(n.Dtime)).note("the next one")
			}
		}
		if err := found(r); err != nil {
			return err
		}
	}
	return nil
}
