package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// quotaTree changes which ids have entries in a file with quotas. Only one operation at a time does so (quotas.tree),
// and edits words and entries: it never conflicts with changes of usage.
type quotaTree struct {
	*quotaFile
	o *op
}

func (o *op) quotaTree(t disk.QuotaType) (*quotaTree, error) {
	q, err := o.fs.quotaFile(t)
	return &quotaTree{q, o}, err
}

// set sets bytes of a block.
func (q *quotaTree) set(nr, off uint32, data []byte) error {
	at, err := q.place(nr)
	if err != nil {
		return err
	}
	return q.o.edit(at.block, kindPlain, 0, merge.Set(at.off+off, data))
}

func (q *quotaTree) setWord(nr, off, v uint32) error {
	return q.set(nr, off, binary.LittleEndian.AppendUint32(nil, v))
}

// insert gives an id an entry.
func (q *quotaTree) insert(id uint32) (quotaPlace, error) {
	path, err := q.walk(id)
	if err == nil && len(path) > disk.QuotaDepth {
		err = ondisk.Corruptf(q.typ.String()+" quota", "id %d has an entry already", id)
	}
	if err != nil {
		return quotaPlace{}, err
	}
	leaf, at, err := q.addEntry(id)
	if err != nil {
		return quotaPlace{}, err
	}
	child := leaf
	for depth := disk.QuotaDepth - 1; depth >= len(path); depth-- {
		nr, err := q.takeBlock()
		if err != nil {
			return quotaPlace{}, err
		}
		if err := q.setWord(nr, 4*disk.QuotaIndex(id, depth), child); err != nil {
			return quotaPlace{}, err
		}
		child = nr
	}
	depth := len(path) - 1
	return at, q.setWord(path[depth], 4*disk.QuotaIndex(id, depth), child)
}

// takeBlock takes a block, of zeros, from the list of free ones or behind the end.
func (q *quotaTree) takeBlock() (uint32, error) {
	nr := q.header.FreeBlock
	if nr == 0 {
		return q.appendBlock()
	}
	l, err := q.leaf(nr)
	if err != nil {
		return 0, err
	}
	if nr <= disk.QuotaRoot {
		return 0, ondisk.Corruptf(q.typ.String()+" quota", "block %d is on the list of free ones", nr)
	}
	if err := q.setFreeBlock(l.Next); err != nil {
		return 0, err
	}
	return nr, q.set(nr, 0, make([]byte, disk.QuotaBlockSize))
}

func (q *quotaTree) setFreeBlock(nr uint32) error {
	q.header.FreeBlock = nr
	return q.setWord(0, disk.OffQuotaFreeBlock, nr)
}

// leaf reads the header of a block of entries, or of a free one.
func (q *quotaTree) leaf(nr uint32) (disk.QuotaLeaf, error) {
	p, err := q.read(nr)
	if err != nil {
		return disk.QuotaLeaf{}, err
	}
	l, err := q.header.DecodeQuotaLeaf(nr, p)
	return l, q.damaged(err)
}

// appendBlock makes the file a block longer.
func (q *quotaTree) appendBlock() (uint32, error) {
	nr := q.header.Blocks
	at, bs := uint64(nr)*disk.QuotaBlockSize, uint64(q.o.w.super.BlockSize)
	if at+disk.QuotaBlockSize > q.o.w.maxSize(&q.n) || nr+1 == 0 {
		return 0, ErrTooBig
	}
	r, err := q.n.Map(FileBlock(at / bs))
	if err != nil {
		return 0, err
	}
	switch r.Kind {
	case Hole:
		err = q.allocateBlock(FileBlock(at / bs))
	case Data:
		err = q.set(nr, 0, make([]byte, disk.QuotaBlockSize))
	default:
		err = ondisk.Corruptf(q.n.where(), "block %d of the %s quota is not written", nr, q.typ)
	}
	if err != nil {
		return 0, err
	}
	if end := at + disk.QuotaBlockSize; end > q.n.Size {
		if err := q.o.setSize(&q.n, end, false); err != nil {
			return 0, err
		}
	}
	q.header.Blocks++
	return nr, q.setWord(0, disk.OffQuotaBlocks, q.header.Blocks)
}

// allocateBlock gives the file a block of the file system. As in the kernel it may be one that is kept back.
func (q *quotaTree) allocateBlock(b FileBlock) error {
	o := q.o
	e, err := o.blocksFor(&q.n, uint64(b), 1, func(goal block.Number, want uint32) (run, error) {
		r, err := o.w.alloc.reserve(clusterAt(o.w.super, goal), want, 0, claim{o.cred, true})
		if err != nil {
			return r, err
		}
		return o.use(r)
	})
	if err != nil {
		return err
	}
	if err := o.edit(e.Start, kindPlain, 0, merge.Whole(make([]byte, o.w.super.BlockSize))); err != nil {
		return err
	}
	o.promised = true
	err = o.mapBlocks(&q.n, e)
	o.promised = false
	if err != nil {
		return err
	}
	return o.fs.slot(&q.n, q.n.Ino)
}

// addEntry writes an entry without usage, and returns its block and its place. Blocks with free entries are on a list.
func (q *quotaTree) addEntry(id uint32) (uint32, quotaPlace, error) {
	nr := q.header.FreeEntry
	var l disk.QuotaLeaf
	var err error
	if nr != 0 {
		l, err = q.leaf(nr)
	} else if nr, err = q.takeBlock(); err == nil {
		err = q.setFreeEntry(nr)
	}
	if err != nil {
		return 0, quotaPlace{}, err
	}
	if l.Entries+1 >= disk.QuotaPerBlock {
		if err := q.unlistLeaf(nr, l); err != nil {
			return 0, quotaPlace{}, err
		}
	}
	if err := q.setEntries(nr, l.Entries+1); err != nil {
		return 0, quotaPlace{}, err
	}
	p, err := q.read(nr)
	if err != nil {
		return 0, quotaPlace{}, err
	}
	at, err := q.place(nr)
	if err != nil {
		return 0, quotaPlace{}, err
	}
	for i := range uint32(disk.QuotaPerBlock) {
		off := disk.QuotaLeafHeader + i*disk.DquotSize
		if _, used := disk.DecodeDquot(p[off:]); used {
			continue
		}
		entry := make([]byte, disk.DquotSize)
		disk.Dquot{ID: id}.Encode(entry)
		at.off += off
		return nr, at, q.set(nr, off, entry)
	}
	return 0, quotaPlace{}, ondisk.Corruptf(q.typ.String()+" quota", "block %d has no free entry, and says %d are used",
		nr, l.Entries)
}

func (q *quotaTree) setFreeEntry(nr uint32) error {
	q.header.FreeEntry = nr
	return q.setWord(0, disk.OffQuotaFreeEntry, nr)
}

func (q *quotaTree) setEntries(nr uint32, n uint16) error {
	return q.set(nr, disk.OffLeafEntries, binary.LittleEndian.AppendUint16(nil, n))
}

// unlistLeaf takes a block off the list of those with free entries.
func (q *quotaTree) unlistLeaf(nr uint32, l disk.QuotaLeaf) error {
	if l.Next != 0 {
		if err := q.setWord(l.Next, disk.OffLeafPrev, l.Prev); err != nil {
			return err
		}
	}
	var err error
	switch {
	case l.Prev != 0:
		err = q.setWord(l.Prev, disk.OffLeafNext, l.Next)
	case q.header.FreeEntry == nr:
		err = q.setFreeEntry(l.Next)
	}
	if err != nil {
		return err
	}
	return q.set(nr, disk.OffLeafNext, make([]byte, 8))
}

// listLeaf puts a block on that list.
func (q *quotaTree) listLeaf(nr uint32) error {
	first := q.header.FreeEntry
	if first != 0 {
		if err := q.setWord(first, disk.OffLeafPrev, nr); err != nil {
			return err
		}
	}
	if err := q.set(nr, disk.OffLeafNext, binary.LittleEndian.AppendUint64(nil, uint64(first))); err != nil {
		return err
	}
	return q.setFreeEntry(nr)
}

// giveBlock puts a block on the list of free ones.
func (q *quotaTree) giveBlock(nr uint32) error {
	p := make([]byte, disk.QuotaBlockSize)
	binary.LittleEndian.PutUint32(p[disk.OffLeafNext:], q.header.FreeBlock)
	if err := q.set(nr, 0, p); err != nil {
		return err
	}
	return q.setFreeBlock(nr)
}

// remove takes an id's entry away, and the blocks of the tree that lead to nothing else.
func (q *quotaTree) remove(id uint32) error {
	path, err := q.walk(id)
	if err != nil {
		return err
	}
	at, _, err := q.find(id)
	if err != nil {
		return err
	}
	if err := q.removeEntry(path[disk.QuotaDepth], at); err != nil {
		return err
	}
	for depth := disk.QuotaDepth - 1; depth >= 0; depth-- {
		if err := q.setWord(path[depth], 4*disk.QuotaIndex(id, depth), 0); err != nil || depth == 0 {
			return err
		}
		p, err := q.read(path[depth])
		if err != nil {
			return err
		}
		for _, b := range p {
			if b != 0 {
				return nil
			}
		}
		if err := q.giveBlock(path[depth]); err != nil {
			return err
		}
	}
	return nil
}

func (q *quotaTree) removeEntry(nr uint32, at quotaPlace) error {
	l, err := q.leaf(nr)
	if err != nil {
		return err
	}
	if l.Entries == 0 {
		return fmt.Errorf("%s quota: %w", q.typ, ondisk.Corruptf("quota tree", "block %d says that it has no entry", nr))
	}
	if l.Entries == 1 {
		if err := q.unlistLeaf(nr, l); err != nil {
			return err
		}
		return q.giveBlock(nr)
	}
	if err := q.setEntries(nr, l.Entries-1); err != nil {
		return err
	}
	if err := q.o.edit(at.block, kindPlain, 0, merge.Set(at.off, make([]byte, disk.DquotSize))); err != nil {
		return err
	}
	if l.Entries == disk.QuotaPerBlock { // it was full, and so on no list
		return q.listLeaf(nr)
	}
	return nil
}
