package ext4

import (
	"errors"
	"fmt"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// op is one attempt at a change: a transaction, and what it has reserved in memory, which goes back where it does not
// commit.
type op struct {
	w    *Writable
	tx   Tx
	fs   *FS
	cred Cred
	now  time.Time
	what string // the operation, for failpoints

	took    []run // reserved
	gave    []run // freed
	inos    []taken
	freed   []taken
	orphans []orphanChange
	grown   map[block.Number]uint64 // blocks that directories got, with these
	turns   uint64                  // features turned on, as Writable.turned has them
	sync    bool                    // the change is to be durable when the operation returns
	usage   []usage
	owned   Ino // whose owner the operation depends on

	// what is done now may not fail for want of a block: nodes of extent trees may use what is kept for them
	promised bool
}

// run is clusters that follow one another.
type run struct {
	start cluster
	n     uint32
}

// taken is an inode that was allocated or freed.
type taken struct {
	ino Ino
	dir bool
}

// do runs fn as one transaction, and again after a conflict. If blocks run out it makes room once and tries again.
func (w *Writable) do(kind opKind, cred Cred, fn func(*op) error) error {
	if err := w.refused(); err != nil {
		return err
	}
	for forced, tries := false, 0; ; tries++ {
		o := &op{w: w, cred: cred, what: opNames[kind]}
		out, err := w.attempt(o, fn)
		if err == nil {
			w.counts.record(kind, out, nil)
			o.reach("commit")
			o.settle(out.Seq)
			if cred.Committed != nil && out.Seq != 0 {
				cred.Committed(uint64(out.Seq))
			}
			w.turned.Or(o.turns)
			if o.sync && kind != opAtime && kind != opEvict {
				return w.syncFor(cred)
			}
			return nil
		}
		o.undo()
		var missing *missingQuotas
		var half *halfCut
		switch {
		case errors.As(err, &half) && tries < maxOld:
			if err = w.finishTruncate(half.ino); err == nil {
				continue
			}
		case errors.As(err, &missing) && tries < maxOld:
			if err = w.acquireQuotas(missing.keys); err == nil {
				continue
			}
		case errors.Is(err, errOld) && tries < maxOld:
			out.Aborts++
			w.counts.lost(kind, out)
			continue
		case errors.Is(err, errStuck) && !forced:
			forced = true
			defer w.alloc.trims.need()()
			if err = w.alloc.makeRoom(cred.context()); err == nil {
				continue
			}
		case errors.Is(err, errStuck):
			err = w.alloc.noSpace()
		}
		w.counts.record(kind, out, err)
		if failed := w.store.Err(); failed != nil {
			return fmt.Errorf("%w: %w", ErrFailed, failed)
		}
		return err
	}
}

// syncFor makes a change durable that is done. If the request has ended meanwhile that is no error: the change stands.
func (w *Writable) syncFor(cred Cred) error {
	err := w.store.Sync(cred.context())
	if err != nil && cred.context().Err() != nil {
		return nil
	}
	return err
}

// attempt runs fn as one transaction.
func (w *Writable) attempt(o *op, fn func(*op) error) (Outcome, error) {
	return w.store.Update(o.cred.context(), func(tx Tx) error {
		o.begin(tx)
		defer o.w.views.close(o.fs)
		err := fn(o)
		if err == nil && len(o.usage) > 0 {
			err = o.applyUsage()
		}
		if err == nil && len(o.orphans) > 0 {
			changes := o.orphans
			tx.Sequenced(func(seq block.Seq) { w.orphans.record(seq, changes) })
		}
		if err == nil && len(o.grown) > 0 && w.opts.Log == LogNone {
			blocks := o.grown
			tx.Sequenced(func(seq block.Seq) { w.grown.record(seq, blocks) })
		}
		return err
	})
}

// errOld ends an attempt whose snapshot is older than the freeing of what it has reserved: a newer one sees that it is
// free.
var errOld = ondisk.Corruptf("bitmap", "is not what the file system has in memory: check the image with e2fsck")

// maxOld is after how many such attempts the bitmap must be wrong.
const maxOld = 100

// reach marks a stage that the operation has completed.
func (o *op) reach(stage string) { failpoint.At(o.what, stage) }

// begin begins an attempt. Reservations of the one before go back.
func (o *op) begin(tx Tx) {
	o.undo()
	o.turns, o.sync, o.promised = 0, false, false
	o.usage, o.owned = o.usage[:0], 0
	o.tx, o.fs, o.now = tx, o.w.views.open(tx), o.w.opts.Now()
}

func (o *op) undo() {
	for _, r := range o.took {
		o.w.alloc.release(r)
	}
	for _, t := range o.inos {
		o.w.alloc.releaseInode(t)
	}
	for _, t := range o.freed {
		o.w.alloc.keepInode(t)
	}
	for _, r := range o.gave {
		o.w.alloc.eachPart(r, func(gr *group, _ uint32, part run) { gr.abandon(part) })
	}
	o.took, o.gave, o.inos, o.freed, o.orphans = o.took[:0], o.gave[:0], o.inos[:0], o.freed[:0], nil
	o.grown = nil
}

// settle makes what a committed attempt freed usable: inodes at once, blocks when the commit is durable.
func (o *op) settle(seq block.Seq) {
	for _, t := range o.freed {
		o.w.alloc.releaseInode(t)
	}
	for _, t := range o.inos {
		o.w.alloc.keepInode(t)
	}
	for _, r := range o.took {
		o.w.alloc.eachPart(r, func(gr *group, _ uint32, part run) { gr.release(int(part.n)) })
	}
	if len(o.gave) > 0 {
		o.w.alloc.waiting.add(seq, o.gave)
		o.w.alloc.reuseFreed()
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

// edit makes an edit of a block of metadata, or of a file.
func (o *op) edit(n block.Number, kind uint8, owner uint64, e merge.Edit) error {
	switch kind {
	case kindInodes, kindBlockMap, kindInodeMap, kindGroupDesc, kindSuper:
	default:
		if err := o.w.own.check(n, 1); err != nil {
			return err
		}
	}
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
		return ondisk.Corruptf(
			fmt.Sprintf("block %d", uint64(n)),
			"a count leaves its bounds: check the image with e2fsck",
		)
	}
	return err
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
