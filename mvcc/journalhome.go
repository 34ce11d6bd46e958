package mvcc

import (
	"context"
	"fmt"
	"slices"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/internal/yield"
	"github.com/varvefs/varve/wal"
)

// publishDurable makes an epoch that is in the journal known. Images of blocks that it freed are not written home any
// more (J2).
func (e *journalEpochs) publishDurable(last block.Seq, images []wal.Image, freed []block.Number) {
	e.home.Lock()
	for _, i := range images {
		e.pending[i.Number] = i
	}
	if !mutant.Off(mutant.J2) {
		for _, n := range freed {
			delete(e.pending, n)
		}
	}
	e.home.Unlock()
	oldest, _, live := e.s.snapshots.oldest()
	for _, n := range freed {
		if c, _ := e.s.chains.index.Load(n); c != nil {
			e.dropFreed(c, last, live && oldest < last)
		}
	}
	e.closed.Add(1)
	e.last.Store(uint64(last))
}

// dropFreed drops the chain of a block that was freed, unless a snapshot or a later commit needs it. A snapshot that
// is older than the freeing does: the newest version may never have come home, and will not any more (M8).
func (e *journalEpochs) dropFreed(c *chain, last block.Seq, seen bool) {
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead || c.head.Load().seq > last {
		return
	}
	if seen && !c.idle && !mutant.Off(mutant.FreedSeen) {
		c.freed = last
		return
	}
	if !c.onlyNewest(&e.s.chains) {
		return
	}
	e.s.chains.dirty.remove(c)
	e.s.chains.retire(c)
}

// writePending writes every pending image home and flushes: late ones when the others are there. It returns what it
// wrote.
func (e *journalEpochs) writePending() ([]wal.Image, error) {
	e.home.Lock()
	list := make([]wal.Image, 0, len(e.pending))
	for _, i := range e.pending {
		list = append(list, i)
	}
	e.home.Unlock()
	slices.SortFunc(list, func(a, b wal.Image) int { return int(int64(a.Number) - int64(b.Number)) })
	late := slices.ContainsFunc(list, func(i wal.Image) bool { return i.Late })
	for _, i := range list {
		if i.Late {
			continue
		}
		if err := e.writeImage(i); err != nil {
			return nil, err
		}
		failpoint.At("checkpoint", "home")
	}
	if late {
		if err := e.s.home.Sync(); err != nil {
			return nil, fmt.Errorf("flush the image: %w", err)
		}
	}
	for _, i := range list {
		if !i.Late {
			continue
		}
		if err := e.writeImage(i); err != nil {
			return nil, err
		}
	}
	e.s.checkpoints.noRoom.Store(nil)
	failpoint.At("checkpoint", "homes")
	if err := e.s.home.Sync(); err != nil {
		return nil, fmt.Errorf("flush the image: %w", err)
	}
	failpoint.At("checkpoint", "flush")
	return list, nil
}

// writeImage writes a sealed block home, unless it was freed or sealed anew meanwhile: a later copy of it is in the
// journal then.
func (e *journalEpochs) writeImage(i wal.Image) error {
	e.home.Lock()
	defer e.home.Unlock()
	if now, ok := e.pending[i.Number]; !ok || &now.Data[0] != &i.Data[0] {
		return nil
	}
	if p := e.failed.Load(); p != nil {
		return *p
	}
	if err := e.s.checkpoints.putHome(i.Number, i.Data); err != nil {
		return err
	}
	e.s.clean.Put(i.Number, i.Data)
	return nil
}

// clearJournal makes room in the journal for the epoch that fills, before that is sealed: where the device has no room
// for what has to go home first, the epoch goes on to fill, and nothing is lost. The caller holds io.
func (e *journalEpochs) clearJournal() error {
	e.mu.Lock()
	freed := make([]block.Number, len(e.frees))
	for i, f := range e.frees {
		freed[i] = f.number
	}
	e.mu.Unlock()
	e.home.Lock()
	due := len(e.pending)
	e.home.Unlock()
	if due == 0 || e.opts.Journal.Fits(int(e.blocks.Load())+2*sealerBlocks, freed) {
		return nil
	}
	return e.trimAll()
}

// trimAll writes home all blocks in the journal, and gives up its space. The caller holds io.
func (e *journalEpochs) trimAll() error {
	mark := e.opts.Journal.Next()
	list, err := e.writePending()
	if err == nil {
		err = e.opts.Journal.Trim(mark)
	}
	if err == nil {
		e.removePending(list)
	}
	return err
}

// removePending forgets images that are home.
func (e *journalEpochs) removePending(list []wal.Image) {
	e.home.Lock()
	defer e.home.Unlock()
	for _, i := range list {
		if now, ok := e.pending[i.Number]; ok && &now.Data[0] == &i.Data[0] {
			delete(e.pending, i.Number)
		}
	}
}

// checkpoint writes what is durable home, gives up the journal's part that is not needed any more (J4), and drops the
// chains of blocks that were not changed since.
func (e *journalEpochs) checkpoint() error {
	if err := e.wait(context.Background(), e.s.Published()); err != nil {
		return err
	}
	e.s.checkpoints.mu.Lock()
	defer e.s.checkpoints.mu.Unlock()
	if p := e.failed.Load(); p != nil {
		return *p
	}
	e.io.Lock()
	mark, last := e.opts.Journal.Next(), e.durable()
	if mutant.Off(mutant.J4) || mutant.Off(mutant.W6) {
		_ = e.opts.Journal.Trim(mark)
	}
	e.io.Unlock()
	yield.At("checkpoint begins")
	dirty := e.s.chains.takeDirty()
	list, err := e.writePending()
	e.io.Lock()
	if err == nil {
		err = e.opts.Journal.Trim(mark)
		e.used.Store(int64(e.opts.Journal.Used()))
	}
	if err != nil && !lacksSpace(err) {
		err = e.abort(err)
	}
	e.io.Unlock()
	if err != nil {
		e.s.chains.relist(dirty)
		return err
	}
	failpoint.At("checkpoint", "tail")
	yield.At("checkpoint tail")
	e.removePending(list)
	// A later epoch may have sealed a block anew that no commit had changed since: then neither image of it is home yet,
	// and its chain stays.
	waits := map[block.Number]bool{}
	e.home.Lock()
	for n := range e.pending {
		waits[n] = true
	}
	e.home.Unlock()
	for _, c := range dirty {
		e.dropSealed(c, last, waits[c.number])
	}
	return nil
}

// dropSealed gives up a chain whose newest version is home, unless there is something older in it. The cache has the
// sealed copy. One that was freed before it came home waits for the snapshots that see it.
func (e *journalEpochs) dropSealed(c *chain, last block.Seq, waits bool) {
	c.latch.lock()
	defer c.latch.unlock()
	if c.dead {
		return
	}
	if c.head.Load().seq > last || c.inEpoch || waits || c.freed != 0 && !e.s.Reusable(c.freed) {
		e.s.chains.dirty.add(c)
		return
	}
	if c.markHome(&e.s.chains) {
		e.s.chains.retire(c)
	}
}
