package stress

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/mvcc"
)

// devices are the files that a run's store lies on.
type devices struct {
	path      string // of the blocks; the log is beside them, with the suffix .wal
	temporary string // folder to remove at the end, if any
	home, log *blockcache.Disk
}

// place chooses the files of a run.
func (r *Run) place() error {
	if r.dev.path = r.cfg.Device; r.dev.path != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "varve-stress-")
	r.dev.temporary, r.dev.path = dir, filepath.Join(dir, "blocks")
	return err
}

// open opens the files, and the store over them.
func (r *Run) open() (err error) {
	d := &r.dev
	if d.home, err = blockcache.CreateDisk(d.path,
		int64(max(r.work.blocks, MaxWriters))*int64(r.cfg.BlockSize)); err != nil {
		return err
	}
	if d.log, err = blockcache.CreateDisk(d.path+".wal", 0); err != nil {
		d.home.Close()
		return err
	}
	r.store, _, err = mvcc.Open(mvcc.Options{BlockSize: r.cfg.BlockSize, Home: d.home,
		Durability: mvcc.NativeLog{Device: d.log}, Policy: r.cfg.Policy, Isolation: r.cfg.Isolation,
		Observer: r.cfg.Observer})
	if err != nil {
		d.log.Close()
		d.home.Close()
	}
	return err
}

// shut closes the store and its files. crash: as a process that is killed would.
func (r *Run) shut(crash bool) {
	if crash {
		r.store.Abandon()
	} else if err := r.store.Close(); err != nil && !errors.Is(err, mvcc.ErrClosed) {
		r.violation(fmt.Sprintf("close: %v", err))
	}
	r.dev.log.Close()
	r.dev.home.Close()
}

// remove removes the files, where they are temporary.
func (r *Run) remove() {
	if r.dev.temporary != "" {
		_ = os.RemoveAll(r.dev.temporary)
	}
}

// reopen closes the store, opens it from its files, and compares: each block is as it was, and the workload's check is
// content. If each commit waited until it was durable, the store first ends as a crash of the process would end it,
// so that the log alone has the newest commits.
func (r *Run) reopen(ctx context.Context) error {
	before, err := r.contents(ctx)
	if err != nil {
		return err
	}
	for _, crash := range []bool{true, false} {
		if crash && !r.cfg.Durable {
			continue
		}
		how := map[bool]string{true: "after a crash of the process: ", false: "after closing and opening: "}[crash]
		r.shut(crash)
		if err := r.open(); err != nil {
			r.store = nil
			r.violation(how + err.Error())
			return nil
		}
		r.reopened++
		now, err := r.contents(ctx)
		if err != nil {
			return err
		}
		for n := range before {
			if before[n] != now[n] {
				r.violation(fmt.Sprintf("%sblock %d is not as it was", how, n))
			}
		}
		r.check(ctx, how)
	}
	return nil
}

// contents is a hash of each block that the workload uses, in one snapshot.
func (r *Run) contents(ctx context.Context) (sums []uint64, err error) {
	err = r.store.View(ctx, func(tx *mvcc.Tx) error {
		for n := range block.Number(r.work.blocks) {
			b, err := tx.ReadBlock(n)
			if err != nil {
				return err
			}
			sums = append(sums, maphash.Bytes(r.hash, b))
		}
		return nil
	})
	return sums, err
}
