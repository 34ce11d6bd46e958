package ext4

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// quotaFile reads the file with the quotas of a type, by its own blocks of 1 KiB.
type quotaFile struct {
	fs     *FS
	typ    disk.QuotaType
	n      Inode
	header disk.QuotaHeader
}

// quotaPlace is the place of a block or an entry of a file with quotas on the image.
type quotaPlace struct {
	block block.Number
	off   uint32
}

// quotaFile opens the file with the quotas of a type. An image that does not count them is ErrNotExist.
func (fs *FS) quotaFile(t disk.QuotaType) (*quotaFile, error) {
	ino := fs.super.QuotaIno(t)
	if ino == 0 {
		return nil, fmt.Errorf("quotas of type %s: %w", t, ErrNotExist)
	}
	q := &quotaFile{fs: fs, typ: t}
	// kernel, fs/ext4/super.c: ext4_check_quota_inum
	fixed := [disk.QuotaTypes]Ino{disk.UserQuotaIno, disk.GrpQuotaIno}[t]
	if fixed != 0 && ino != fixed || fixed == 0 && ino < fs.super.FirstIno {
		return nil, ondisk.Corruptf(t.String()+" quota", "its file is inode %d", ino)
	}
	if err := fs.slot(&q.n, ino); err != nil {
		return nil, err
	}
	if !q.n.IsRegular() || q.n.Links == 0 || q.n.Has(disk.InodeInlineData|disk.InodeEncrypt) {
		return nil, ondisk.Corruptf(t.String()+" quota", "inode %d is no file with quotas", ino)
	}
	p, err := q.read(0)
	if err != nil {
		return nil, err
	}
	if q.header, err = disk.DecodeQuotaHeader(t, q.n.Size, p); err != nil {
		return nil, err
	}
	return q, nil
}

// place is where one of the file's own blocks lies.
func (q *quotaFile) place(nr uint32) (quotaPlace, error) {
	at := uint64(nr) * disk.QuotaBlockSize
	bs := uint64(q.fs.super.BlockSize)
	r, err := q.n.Map(FileBlock(at / bs))
	if err != nil {
		return quotaPlace{}, err
	}
	if r.Kind != Data {
		return quotaPlace{}, ondisk.Corruptf(q.n.where(), "block %d of the %s quota is not there", nr, q.typ)
	}
	return quotaPlace{r.Start, uint32(at % bs)}, nil
}

// read is the bytes of one of the file's own blocks.
func (q *quotaFile) read(nr uint32) ([]byte, error) {
	at, err := q.place(nr)
	if err != nil {
		return nil, err
	}
	p, err := q.fs.block(at.block)
	if err != nil {
		return nil, err
	}
	return p[at.off:][:disk.QuotaBlockSize], nil
}

// damaged says of which quota a part is damaged.
func (q *quotaFile) damaged(err error) error {
	if errors.Is(err, ondisk.ErrCorrupt) {
		return fmt.Errorf("%s quota: %w", q.typ, err)
	}
	return err
}

// walk follows the tree to an id, and returns the blocks on the way: the root first, and last the block of entries.
// They end early if the id has none.
func (q *quotaFile) walk(id uint32) ([]uint32, error) {
	path := []uint32{disk.QuotaRoot}
	for depth := range disk.QuotaDepth {
		p, err := q.read(path[depth])
		if err != nil {
			return nil, err
		}
		next, err := q.header.QuotaChild(p, disk.QuotaIndex(id, depth))
		if err != nil {
			return nil, q.damaged(err)
		}
		if next == 0 {
			return path, nil
		}
		path = append(path, next)
	}
	return path, nil
}

// find is the place of an id's entry. It is ErrNotExist where there is none.
func (q *quotaFile) find(id uint32) (quotaPlace, disk.Dquot, error) {
	path, err := q.walk(id)
	if err != nil {
		return quotaPlace{}, disk.Dquot{}, err
	}
	if len(path) <= disk.QuotaDepth {
		return quotaPlace{}, disk.Dquot{}, fmt.Errorf("quota of %s %d: %w", q.typ, id, ErrNotExist)
	}
	leaf := path[disk.QuotaDepth]
	p, err := q.read(leaf)
	if err != nil {
		return quotaPlace{}, disk.Dquot{}, err
	}
	at, err := q.place(leaf)
	for i := range uint32(disk.QuotaPerBlock) {
		off := disk.QuotaLeafHeader + i*disk.DquotSize
		if d, ok := disk.DecodeDquot(p[off:]); ok && d.ID == id {
			return quotaPlace{at.block, at.off + off}, d, err
		}
	}
	return quotaPlace{}, disk.Dquot{}, ondisk.Corruptf(q.typ.String()+" quota", "block %d has no entry of id %d", leaf, id)
}

// leaves calls do for each block of entries, once, in the order of the lowest id that leads there.
func (q *quotaFile) leaves(do func(nr uint32, p []byte) error) error {
	seen := map[uint32]bool{disk.QuotaRoot: true}
	var visit func(nr uint32, depth int) error
	visit = func(nr uint32, depth int) error {
		p, err := q.read(nr)
		if err != nil {
			return err
		}
		if depth == disk.QuotaDepth {
			return do(nr, p)
		}
		for i := range uint32(disk.QuotaFanout) {
			next, err := q.header.QuotaChild(p, i)
			if err != nil {
				return q.damaged(err)
			}
			switch {
			case next == 0 || seen[next] && depth == disk.QuotaDepth-1: // ids share blocks of entries
				continue
			case seen[next]:
				return ondisk.Corruptf(q.typ.String()+" quota", "block %d is in the tree twice", next)
			}
			seen[next] = true
			if err := visit(next, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(disk.QuotaRoot, 0)
}

// all is every entry by its id.
func (q *quotaFile) all() (map[uint32]disk.Dquot, error) {
	out := map[uint32]disk.Dquot{}
	err := q.leaves(func(nr uint32, p []byte) error {
		l, err := q.header.DecodeQuotaLeaf(nr, p)
		if err != nil {
			return q.damaged(err)
		}
		found := uint16(0)
		for i := range disk.QuotaPerBlock {
			d, ok := disk.DecodeDquot(p[disk.QuotaLeafHeader+i*disk.DquotSize:])
			if !ok {
				continue
			}
			if _, twice := out[d.ID]; twice {
				return ondisk.Corruptf(q.typ.String()+" quota", "id %d has two entries", d.ID)
			}
			out[d.ID] = d
			found++
		}
		if found != l.Entries {
			return ondisk.Corruptf(q.typ.String()+" quota", "block %d has %d entries, and says %d", nr, found, l.Entries)
		}
		return nil
	})
	return out, err
}

// QuotaReport is the quotas of one type.
type QuotaReport struct {
	Type       disk.QuotaType
	SpaceGrace uint32 // seconds that space may be over a soft limit
	InodeGrace uint32
	Entries    []disk.Dquot // by id
}

// Quotas reads the quotas of a type. An image that does not count them is ErrNotExist.
func (fs *FS) Quotas(t disk.QuotaType) (*QuotaReport, error) {
	q, err := fs.quotaFile(t)
	if err != nil {
		return nil, err
	}
	all, err := q.all()
	if err != nil {
		return nil, err
	}
	r := &QuotaReport{Type: t, SpaceGrace: q.header.SpaceGrace, InodeGrace: q.header.InodeGrace}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		r.Entries = append(r.Entries, all[id])
	}
	return r, nil
}

// AllQuotas reads the quotas of each type that the image counts.
func (fs *FS) AllQuotas() ([]*QuotaReport, error) {
	var out []*QuotaReport
	for t := range disk.QuotaTypes {
		r, err := fs.Quotas(t)
		if errors.Is(err, ErrNotExist) && fs.super.QuotaIno(t) == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
