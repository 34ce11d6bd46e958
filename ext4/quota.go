package ext4

import (
	"errors"
	"fmt"
	"sync"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// quotas keep the space and the inodes of each user, group and project on the image, where the feature quota is on. An
// operation notes what it changes, and its transaction changes the entries at its end: by additions, so that two
// operations of one id both stand.
//
//	addBlocks, newInode, freeInode, chown ─▶ op.charge ─▶ op.usage ─▶ op.applyUsage ─▶ edits of entries
//	                                                            └─ no entry yet ─▶ Writable.acquireQuotas
//
// An id gets its entry, without usage, by a transaction of its own before the first one that needs it, as in the
// kernel: its changes of the tree would conflict with those of other new ids.
type quotas struct {
	on     [disk.QuotaTypes]bool // the image has this type
	any    bool
	limits [disk.QuotaTypes]bool // limits are enforced
	grace  [disk.QuotaTypes]graces

	tree sync.Mutex // held by who changes the tree of a file, across the transaction

	mu     sync.Mutex // guards the rest; a leaf
	places map[quotaKey]quotaPlace
	unused map[quotaKey]bool // ids that may have no usage any more
}

// graces are for how many seconds a soft limit may be exceeded.
type graces struct{ space, inodes uint32 }

// quotaKey names an id.
type quotaKey struct {
	typ disk.QuotaType
	id  uint32
}

// maxQuotaPlaces bounds the places and the unused ids that are remembered.
const maxQuotaPlaces = 1 << 16

// usage is what an operation adds to an id.
type usage struct {
	key           quotaKey
	space, inodes int64
	promised      int64 // of space: limits do not refuse it
}

// missingQuotas are ids without an entry.
type missingQuotas struct{ keys []quotaKey }

func (m *missingQuotas) Error() string {
	return fmt.Sprintf("no quota of %s %d", m.keys[0].typ, m.keys[0].id)
}

// QuotaOptions say which limits of quotas are enforced: all that the image has, or those of the types asked for, which
// it must have, or none. Usage is counted either way.
type QuotaOptions struct {
	Asked [disk.QuotaTypes]bool
	Off   bool
}

// enforced reports whether limits of a type are enforced.
func (q QuotaOptions) enforced(t disk.QuotaType) bool {
	return !q.Off && (q.Asked[t] || q.Asked == [disk.QuotaTypes]bool{})
}

// openQuotas reads the headers of the files with quotas.
func (w *Writable) openQuotas() error {
	q := &w.quotas
	q.places, q.unused = map[quotaKey]quotaPlace{}, map[quotaKey]bool{}
	for t := range disk.QuotaTypes {
		f, err := w.base.quotaFile(t)
		if w.super.QuotaIno(t) == 0 {
			if w.opts.Quotas.Asked[t] {
				return &ondisk.UnsupportedError{
					Feature: fmt.Sprintf("limits of %ss on an image that does not count them", t),
					Advice:  "give it the feature with tune2fs -O quota (for projects: -O project, -Q prjquota)",
				}
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("%s quota: %w: repair the image with e2fsck", t, err)
		}
		q.on[t], q.any = true, true
		q.limits[t] = w.opts.Quotas.enforced(t)
		q.grace[t] = graces{f.header.SpaceGrace, f.header.InodeGrace}
	}
	return nil
}

func (q *quotas) place(k quotaKey) (quotaPlace, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at, ok := q.places[k]
	return at, ok
}

func (q *quotas) remember(k quotaKey, at quotaPlace) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.places) >= maxQuotaPlaces {
		clear(q.places)
	}
	q.places[k] = at
}

func (q *quotas) forget(k quotaKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.places, k)
}

// uncounted reports whether an inode is the file system's own, of which no quota counts anything (e2fsck,
// e2fsck/pass1.c).
func (fs *FS) uncounted(ino Ino) bool {
	return ino != RootIno && (ino < fs.super.FirstIno || fs.special(ino))
}

// quotaID is the id that an inode counts for.
func (n *Inode) quotaID(t disk.QuotaType) uint32 {
	return [disk.QuotaTypes]uint32{n.UID, n.GID, n.ProjectID}[t]
}

// charge notes bytes and inodes that an inode's owner, group and project have more. The operation depends on which
// those are.
func (o *op) charge(n *Inode, space, inodes int64) error {
	q := &o.w.quotas
	if !q.any || o.fs.uncounted(n.Ino) || n.Has(disk.InodeEAInode) { // values count for the inodes that have them
		return nil
	}
	if err := o.dependOwner(n); err != nil {
		return err
	}
	for t := range disk.QuotaTypes {
		if q.on[t] {
			u := o.usageOf(quotaKey{t, n.quotaID(t)})
			u.space, u.inodes = u.space+space, u.inodes+inodes
			if o.promised && space > 0 {
				u.promised += space
			}
		}
	}
	return nil
}

func (o *op) usageOf(k quotaKey) *usage {
	for i := range o.usage {
		if o.usage[i].key == k {
			return &o.usage[i]
		}
	}
	o.usage = append(o.usage, usage{key: k})
	return &o.usage[len(o.usage)-1]
}

// dependOwner makes the operation depend on an inode's owner, group and project.
func (o *op) dependOwner(n *Inode) error {
	if mutant.Off(mutant.QuotaOwner) || o.owned == n.Ino {
		return nil
	}
	o.owned = n.Ino
	fields := []struct{ off, length uint32 }{{disk.OffUIDLow, 2}, {disk.OffGIDLow, 2}, {disk.OffUIDHigh, 4}}
	for _, f := range fields {
		if err := o.dependInode(n.Ino, f.off, f.length); err != nil {
			return err
		}
	}
	if !o.w.quotas.on[disk.ProjectQuota] || !n.HasField(disk.OffProject) {
		return nil
	}
	return o.dependInode(n.Ino, disk.OffProject, 4)
}

// transfer gives an inode's usage to other ids, which change sets in n.
func (o *op) transfer(n *Inode, change func(n *Inode)) error {
	if !o.w.quotas.any {
		change(n)
		return nil
	}
	for _, f := range []struct{ off, length uint32 }{{disk.OffBlocksLow, 4}, {disk.OffBlocksHigh, 2}} {
		if err := o.dependInode(n.Ino, f.off, f.length); err != nil {
			return err
		}
	}
	inodes := int64(1)
	if n.HasXattrs() && o.w.super.Incompat&disk.IncompatEAInode != 0 {
		a, err := o.readXattrs(n)
		if err != nil {
			return err
		}
		values, _ := o.ownValues(n, append(a.inside, a.outside...))
		inodes += values
	}
	space := int64(n.Blocks) * 512
	if err := o.charge(n, -space, -inodes); err != nil {
		return err
	}
	change(n)
	return o.charge(n, space, inodes)
}

// applyUsage changes the entries of the ids whose usage the operation changes.
func (o *op) applyUsage() error {
	var missing []quotaKey
	for _, u := range o.usage {
		if u.space == 0 && u.inodes == 0 {
			continue
		}
		at, ok := o.w.quotas.place(u.key)
		if ok {
			var err error
			if ok, err = o.changeUsage(at, u); err != nil {
				return err
			}
		}
		if !ok {
			missing = append(missing, u.key)
		}
	}
	if missing != nil {
		return &missingQuotas{missing}
	}
	return nil
}

// changeUsage changes an entry, and reports whether it still is that of the id.
func (o *op) changeUsage(at quotaPlace, u usage) (bool, error) {
	q := &o.w.quotas
	p, err := o.fs.block(at.block)
	if err != nil {
		return false, err
	}
	d, ok := disk.DecodeDquot(p[at.off:])
	if !ok || d.ID != u.key.id {
		q.forget(u.key)
		return false, nil
	}
	c := usageChange{
		id:       u.key.id,
		space:    u.space,
		inodes:   u.inodes,
		limits:   q.limits[u.key.typ],
		promised: u.space <= u.promised,
		now:      o.now.Unix(),
		grace:    q.grace[u.key.typ],
	}
	next := d
	if err = c.run(&next); errors.Is(err, ErrQuota) && o.w.alloc.ignoresLimits(o.cred) {
		c.exempt = true
		err = c.run(&next)
	}
	if err != nil {
		return true, fmt.Errorf("%w of %s %d", err, u.key.typ, u.key.id)
	}
	if next.Space == 0 && next.Inodes == 0 && !next.Limited() {
		o.tx.Sequenced(func(block.Seq) { q.noteUnused(u.key) })
	}
	return true, o.editUsage(at, d, &c)
}

// editUsage makes the edits of a change: additions where that is all it is, else the kernel's rules on the newest
// bytes.
func (o *op) editUsage(at quotaPlace, d disk.Dquot, c *usageChange) error {
	if !c.adds(d) {
		return o.edit(at.block, kindPlain, 0, merge.Reapply(func(p []byte) error {
			d, ok := disk.DecodeDquot(p[at.off:])
			if !ok || d.ID != c.id {
				return errOld
			}
			if err := c.run(&d); err != nil {
				return err
			}
			d.Encode(p[at.off:])
			return nil
		}))
	}
	// whose entry it is, and its limits
	for _, r := range []merge.Range{{Len: disk.OffDquotInodes}, {Off: disk.OffDquotSpaceHard, Len: 16}} {
		r.Off += at.off
		if err := o.tx.Depend(at.block, r); err != nil {
			return err
		}
	}
	if least := c.least(); c.inodes != 0 || least > 0 {
		f := merge.Field{Off: at.off + disk.OffDquotInodes, Width: 8}
		most := c.most(c.inodes, d.InodeHard, c.exempt)
		if err := o.edit(at.block, kindPlain, 0, merge.Add(f, c.inodes, least, most)); err != nil {
			return err
		}
	}
	if c.space == 0 {
		return nil
	}
	f := merge.Field{Off: at.off + disk.OffDquotSpace, Width: 8}
	most := c.most(c.space, spaceLimit(d.SpaceHard), c.exempt || c.promised)
	return o.edit(at.block, kindPlain, 0, merge.Add(f, c.space, 0, most))
}
