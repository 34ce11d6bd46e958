package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// OnDamage is the reaction to damage that is found while a file system is mounted for writing (ext4(5), errors=).
type OnDamage uint16

// The choices, with the numbers that the superblock has for them. Panic is taken as RemountRO: a daemon does not stop
// its machine.
const (
	AsSuperblock OnDamage = iota // the choice in the superblock
	Continue
	RemountRO
	Panic
)

// damage collects the damage found since the last mark in the superblock.
type damage struct {
	mu      sync.Mutex // guards the rest
	count   uint32
	first   disk.ErrorMark
	last    disk.ErrorMark
	written time.Time // the last mark
}

// markEvery bounds how often damage is marked.
const markEvery = time.Second

// Damaged records in the superblock that an operation found damage, as the kernel does: e2fsck and dumpe2fs show it.
// With errors=remount-ro and errors=panic no further change is accepted. It ignores other errors.
func (w *Writable) Damaged(operation string, found error) {
	if !errors.Is(found, ondisk.ErrCorrupt) {
		return
	}
	w.damage.record(disk.ErrorMark{Time: w.opts.Now().Unix(), Function: operation})
	on := w.opts.OnDamage
	if on == AsSuperblock {
		on = OnDamage(w.super.OnError)
	}
	stop := on == RemountRO || on == Panic
	if err := w.markDamage(stop); err != nil || !stop {
		return
	}
	if w.store.Sync(context.Background()) == nil {
		w.store.Fail(fmt.Errorf("damage was found, and errors= says to change nothing more: %w", found))
	}
}

func (d *damage) record(m disk.ErrorMark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count == 0 {
		d.first = m
	}
	d.count++
	d.last = m
}

// MarkDamage writes the damage found since the last mark into the superblock, before the file system is closed.
func (w *Writable) MarkDamage() error { return w.markDamage(true) }

// markDamage writes the damage found since the last mark into the superblock: at most once a second, unless it is to be
// now.
func (w *Writable) markDamage(now bool) error {
	d := &w.damage
	d.mu.Lock()
	count, first, last := d.count, d.first, d.last
	if count == 0 || mutant.Off(mutant.DamageMarks) || !now && time.Since(d.written) < markEvery {
		d.mu.Unlock()
		return nil
	}
	d.count, d.written = 0, time.Now()
	d.mu.Unlock()
	return w.do(opSetattr, Cred{}, func(o *op) error {
		return o.editSuper(func(p []byte) { w.super.PutErrors(p, count, first, last) })
	})
}

// editSuper changes bytes of the superblock that are not sealed. The change must be right on any newer bytes.
func (o *op) editSuper(change func(super []byte)) error {
	s := o.w.super
	n := block.Number(disk.SuperblockOffset / uint32(s.BlockSize))
	return o.edit(n, kindSuper, 0, merge.Reapply(func(p []byte) error {
		change(p[disk.SuperblockOffset%uint32(s.BlockSize):][:disk.SuperblockSize])
		return nil
	}))
}

// turnOn turns a feature of the superblock on at its first use, as the kernel does. at is where its word lies in the
// superblock, turned is the feature's bit in Writable.turned. A superblock of revision 0 becomes one of revision 1, as
// readers of the first know no features.
func (o *op) turnOn(at int, bit uint32, turned uint64, has bool) error {
	if has || o.w.turned.Load()&turned != 0 || mutant.Off(mutant.FirstUse) {
		return nil
	}
	o.turns |= turned
	return o.editSuper(func(p []byte) {
		disk.PutDynamicRevision(p)
		binary.LittleEndian.PutUint32(p[at:], binary.LittleEndian.Uint32(p[at:])|bit)
	})
}

// useLargeFile is for a file that grows to 2 GiB.
func (o *op) useLargeFile(size uint64) error {
	if size < 1<<31 {
		return nil
	}
	return o.turnOn(0x64, uint32(disk.ROCompatLargeFile), 1, o.w.super.ROCompat&disk.ROCompatLargeFile != 0)
}

// useXattr is for an attribute.
func (o *op) useXattr() error {
	return o.turnOn(0x5c, uint32(disk.CompatExtAttr), 2, o.w.super.Compat&disk.CompatExtAttr != 0)
}
