package ext4

import (
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// orphanForm is the form that the orphans have on the image as of the last epoch: slots of the orphan file, where there
// is one with room, else a list from the superblock through the inodes' times of deletion (ext4 doc, "Orphan file"). An
// orphan keeps its slot, so that an epoch writes the blocks of the file that its own orphans changed, and no others.
type orphanForm struct {
	slots [][]Ino // by block of the orphan file; 0 is free
	place map[Ino]orphanSlot
	free  []orphanSlot // the next one to be used comes last
	dirty map[int]bool // blocks of the file that changed since the last epoch

	head       Ino         // of the list, the newest; 0: it is empty
	next       map[Ino]Ino // of the list, towards its end, where it is 0
	prev       map[Ino]Ino
	relinked   map[Ino]bool // inodes whose link changed since the last epoch
	superblock bool         // the head has changed
}

type orphanSlot struct{ block, slot int }

func (f *orphanForm) init() {
	f.place, f.dirty = map[Ino]orphanSlot{}, map[int]bool{}
	f.next, f.prev, f.relinked = map[Ino]Ino{}, map[Ino]Ino{}, map[Ino]bool{}
}

// addBlock adds a block of the orphan file, with room for so many inodes, and those that it has.
func (f *orphanForm) addBlock(room int, has []Ino) {
	if f.place == nil { // the checker only reads
		f.init()
	}
	b := len(f.slots)
	f.slots = append(f.slots, make([]Ino, room))
	for i, ino := range has {
		f.slots[b][i] = ino
		f.place[ino] = orphanSlot{b, i}
	}
}

// ready lists the free slots, when all blocks are there.
func (f *orphanForm) ready() {
	for b := len(f.slots) - 1; b >= 0; b-- {
		for i := len(f.slots[b]) - 1; i >= 0; i-- {
			if f.slots[b][i] == 0 {
				f.free = append(f.free, orphanSlot{b, i})
			}
		}
	}
}

// link puts an inode before the head of the list.
func (f *orphanForm) link(ino Ino) {
	f.next[ino] = f.head
	if f.head != 0 {
		f.prev[f.head] = ino
	}
	f.head, f.superblock = ino, true
	f.relinked[ino] = true
}

func (f *orphanForm) has(ino Ino) bool {
	_, inFile := f.place[ino]
	_, listed := f.next[ino]
	return inFile || listed
}

// add takes an orphan into the form: a full file leaves it to the list, as the kernel does.
func (f *orphanForm) add(ino Ino) {
	if f.has(ino) {
		return
	}
	k := len(f.free)
	if k == 0 {
		if !mutant.Off(mutant.OrphanList) {
			f.link(ino)
		}
		return
	}
	at := f.free[k-1]
	f.free = f.free[:k-1]
	f.slots[at.block][at.slot], f.place[ino], f.dirty[at.block] = ino, at, true
}

// remove takes an orphan out of it.
func (f *orphanForm) remove(ino Ino) {
	if at, ok := f.place[ino]; ok {
		delete(f.place, ino)
		f.slots[at.block][at.slot], f.dirty[at.block] = 0, true
		f.free = append(f.free, at)
		return
	}
	next, ok := f.next[ino]
	if !ok {
		return
	}
	prev := f.prev[ino]
	if next != 0 {
		f.prev[next] = prev
	}
	if prev != 0 {
		f.next[prev] = next
		f.relinked[prev] = true
	} else {
		f.head, f.superblock = next, true
	}
	delete(f.next, ino)
	delete(f.prev, ino)
	f.relinked[ino] = true // its link goes
}

// sealed forgets the changes: an epoch has them.
func (f *orphanForm) sealed() {
	clear(f.dirty)
	clear(f.relinked)
	f.superblock = false
}

// orphanTables adds the blocks of inode tables whose inodes have another link of the list.
func (w *Writable) orphanTables(tables map[block.Number]disk.Group) error {
	for ino := range w.orphans.form.relinked {
		g, nth, _ := w.super.InodeBlock(ino)
		table, err := w.base.inodeTable(g)
		if err != nil {
			return err
		}
		tables[table+nth] = g
	}
	return nil
}

// sealOrphanFile writes the changed blocks of the orphan file.
func (w *Writable) sealOrphanFile(image func(block.Number) []byte) {
	f, s := &w.orphans.form, w.super
	for b := range f.dirty {
		n := w.sealer.orphanBlocks[b]
		if p := image(n); p != nil {
			s.PutOrphans(s.OrphanFileIno, w.sealer.orphanGeneration, n, p, f.slots[b])
		}
	}
}
