package ext4

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// replayed is the result of a journal's replay for a reader: the place in the log of each block's newest copy.
// Nothing is copied at replay; blocks are read from the log when they are asked for.
type replayed struct {
	at   map[block.Number]copyInLog
	read func(copyInLog) ([]byte, error)
	next jbd2.Sequence // behind the last whole transaction
}

type copyInLog struct {
	block   block.Number // on the device that holds the journal
	escaped bool
}

// replay reads the journal and sets up the view that the kernel would have after its own replay: whole transactions in
// order, without revoked blocks, and then the fast commits behind them.
func (fs *FS) replay() error {
	log, err := fs.openLog()
	if err != nil {
		return err
	}
	fs.log.next = log.super.Sequence
	if log.super.Start == 0 {
		return nil
	}
	log.limit = math.MaxInt64 // the log may make the file system larger
	if err := log.scan(); err != nil {
		return err
	}
	fs.log.next = log.next
	if len(log.newest) > 0 {
		fs.log.at, fs.log.read = log.newest, log.readCopy
	}
	if err := fs.reloadSuper(); err != nil {
		return err
	}
	if err := log.checkHomes(fs.super.Blocks); err != nil {
		return err
	}
	if log.super.FastBlocks > 0 {
		return fs.replayFast(log)
	}
	return nil
}

// log is a journal that is being read. Its blocks are numbered from the journal's start.
type log struct {
	super  *jbd2.Superblock
	start  uint32 // the block with the superblock
	serial bool   // each transaction was durable before the next one began
	device Blocks
	place  func(n uint32) (block.Number, error) // where block n of the journal lies on device
	limit  block.Number                         // homes lie below this block
	seen   map[block.Number]bool                // blocks that were read for what they say of others

	newest  map[block.Number]copyInLog
	next    jbd2.Sequence // the sequence behind the last whole transaction
	revoked map[block.Number]jbd2.Sequence
}

// openLog finds the journal in its inode, or on the external device.
func (fs *FS) openLog() (*log, error) {
	l := &log{limit: fs.super.Blocks}
	if fs.super.NeedsLog {
		if fs.external == nil {
			return nil, fmt.Errorf("%w: name it with -o wal=FILE (--wal FILE), or give it up with e2fsck -fy", ErrNeedsLog)
		}
		l.serial = true
		return l, fs.openExternal(l, fs.external, fs.super.Log, ErrForeignLog)
	}
	if fs.super.JournalIno == 0 {
		if fs.external == nil {
			return nil, fmt.Errorf(
				"%w (UUID %s): name it with --journal-device, or skip the journal with -o norecovery",
				ErrNeedsJournal,
				disk.FormatUUID(fs.super.JournalUUID),
			)
		}
		return l, fs.openExternal(l, fs.external, fs.super.JournalUUID, nil)
	}
	n := new(Inode)
	if err := fs.slot(n, fs.super.JournalIno); err != nil {
		return nil, err
	}
	if n.Links == 0 || !n.IsRegular() {
		return nil, ondisk.Corruptf(n.where(), "is no journal: mode 0%o, %d links", n.Mode, n.Links)
	}
	l.device = fs.blocks
	l.place = func(b uint32) (block.Number, error) {
		run, err := n.mapHome(FileBlock(b))
		if err != nil {
			return 0, err
		}
		if run.Kind != Data {
			return 0, ondisk.Corruptf(n.where(), "journal block %d is a hole", b)
		}
		return run.Start, nil
	}
	if err := l.readSuper(0); err != nil {
		return nil, err
	}
	if uint64(l.super.Blocks) > n.Size/uint64(fs.super.BlockSize) {
		return nil, ondisk.Corruptf("journal superblock", "%d blocks in a file of %d bytes", l.super.Blocks, n.Size)
	}
	if err := l.checkSize(fs.super.BlockSize); err != nil {
		return nil, err
	}
	if err := fs.requireSize(fs.super.BlockSize.Offset(block.Number(l.super.Blocks))); err != nil {
		return nil, fmt.Errorf("journal superblock: %d blocks: %w", l.super.Blocks, err)
	}
	return l, nil
}

// openExternal opens a journal that is a device of its own: an ext4 superblock with the journal_dev feature, and the
// journal in the next block.
func (fs *FS) openExternal(l *log, external io.ReaderAt, id [16]byte, foreign error) error {
	dev, err := ReadSuperblock(external, 0)
	if err != nil {
		return fmt.Errorf("journal device: %w", err)
	}
	if !dev.IsJournalDevice() {
		return ondisk.Corruptf("journal device", "is no external journal (feature journal_dev is not set)")
	}
	if dev.UUID != id {
		err := ondisk.Corruptf("journal device", "has UUID %s, the file system's journal is %s",
			disk.FormatUUID(dev.UUID), disk.FormatUUID(id))
		if foreign != nil {
			return fmt.Errorf("%w: %w", foreign, err)
		}
		return err
	}
	if dev.BlockSize != fs.super.BlockSize {
		return ondisk.Corruptf(
			"journal device",
			"has blocks of %d bytes, the file system of %d",
			dev.BlockSize,
			fs.super.BlockSize,
		)
	}
	if _, err := (direct{external, dev.BlockSize}).ReadBlock(dev.Blocks - 1); err != nil {
		return ondisk.Corruptf("journal device", "is cut short: %v", err)
	}
	l.start = uint32(disk.JournalDeviceStart(dev.BlockSize))
	l.device = direct{external, dev.BlockSize}
	l.place = func(b uint32) (block.Number, error) {
		if block.Number(b) >= dev.Blocks {
			return 0, ondisk.Corruptf("journal device", "block %d of %d", b, uint64(dev.Blocks))
		}
		return block.Number(b), nil
	}
	if err := l.readSuper(l.start); err != nil {
		return err
	}
	if block.Number(l.super.Blocks) > dev.Blocks || l.super.First <= l.start {
		return ondisk.Corruptf("journal superblock", "log of blocks %d to %d on a device of %d", l.super.First,
			l.super.Blocks, uint64(dev.Blocks))
	}
	return l.checkSize(fs.super.BlockSize)
}

func (l *log) readSuper(at uint32) error {
	p, err := l.block(at)
	if err != nil {
		return err
	}
	l.super, err = jbd2.DecodeSuperblock(p)
	return err
}

// maxJournal is the number of blocks of the largest journal that mke2fs makes.
const maxJournal = 10_240_000

func (l *log) checkSize(size block.Size) error {
	switch {
	case l.super.BlockSize != size:
		return ondisk.Corruptf("journal superblock", "block size is %d, the file system's %d", l.super.BlockSize, size)
	case l.super.Blocks > maxJournal:
		return ondisk.Corruptf("journal superblock", "%d blocks, expected at most %d", l.super.Blocks, maxJournal)
	}
	return nil
}

// once notes that a block of the log was read for what it says of others. One that lies at two places of the journal,
// which only a crafted one has, could be read as often as the journal claims to have blocks.
func (l *log) once(n uint32) error {
	at, err := l.place(n)
	if err != nil {
		return err
	}
	if l.seen[at] {
		return ondisk.Corruptf("journal", "%v of the image is two of its blocks, one of them block %d", at, n)
	}
	if l.seen == nil {
		l.seen = map[block.Number]bool{}
	}
	l.seen[at] = true
	return nil
}

// block reads block n of the journal.
func (l *log) block(n uint32) ([]byte, error) {
	at, err := l.place(n)
	if err != nil {
		return nil, err
	}
	p, err := l.device.ReadBlock(at)
	if err != nil {
		return nil, fmt.Errorf("journal block %d: %w", n, err)
	}
	return p, nil
}

// readCopy reads a block's copy from the log and undoes its escaping.
func (l *log) readCopy(c copyInLog) ([]byte, error) {
	p, err := l.device.ReadBlock(c.block)
	if err != nil || !c.escaped {
		return p, err
	}
	p = append([]byte(nil), p...)
	jbd2.Unescape(p)
	return p, nil
}

// transaction is one transaction as it is read, until its commit block shows that it is whole.
type transaction struct {
	sequence jbd2.Sequence
	copies   []loggedCopy
	revokes  []block.Number
	sumV1    uint32
}

type loggedCopy struct {
	home block.Number
	at   copyInLog
	bad  error // the copy does not match its checksum
}

// errLogEnd ends the scan: the block is no part of the next transaction.
var errLogEnd = errors.New("end of the log")

// scan walks the log from its start to the first transaction that is not whole, by the kernel's rules (fs/jbd2,
// recovery; ext4 doc, Journal): a checksum that is wrong in a commit block ends the log where a crash explains it (the
// block is older than the transaction before) and is an error otherwise.
func (l *log) scan() error {
	whole, err := l.transactions()
	if err != nil {
		return err
	}
	return l.apply(whole)
}

// transactions are the whole transactions of the log, in order.
func (l *log) transactions() (whole []transaction, err error) {
	l.next = l.super.Sequence
	var lastTime time.Time
	at := l.super.Start
	budget := l.super.End() - l.super.First // blocks that one turn of the ring has
	for {
		tx := transaction{sequence: l.next, sumV1: jbd2.SumV1Seed}
		var committed time.Time
		at, committed, err = l.transaction(&tx, at, &budget, lastTime)
		if errors.Is(err, errLogEnd) {
			if mutant.Off(mutant.W5) && len(tx.copies) > 0 {
				whole = append(whole, tx)
			}
			break
		}
		if err != nil {
			return nil, err
		}
		lastTime = committed
		whole = append(whole, tx)
		l.next++
	}
	if l.serial {
		if err := l.checkEnd(); err != nil {
			return nil, err
		}
	}
	return whole, nil
}

// checkEnd looks for blocks of transactions behind the end of a serial log. A crash leaves none: sequences only grow,
// and the one at the end would have been durable before. So they show that a block before them is damaged.
func (l *log) checkEnd() error {
	for n := l.super.First; n < l.super.End(); n++ {
		p, err := l.block(n)
		if err != nil {
			return err
		}
		if h, ok := jbd2.DecodeHeader(p); ok && l.next.Before(h.Sequence) && !mutant.Off(mutant.LogDamage) {
			return ondisk.Corruptf(fmt.Sprintf("transaction %d of the log", l.next),
				"is damaged, as block %d has a later one", n)
		}
	}
	return nil
}

// apply collects the revoked blocks of all transactions, and then the newest copy of each block that is not revoked in
// its own transaction or a later one.
func (l *log) apply(whole []transaction) error {
	l.newest = map[block.Number]copyInLog{}
	l.revoked = map[block.Number]jbd2.Sequence{}
	for _, tx := range whole {
		for _, home := range tx.revokes {
			l.revoked[home] = tx.sequence
		}
	}
	for _, tx := range whole {
		for _, c := range tx.copies {
			if last, ok := l.revoked[c.home]; ok && !last.Before(tx.sequence) {
				continue
			}
			if c.bad != nil {
				return c.bad
			}
			l.newest[c.home] = c.at
		}
	}
	return nil
}

// transaction reads one transaction from block at on and returns the block behind it.
func (l *log) transaction(tx *transaction, at uint32, budget *uint32, last time.Time) (uint32, time.Time, error) {
	for {
		if *budget == 0 {
			return at, last, errLogEnd
		}
		p, err := l.block(at)
		if err != nil {
			return at, last, err
		}
		h, ok := jbd2.DecodeHeader(p)
		if !ok || h.Sequence != tx.sequence {
			return at, last, errLogEnd
		}
		if err := l.once(at); err != nil {
			return at, last, err
		}
		at = l.advance(at, budget)
		switch h.Type {
		case jbd2.TypeDescriptor:
			if at, err = l.descriptor(tx, p, at, budget); err != nil {
				return at, last, err
			}
		case jbd2.TypeRevoke:
			homes, err := l.super.DecodeRevoke(tx.sequence, p)
			if err != nil {
				return at, last, l.stale(tx, err, at, *budget)
			}
			tx.revokes = append(tx.revokes, homes...)
		case jbd2.TypeCommit:
			committed, err := l.commit(tx, p, last)
			return at, committed, err
		default:
			return at, last, errLogEnd
		}
	}
}

// checkHomes refuses copies of blocks that are not on the image.
func (l *log) checkHomes(limit block.Number) error {
	for home := range l.newest {
		if home >= limit {
			return outside("journal", home, limit)
		}
	}
	return nil
}

func outside(where string, home, limit block.Number) error {
	return ondisk.Corruptf(where, "names %v of %d", home, uint64(limit))
}

func (l *log) advance(at uint32, budget *uint32) uint32 {
	*budget--
	if at+1 >= l.super.End() {
		return l.super.First
	}
	return at + 1
}

// descriptor adds the blocks that a descriptor block names, and that follow it.
func (l *log) descriptor(tx *transaction, p []byte, at uint32, budget *uint32) (uint32, error) {
	tags, err := l.super.DecodeDescriptor(tx.sequence, p)
	if err != nil {
		return at, l.stale(tx, err, at, *budget)
	}
	tx.sumV1 = jbd2.SumV1(tx.sumV1, p)
	for _, tag := range tags {
		if *budget == 0 {
			return at, errLogEnd
		}
		place, err := l.place(at)
		if err != nil {
			return at, err
		}
		data, err := l.device.ReadBlock(place)
		if err != nil {
			return at, fmt.Errorf("journal block %d: %w", at, err)
		}
		tx.sumV1 = jbd2.SumV1(tx.sumV1, data)
		c := loggedCopy{
			home: tag.Home,
			at:   copyInLog{place, tag.Escaped},
			bad:  l.super.CheckData(tx.sequence, tag, data),
		}
		if c.bad == nil && tag.Home >= l.limit {
			c.bad = outside(fmt.Sprintf("journal transaction %d", tx.sequence), tag.Home, l.limit)
		}
		tx.copies = append(tx.copies, c)
		at = l.advance(at, budget)
	}
	return at, nil
}

// commit checks a commit block against the transaction that it ends, and returns its time.
func (l *log) commit(tx *transaction, p []byte, last time.Time) (time.Time, error) {
	c, err := l.super.DecodeCommit(tx.sequence, p)
	if err == nil && c.HasV1 && c.ChecksumV1 != tx.sumV1 {
		err = ondisk.Checksum(fmt.Sprintf("journal transaction %d", tx.sequence), c.ChecksumV1, tx.sumV1)
	}
	if err == nil {
		return c.Time, nil
	}
	if c.Time.Before(last) || l.super.Incompat&jbd2.IncompatAsyncCommit != 0 {
		return last, errLogEnd // left over from an earlier turn, or never written in full
	}
	return last, fmt.Errorf(
		"%w; mount with -o norecovery to see the files without the journal, or repair the image with e2fsck",
		err,
	)
}

// stale decides what a descriptor or revocation with a wrong checksum is: where no commit block of its transaction
// follows, what was cut off by the crash; otherwise damage.
func (l *log) stale(tx *transaction, damage error, at uint32, budget uint32) error {
	for budget > 0 {
		p, err := l.block(at)
		if err != nil {
			return err
		}
		if h, ok := jbd2.DecodeHeader(p); ok {
			if h.Sequence != tx.sequence {
				return errLogEnd
			}
			if h.Type == jbd2.TypeCommit {
				return fmt.Errorf(
					"%w; mount with -o norecovery to see the files without the journal, or repair the image with e2fsck",
					damage,
				)
			}
		}
		at = l.advance(at, &budget)
	}
	return errLogEnd
}
