package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// op is one attempt at a change: a transaction, and what it has reserved in memory, which goes back where it does not commit.
type op struct {
	w    *Writable
	tx   Tx
	fs   *FS
	cred Cred
	now  time.Time
	what string // the operation, for failpoints

	took    []run // blocks reserved
	gave    []run // blocks freed
	inos    []taken
	freed   []taken
	orphans []orphanChange
	turns   uint64 // features turned on, as Writable.turned has them
	sync    bool   // the change is to be durable when the operation returns

	promised bool // what is done now may not fail for want of a block: nodes of extent trees may use what is kept for them
}

// run is blocks that follow one another.
type run struct {
	start block.Number
	n     uint32
}

// taken is an inode that was allocated or freed.
type taken struct {
	ino Ino
	dir bool
}

// opKind is what an operation does, for statistics.
type opKind uint8

const (
	opCreate opKind = iota
	opRemove
	opRename
	opLink
	opWrite
	opSetattr
	opXattr
	opAllocate
	opEvict
	opAtime
	opKinds
)

var opNames = [opKinds]string{"create", "remove", "rename", "link", "write", "setattr", "xattr", "fallocate", "evict", "atime"}

// OpStats is what came of the operations of one kind.
type OpStats struct {
	Name   string        `json:"name"`
	Done   int64         `json:"done"`
	Failed int64         `json:"failed"`
	Merged int64         `json:"merged"`
	Aborts int64         `json:"aborts"`
	Waited time.Duration `json:"waited_ns"`
}

// counters count what was done, by kind.
type counters [opKinds]struct{ done, failed, merged, aborts, waited atomic.Int64 }

// note counts an operation that ended: done, or failed with an error.
func (c *counters) note(k opKind, out Outcome, err error) {
	if err != nil {
		c[k].failed.Add(1)
	} else {
		c[k].done.Add(1)
	}
	c.lost(k, out)
}

// lost counts what attempts have cost.
func (c *counters) lost(k opKind, out Outcome) {
	if out.Merged {
		c[k].merged.Add(1)
	}
	if out.Aborts > 0 {
		c[k].aborts.Add(int64(out.Aborts))
	}
	if out.Waited > 0 {
		c[k].waited.Add(int64(out.Waited))
	}
}

// Operations tells what was done since the file system was opened, by kind of operation.
func (w *Writable) Operations() []OpStats {
	out := make([]OpStats, opKinds)
	for k := range out {
		c := &w.counts[k]
		out[k] = OpStats{opNames[k], c.done.Load(), c.failed.Load(), c.merged.Load(), c.aborts.Load(), time.Duration(c.waited.Load())}
	}
	return out
}

// errStuck ends an attempt that ran out of blocks while others may become usable when the open epoch is durable.
var errStuck = fmt.Errorf("%w: until the open epoch is durable", ErrNoSpace)

// do runs fn as one transaction, again where another one came first. Where blocks run out it makes room once and tries again.
func (w *Writable) do(kind opKind, cred Cred, fn func(*op) error) error {
	if err := w.refused(); err != nil {
		return err
	}
	for forced, tries := false, 0; ; tries++ {
		o := &op{w: w, cred: cred, what: opNames[kind]}
		out, err := w.attempt(o, fn)
		if err == nil {
			w.counts.note(kind, out, nil)
			o.reach("commit")
			o.settle(out.Seq)
			w.turned.Or(o.turns)
			if o.sync && kind != opAtime && kind != opEvict {
				return w.store.Sync(context.Background())
			}
			return nil
		}
		o.undo()
		switch {
		case errors.Is(err, errOld) && tries < maxOld:
			out.Aborts++
			w.counts.lost(kind, out)
			continue
		case errors.Is(err, errStuck) && !forced:
			forced = true
			if err = w.makeRoom(); err == nil {
				continue
			}
		case errors.Is(err, errStuck):
			err = w.noSpace()
		}
		w.counts.note(kind, out, err)
		if failed := w.store.Err(); failed != nil {
			return fmt.Errorf("%w: %w", ErrFailed, failed)
		}
		return err
	}
}

// attempt runs fn as one transaction.
func (w *Writable) attempt(o *op, fn func(*op) error) (Outcome, error) {
	return w.store.Update(context.Background(), func(tx Tx) error {
		o.begin(tx)
		defer o.w.putView(o.fs)
		err := fn(o)
		if err == nil && len(o.orphans) > 0 {
			changes := o.orphans
			tx.Sequenced(func(seq block.Seq) { w.orphans.note(seq, changes) })
		}
		return err
	})
}

// makeRoom makes the open epoch durable, which may let freed blocks be used (W4), and waits a moment for readers whose snapshots may keep them.
func (w *Writable) makeRoom() error {
	if w.mature(); w.waiting.blocks.Load() == 0 {
		return nil
	}
	if err := w.store.Sync(context.Background()); err != nil {
		return err
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		w.mature()
		if w.waiting.blocks.Load() == 0 || time.Since(began) > 100*time.Millisecond {
			return nil
		}
	}
}

// noSpace is ErrNoSpace, and what keeps blocks that were freed, if anything does.
func (w *Writable) noSpace() error {
	kept := w.waiting.blocks.Load()
	if name, ok := w.store.Oldest(); ok && kept > 0 {
		return fmt.Errorf("%w: %d freed blocks are kept for the snapshot of %s", ErrNoSpace, kept, name)
	}
	return ErrNoSpace
}

// errOld ends an attempt whose snapshot is older than the freeing of what it has reserved: a newer one sees that it is free.
var errOld = ondisk.Corruptf("bitmap", "is not what the file system has in memory: check the image with e2fsck")

// maxOld is after how many such attempts the bitmap must be wrong.
const maxOld = 100

// reach tells that the operation has come behind a stage.
func (o *op) reach(stage string) { failpoint.At(o.what, stage) }

// begin begins an attempt. What the one before has reserved goes back.
func (o *op) begin(tx Tx) {
	o.undo()
	o.turns, o.sync, o.promised = 0, false, false
	o.tx, o.fs, o.now = tx, o.w.view(tx), o.w.opts.Now()
}

func (o *op) undo() {
	for _, r := range o.took {
		o.w.release(r)
	}
	for _, t := range o.inos {
		o.w.releaseInode(t)
	}
	for _, t := range o.freed {
		o.w.keepInode(t)
	}
	for _, r := range o.gave {
		o.w.eachPart(r, func(gr *group, _ uint32, part run) { gr.abandon(part) })
	}
	o.took, o.gave, o.inos, o.freed, o.orphans = o.took[:0], o.gave[:0], o.inos[:0], o.freed[:0], nil
}

// settle makes what a committed attempt freed usable: inodes at once, blocks when the commit is durable.
func (o *op) settle(seq block.Seq) {
	for _, t := range o.freed {
		o.w.releaseInode(t)
	}
	for _, t := range o.inos {
		o.w.keepInode(t)
	}
	for _, r := range o.took {
		o.w.eachPart(r, func(gr *group, _ uint32, part run) { gr.unpin(int(part.n)) })
	}
	if len(o.gave) > 0 {
		o.w.waiting.add(seq, o.gave)
		o.w.mature()
	}
}

// inode reads a node that the operation is about.
func (o *op) inode(node Node) (*Inode, error) {
	n := new(Inode)
	if err := o.fs.ReadNode(n, node); err != nil {
		return nil, err
	}
	o.tx.Group(uint64(n.Ino))
	l := &o.w.opts
	if mutant.Off(mutant.SyncFlags) {
		return n, nil
	}
	o.sync = o.sync || l.Sync || n.Has(disk.InodeSync) || n.IsDir() && (l.DirSync || n.Has(disk.InodeDirSync))
	return n, nil
}

// reload reads an inode again, after it was edited.
func (o *op) reload(n *Inode) error { return o.fs.ReadInode(n, n.Ino) }

// slot is the place of an inode: its block, and the byte in it.
func (o *op) slot(ino Ino) (block.Number, uint32, error) {
	g, nth, offset := o.w.super.InodeBlock(ino)
	table, err := o.fs.inodeTable(g)
	return table + nth, uint32(offset), err
}

// edit makes an edit of a block of metadata.
func (o *op) edit(n block.Number, kind uint8, owner uint64, e merge.Edit) error {
	if err := o.tx.Edit(n, e); err != nil {
		return explain(n, err)
	}
	return o.tx.Tag(n, kind, owner)
}

// explain turns the refusal of an edit into an error of the file system.
func explain(n block.Number, err error) error {
	switch {
	case errors.Is(err, disk.ErrNameExists):
		return ErrExists
	case errors.Is(err, disk.ErrNoName):
		return ErrNotExist
	case errors.Is(err, merge.ErrAsserted):
		return fmt.Errorf("%v: %w", n, errOld)
	case errors.Is(err, merge.ErrBounds):
		return ondisk.Corruptf(fmt.Sprintf("block %d", uint64(n)), "a count leaves its bounds: check the image with e2fsck")
	}
	return err
}

// editInode makes an edit of an inode's slot. make gets the slot's offset in the block.
func (o *op) editInode(ino Ino, make func(at uint32) merge.Edit) error {
	n, at, err := o.slot(ino)
	if err != nil {
		return err
	}
	g := uint64(ino-1) / uint64(o.w.super.InodesPerGroup)
	return o.edit(n, kindInodes, g, make(at))
}

// setInode sets bytes of an inode's slot.
func (o *op) setInode(ino Ino, off uint32, data []byte) error {
	return o.editInode(ino, func(at uint32) merge.Edit { return merge.Set(at+off, data) })
}

// dependInode makes the operation depend on bytes of an inode's slot.
func (o *op) dependInode(ino Ino, off, length uint32) error {
	n, at, err := o.slot(ino)
	if err != nil {
		return err
	}
	return o.tx.Depend(n, merge.Range{Off: at + off, Len: length})
}

// dependMap makes the operation depend on where the file's blocks are: the root of its tree, and its flags. The nodes below are depended on as they
// are read.
func (o *op) dependMap(n *Inode) error {
	if err := o.dependInode(n.Ino, disk.OffBlock, disk.BlockBytes); err != nil {
		return err
	}
	return o.dependInode(n.Ino, disk.OffFlags, 4)
}

// alive checks that a directory is not removed until the operation commits.
func (o *op) alive(dir *Inode) error {
	if dir.Links == 0 {
		return ErrNotExist
	}
	if mutant.Off(mutant.D1) {
		return nil
	}
	return o.editInode(dir.Ino, func(at uint32) merge.Edit {
		f := merge.Field{Off: at + disk.OffLinks, Width: 2}
		return merge.Check(func(p []byte) bool { return f.Get(p) > 0 })
	})
}

// stamp sets times of an inode to now. Two operations that do so at a time both stand: the later time remains.
func (o *op) stamp(n *Inode, lows ...int) error {
	for _, low := range lows {
		if timeAt(n, low).Equal(o.now) {
			continue
		}
		if err := o.stampTo(n, low, o.now, true); err != nil {
			return err
		}
	}
	return nil
}

// extraOf are the words with the rest of each time.
var extraOf = map[int]int{disk.OffAtime: disk.OffAtimeExtra, disk.OffMtime: disk.OffMtimeExtra, disk.OffCtime: disk.OffCtimeExtra}

func timeAt(n *Inode, low int) time.Time {
	switch low {
	case disk.OffAtime:
		return n.Atime
	case disk.OffMtime:
		return n.Mtime
	}
	return n.Ctime
}

// stampTo sets one time of an inode. raise says that a later time, which somebody else sets meanwhile, may stay.
func (o *op) stampTo(n *Inode, low int, t time.Time, raise bool) error {
	extra := extraOf[low]
	wide := n.HasField(extra)
	sec, more := disk.PackTime(t, wide)
	if raise && timeAt(n, low).After(t) {
		raise = false // set to the future by hand
	}
	if raise {
		return o.editInode(n.Ino, func(at uint32) merge.Edit {
			lo := merge.Field{Off: at + uint32(low), Width: 4, Signed: true}
			if !wide {
				return merge.Max([]merge.Field{lo}, []uint64{uint64(sec)})
			}
			hi := at + uint32(extra)
			return merge.Max([]merge.Field{{Off: hi, Width: 4, Bits: 2}, lo, {Off: hi, Width: 4, Shift: 2}},
				[]uint64{uint64(more & 3), uint64(sec), uint64(more >> 2)})
		})
	}
	if err := o.setWord(n.Ino, uint32(low), sec); err != nil || !wide {
		return err
	}
	return o.setWord(n.Ino, uint32(extra), more)
}

// setWord sets a field of four bytes.
func (o *op) setWord(ino Ino, off, v uint32) error {
	return o.setInode(ino, off, binary.LittleEndian.AppendUint32(nil, v))
}

// addLinks adds to an inode's link count, within bounds.
func (o *op) addLinks(n *Inode, delta int, low, high uint64) error {
	err := o.editInode(n.Ino, func(at uint32) merge.Edit {
		return merge.Add(merge.Field{Off: at + disk.OffLinks, Width: 2}, int64(delta), low, high)
	})
	if err == nil {
		n.Links = uint16(int(n.Links) + delta)
	}
	return err
}

// addBlocks adds file-system blocks to what an inode occupies.
func (o *op) addBlocks(n *Inode, delta int64) error {
	if delta == 0 {
		return nil
	}
	unit := int64(o.w.super.BlockSize) / 512
	if n.Has(disk.InodeHugeFile) {
		unit = 1
	}
	n.Blocks = uint64(int64(n.Blocks) + delta*int64(o.w.super.BlockSize)/512)
	return o.editInode(n.Ino, func(at uint32) merge.Edit {
		lo := merge.Field{Off: at + disk.OffBlocksLow, Width: 4}
		hi := merge.Field{Off: at + disk.OffBlocksHigh, Width: 2}
		if o.w.super.ROCompat&disk.ROCompatHugeFile == 0 || n.Blocks < 1<<31 { // the upper half stays 0
			return merge.Add(lo, delta*unit, 0, 1<<32-1)
		}
		return merge.Reapply(func(p []byte) error {
			v := int64(hi.Get(p)<<32|lo.Get(p)) + delta*unit
			if v < 0 || v >= 1<<48 {
				return merge.ErrBounds
			}
			lo.Put(p, uint64(v))
			hi.Put(p, uint64(v)>>32)
			return nil
		})
	})
}

// setSize sets a file's size. grow says that a greater size, which somebody else sets meanwhile, may stay.
func (o *op) setSize(n *Inode, size uint64, grow bool) error {
	n.Size = size
	if err := o.useLargeFile(size); err != nil {
		return err
	}
	if grow {
		return o.editInode(n.Ino, func(at uint32) merge.Edit {
			return merge.Max([]merge.Field{{Off: at + disk.OffSizeHigh, Width: 4}, {Off: at + disk.OffSizeLow, Width: 4}}, []uint64{size >> 32, size & (1<<32 - 1)})
		})
	}
	if err := o.setWord(n.Ino, disk.OffSizeLow, uint32(size)); err != nil {
		return err
	}
	return o.setWord(n.Ino, disk.OffSizeHigh, uint32(size>>32))
}

// owner64 is the owner of a block that belongs to an inode, for the sealer.
func owner64(n *Inode) uint64 { return uint64(n.Generation)<<32 | uint64(n.Ino) }

// result is a copy of an inode that outlives the transaction.
func (o *op) result(ino Ino) (Inode, error) {
	var n Inode
	if err := o.fs.ReadInode(&n, ino); err != nil {
		return n, err
	}
	n.Block = append([]byte(nil), n.Block...)
	n.XattrArea, n.table, n.fs = nil, nil, o.w.base
	return n, nil
}
