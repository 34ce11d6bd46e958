package volume

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/varvefs/varve/blockcache"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// ErrInUse says that another host or program has the file system open.
var ErrInUse = errors.New("the file system is in use elsewhere")

// mmpDevice is the device of a protected file system: reading must see what other hosts wrote.
type mmpDevice interface {
	io.ReaderAt
	io.WriterAt
}

// protection keeps a file system from being written twice (ext4 doc, "Multiple Mount Protection"): in a block of the
// image a counter grows as long as a mount has it open. The next one to open it watches that block for a while first,
// as the kernel and e2fsprogs do.
type protection struct {
	device   mmpDevice
	super    *disk.Superblock
	interval time.Duration // between two steps of the counter
	mmp      disk.MMP
	stop     chan struct{}
	once     sync.Once
	ended    sync.WaitGroup
}

// The shortest time for which the block is watched is made of this many seconds, and the longest has so many more
// (kernel, fs/ext4/mmp.c).
const (
	minCheck = 5
	maxMore  = 60
)

// openMMPDevice opens an image beside the device that is locked, and the same window of it.
func openMMPDevice(path string, like blockcache.Device) (mmpDevice, io.Closer, error) {
	s, err := blockcache.OpenShared(path)
	if err != nil {
		return nil, nil, err
	}
	if w, ok := like.(*blockcache.Window); ok {
		return shifted{s, w.Offset()}, s, nil
	}
	return s, s, nil
}

// shifted is an mmpDevice within a window.
type shifted struct {
	below mmpDevice
	by    int64
}

func (s shifted) ReadAt(p []byte, offset int64) (int, error)  { return s.below.ReadAt(p, s.by+offset) }
func (s shifted) WriteAt(p []byte, offset int64) (int, error) { return s.below.WriteAt(p, s.by+offset) }

// protect takes a file system for this process, or says who has it (ErrInUse). It waits where the block says that
// a mount had it open: then notice says for how long, and why. name is what the file system is called here. One
// without protection gives nil.
func protect(device mmpDevice, super *disk.Superblock, name string, notice func(string)) (*protection, error) {
	p, wait, err := inspect(device, super, name, notice)
	if p == nil || err != nil {
		return nil, err
	}
	p.mmp.Sequence = rand.Uint32N(disk.MMPMax)
	p.mmp.Node, _ = os.Hostname()
	p.mmp.Device = filepath.Base(name)
	if err := p.write(); err != nil {
		return nil, err
	}
	if err := p.watch(p.mmp.Sequence, wait); err != nil { // two that came at a time: the second one wins
		return nil, err
	}
	return p, nil
}

// inspect checks whether a mount has a file system open, and changes nothing. It returns how long it had to wait.
func inspect(
	device mmpDevice,
	super *disk.Superblock,
	name string,
	notice func(string),
) (*protection, time.Duration, error) {
	if super.Incompat&disk.IncompatMMP == 0 {
		return nil, 0, nil
	}
	p := &protection{
		device:   device,
		super:    super,
		interval: max(time.Duration(super.MMPInterval)*time.Second, time.Second),
		stop:     make(chan struct{}),
	}
	found, err := p.read()
	if err != nil {
		return nil, 0, err
	}
	p.mmp.Check = max(super.MMPInterval, found.Check, minCheck)
	switch found.Sequence {
	case disk.MMPClean:
		return p, 0, nil
	case disk.MMPFsck:
		return nil, 0, fmt.Errorf(
			"%w: e2fsck is checking it, says its block for multiple mount protection; if none is, run: tune2fs -f -E clear_mmp",
			ErrInUse,
		)
	}
	wait := min(2*time.Duration(p.mmp.Check)+1, time.Duration(p.mmp.Check)+maxMore) * time.Second
	if notice != nil {
		notice(fmt.Sprintf("%s may be in use: %s; watching for %v whether it is", name, describeUser(found), wait))
	}
	return p, wait, p.watch(found.Sequence, wait)
}

func describeUser(m *disk.MMP) string {
	return fmt.Sprintf("by %s on %s, at %s", m.Device, m.Node, m.Time.Local().Format(time.DateTime))
}

// watch waits, and finds the counter where it was.
func (p *protection) watch(sequence uint32, wait time.Duration) error {
	time.Sleep(wait)
	now, err := p.read()
	if err == nil && now.Sequence != sequence {
		err = fmt.Errorf("%w: %s", ErrInUse, describeUser(now))
	}
	return err
}

// keep lets the counter grow until release, and calls lost where another host has changed it, or it cannot be written:
// from then on nothing may be written to the file system.
func (p *protection) keep(lost func(error)) {
	if p == nil {
		return
	}
	p.ended.Add(1)
	go func() {
		defer p.ended.Done()
		t := time.NewTicker(p.interval)
		defer t.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-t.C:
				if err := p.step(); err != nil {
					lost(err)
					return
				}
			}
		}
	}()
}

// step lets the counter grow by one.
func (p *protection) step() error {
	if err := p.watch(p.mmp.Sequence, 0); err != nil {
		return err
	}
	p.mmp.Sequence = p.mmp.Sequence%disk.MMPMax + 1
	return p.write()
}

func (p *protection) read() (*disk.MMP, error) {
	b := make([]byte, p.super.BlockSize)
	if _, err := p.device.ReadAt(b, p.super.BlockSize.Offset(p.super.MMPBlock)); err != nil {
		return nil, fmt.Errorf("read the block for multiple mount protection: %w", err)
	}
	return p.super.DecodeMMP(b)
}

func (p *protection) write() error {
	b := make([]byte, p.super.BlockSize)
	at := p.super.BlockSize.Offset(p.super.MMPBlock)
	if _, err := p.device.ReadAt(b, at); err != nil {
		return fmt.Errorf("read the block for multiple mount protection: %w", err)
	}
	p.mmp.Time = time.Now()
	p.super.PutMMP(b, &p.mmp)
	if _, err := p.device.WriteAt(b, at); err != nil {
		return fmt.Errorf("write the block for multiple mount protection: %w", err)
	}
	return nil
}

// abandon stops the counter where it is, as a crash would.
func (p *protection) abandon() {
	if p == nil {
		return
	}
	p.once.Do(func() { close(p.stop) })
	p.ended.Wait()
}

// release says that the file system is free, unless another host has taken it.
func (p *protection) release() error {
	if p == nil {
		return nil
	}
	p.abandon()
	if err := p.watch(p.mmp.Sequence, 0); err != nil {
		return err
	}
	p.mmp.Sequence = disk.MMPClean
	return p.write()
}
