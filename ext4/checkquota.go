package ext4

import (
	"fmt"
	"maps"
	"slices"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// quotaCheck is the usage of each id by the inodes that were found.
type quotaCheck map[quotaKey]usage

// count counts an inode for its owner, group and project.
func (c *checker) count(n *Inode) {
	if c.quotas != nil && !c.fs.uncounted(n.Ino) && !n.Has(disk.InodeEAInode) {
		c.countInodes(n, int64(n.Blocks)*512, 1)
	}
}

// countInodes counts bytes and inodes for the owner, group and project of one: the values of its attributes, too, if
// they lie in inodes of their own.
func (c *checker) countInodes(n *Inode, space, inodes int64) {
	if c.quotas == nil {
		return
	}
	for t := range disk.QuotaTypes {
		if c.s.QuotaIno(t) != 0 {
			k := quotaKey{t, n.quotaID(t)}
			u := c.quotas[k]
			u.space, u.inodes = u.space+space, u.inodes+inodes
			c.quotas[k] = u
		}
	}
}

// usage compares the entries of quotas with the inodes that were found.
func (c *checker) usage() error {
	for t := range disk.QuotaTypes {
		if c.s.QuotaIno(t) == 0 {
			continue
		}
		q, err := c.fs.quotaFile(t)
		if err != nil {
			if err := c.damage(t.String()+" quota", err); err != nil {
				return err
			}
			continue
		}
		entries, err := q.all()
		if err != nil {
			if err := c.damage(t.String()+" quota", err); err != nil {
				return err
			}
			continue
		}
		if err := c.entries(q, entries); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) entries(q *quotaFile, entries map[uint32]disk.Dquot) error {
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		d, u := entries[id], c.quotas[quotaKey{q.typ, id}]
		where := fmt.Sprintf("quota of %s %d", q.typ, id)
		if int64(d.Space) != u.space || int64(d.Inodes) != u.inodes {
			c.problem(where, "says %d bytes and %d inodes, and %d and %d were found", d.Space, d.Inodes, u.space, u.inodes)
		}
		if _, _, err := q.find(id); err != nil {
			if err := c.damage(where, err); err != nil {
				return err
			}
		}
	}
	for k, u := range c.quotas {
		if _, ok := entries[k.id]; k.typ == q.typ && !ok {
			c.problem(fmt.Sprintf("quota of %s %d", q.typ, k.id), "is not there, and %d bytes and %d inodes were found",
				u.space, u.inodes)
		}
	}
	return nil
}
