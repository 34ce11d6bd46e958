package blockcache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Discarder is a Writable that can free what holds bytes which are not needed any more.
type Discarder interface {
	// Discard makes the contents of a range undefined, and may free what holds them. Writes that follow it count.
	Discard(offset, n int64) error
	// DiscardUnit is what a shorter range has no effect on, in bytes; 0 where the device cannot discard.
	DiscardUnit() int64
}

// DiscarderOf is a device's Discarder, or nil where it cannot discard.
func DiscarderOf(d Writable) Discarder {
	if k, ok := d.(Discarder); ok && k.DiscardUnit() > 0 {
		return k
	}
	return nil
}

// blkDiscard is BLKDISCARD (linux/fs.h).
const blkDiscard = 0x1277

// Discard punches a hole into a file, and discards sectors of a block device.
func (d *Disk) Discard(offset, n int64) error {
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	do := func() error {
		return unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, n)
	}
	if !info.Mode().IsRegular() {
		do = func() error { return discardSectors(int(d.file.Fd()), offset, n) }
	}
	if err = do(); err == unix.EINTR {
		err = do()
	}
	if err != nil {
		return fmt.Errorf("discard bytes %d to %d of %s: %w", offset, offset+n, d.Name(), err)
	}
	return nil
}

// discardSectors calls BLKDISCARD. Its argument is two words of 64 bits. Package unix has no function for it; the one
// for terminals takes any number, and its structure begins with four words of 32 bits.
func discardSectors(fd int, offset, n int64) error {
	var b [16]byte
	e := binary.NativeEndian
	e.PutUint64(b[:], uint64(offset))
	e.PutUint64(b[8:], uint64(n))
	arg := unix.Termios{Iflag: e.Uint32(b[:]), Oflag: e.Uint32(b[4:]), Cflag: e.Uint32(b[8:]), Lflag: e.Uint32(b[12:])}
	return unix.IoctlSetTermios(fd, blkDiscard, &arg)
}

// DiscardUnit follows Discarder: a block of the file system that has the file, or what the device says.
func (d *Disk) DiscardUnit() int64 {
	info, err := d.file.Stat()
	if err != nil {
		return 0
	}
	if info.Mode().IsRegular() {
		var s unix.Statfs_t
		if unix.Fstatfs(int(d.file.Fd()), &s) != nil {
			return 0
		}
		return max(s.Bsize, 1)
	}
	var st unix.Stat_t
	if unix.Fstat(int(d.file.Fd()), &st) != nil || queueLimit(st.Rdev, "discard_max_bytes") == 0 {
		return 0
	}
	return max(queueLimit(st.Rdev, "discard_granularity"), 512)
}

// queueLimit is a limit of a block device, or of the disk that a partition is on; 0 where there is none.
func queueLimit(device uint64, name string) int64 {
	dir := fmt.Sprintf("/sys/dev/block/%d:%d/", unix.Major(device), unix.Minor(device))
	for _, queue := range []string{"queue/", "../queue/"} {
		if p, err := os.ReadFile(dir + queue + name); err == nil {
			n, _ := strconv.ParseInt(strings.TrimSpace(string(p)), 10, 64)
			return n
		}
	}
	return 0
}

// Discard follows Discarder, if the device below does.
func (w writableWindow) Discard(offset, n int64) error {
	k := DiscarderOf(w.below)
	if k == nil || offset < 0 || n < 0 || offset > w.length || n > w.length-offset {
		return fmt.Errorf("discard bytes %d to %d of a window of %d: %w", offset, offset+n, w.length, unix.EOPNOTSUPP)
	}
	return k.Discard(w.offset+offset, n)
}

// DiscardUnit follows Discarder.
func (w writableWindow) DiscardUnit() int64 {
	if k := DiscarderOf(w.below); k != nil {
		return k.DiscardUnit()
	}
	return 0
}

// junk is what a discard in memory leaves: a reader that relies on the contents is noticed.
const junk = 0xd5

// Discard follows Discarder.
func (r *RAM) Discard(offset, n int64) error {
	_, err := r.WriteAt(bytes.Repeat([]byte{junk}, int(n)), offset)
	return err
}

// DiscardUnit follows Discarder.
func (r *RAM) DiscardUnit() int64 { return 1 }

// Discard notes a write of undefined contents: crash states have any part of it.
func (r *Recording) Discard(offset, n int64) error {
	_, err := r.WriteAt(bytes.Repeat([]byte{junk}, int(n)), offset)
	return err
}

// DiscardUnit follows Discarder.
func (r *Recording) DiscardUnit() int64 { return 1 }
