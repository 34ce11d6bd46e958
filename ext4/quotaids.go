package ext4

import (
	"errors"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// acquireQuotas finds the entries of ids, and makes those that are not there.
func (w *Writable) acquireQuotas(keys []quotaKey) error {
	found := true
	err := w.View(func(fs *FS) error {
		for _, k := range keys {
			q, err := fs.quotaFile(k.typ)
			if err != nil {
				return err
			}
			at, _, err := q.find(k.id)
			switch {
			case err == nil:
				w.quotas.remember(k, at)
			case errors.Is(err, ErrNotExist):
				found = false
			default:
				return err
			}
		}
		return nil
	})
	if err != nil || found {
		return err
	}
	return w.insertQuotas(keys)
}

// insertQuotas gives ids entries, where they have none, in one transaction.
func (w *Writable) insertQuotas(keys []quotaKey) error {
	w.quotas.tree.Lock()
	defer w.quotas.tree.Unlock()
	places := make([]quotaPlace, len(keys))
	err := w.do(opQuota, Cred{}, func(o *op) error {
		for i, k := range keys {
			q, err := o.quotaTree(k.typ)
			if err != nil {
				return err
			}
			places[i], _, err = q.find(k.id)
			if errors.Is(err, ErrNotExist) {
				places[i], err = q.insert(k.id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, k := range keys {
		w.quotas.remember(k, places[i])
	}
	return nil
}

// noteUnused notes an id that a commit may have left without usage and limits.
func (q *quotas) noteUnused(k quotaKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.unused) < maxQuotaPlaces && k.id != 0 {
		q.unused[k] = true
	}
}

// dropUnusedQuotas removes the entries of ids that have neither usage nor limits, as the kernel does when it forgets an
// id.
func (w *Writable) dropUnusedQuotas() error {
	q := &w.quotas
	q.mu.Lock()
	keys := slices.SortedFunc(maps.Keys(q.unused), func(a, b quotaKey) int {
		if a.typ != b.typ {
			return int(a.typ) - int(b.typ)
		}
		return int(int64(a.id) - int64(b.id))
	})
	clear(q.unused)
	q.mu.Unlock()
	for _, k := range keys {
		if err := w.dropUnusedQuota(k); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writable) dropUnusedQuota(k quotaKey) error {
	w.quotas.tree.Lock()
	defer w.quotas.tree.Unlock()
	return w.do(opQuota, Cred{}, func(o *op) error {
		q, err := o.quotaTree(k.typ)
		if err != nil {
			return err
		}
		_, d, err := q.find(k.id)
		if errors.Is(err, ErrNotExist) || err == nil && (d != (disk.Dquot{ID: k.id})) {
			return nil
		}
		if err != nil {
			return err
		}
		o.what = "drop a quota"
		return q.remove(k.id)
	})
}

// ignoresLimits reports whether limits of quotas do not hold for the user of a request (CAP_SYS_RESOURCE).
func (a *allocator) ignoresLimits(c Cred) bool {
	if c.Thread == 0 || a.rights == nil {
		return c.UID == 0
	}
	return a.rights(c.Thread, 0)
}

// QuotaLimits are limits of an id, or which of them to set: those that are not nil. Those of space are in units of
// 1,024 bytes; 0 is no limit.
type QuotaLimits struct {
	SpaceSoft, SpaceHard, InodeSoft, InodeHard *uint64
}

// SetQuota sets limits of an id. Grace time begins where usage is over a soft limit already.
func (w *Writable) SetQuota(t disk.QuotaType, id uint32, l QuotaLimits) error {
	if t >= disk.QuotaTypes || !w.quotas.on[t] {
		return ondisk.ErrUnsupported
	}
	k := quotaKey{t, id}
	if err := w.insertQuotas([]quotaKey{k}); err != nil {
		return err
	}
	return w.do(opQuota, Cred{}, func(o *op) error {
		at, ok := w.quotas.place(k)
		if !ok {
			return &missingQuotas{[]quotaKey{k}}
		}
		grace, now := w.quotas.grace[t], o.now.Unix()
		o.tx.Sequenced(func(block.Seq) { w.quotas.noteUnused(k) })
		return o.edit(at.block, kindPlain, 0, merge.Reapply(func(p []byte) error {
			d, ok := disk.DecodeDquot(p[at.off:])
			if !ok || d.ID != id {
				return errOld
			}
			l.set(&d, now, grace)
			d.Encode(p[at.off:])
			return nil
		}))
	})
}

// set changes the limits of an entry (kernel, fs/quota/dquot.c: do_set_dqblk).
func (l QuotaLimits) set(d *disk.Dquot, now int64, grace graces) {
	for _, f := range []struct{ to, from *uint64 }{
		{&d.SpaceSoft, l.SpaceSoft}, {&d.SpaceHard, l.SpaceHard}, {&d.InodeSoft, l.InodeSoft}, {&d.InodeHard, l.InodeHard},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	timer := func(used, soft uint64, seconds uint32) int64 {
		if soft == 0 || used <= soft {
			return 0
		}
		return now + int64(seconds)
	}
	if l.SpaceSoft != nil {
		d.SpaceTime = timer(d.Space, spaceLimit(d.SpaceSoft), grace.space)
	}
	if l.InodeSoft != nil {
		d.InodeTime = timer(d.Inodes, d.InodeSoft, grace.inodes)
	}
}
