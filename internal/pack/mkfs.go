package pack

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// The smallest image that has room for a journal in blocks of 4 KiB.
const smallest = 16 << 20

// make makes the empty file system: of the size that is asked for, or of that which the contents need.
func (p *packer) make() (err error) {
	if p.Size > 0 {
		err = p.mkfs(p.Size)
	} else {
		err = p.fit()
	}
	if err != nil {
		return err
	}
	return p.dropJournal()
}

// fit finds the size that the contents need, by making file systems: what their tables take depends on the size, the
// features, and mke2fs.conf.
func (p *packer) fit() error {
	const bytesPerInode = 256
	size := int64(p.need.blocks[2])<<12*21/20 + int64(p.need.inodes)*bytesPerInode + smallest
	least := int64(0) // what is known to be too small
	for range 12 {
		size = max((size+4095)&^4095, smallest)
		if err := p.mkfs(size); err != nil {
			return err
		}
		have, want := p.super.FreeBlocks, p.need.within(p.super)
		off := (int64(want) - int64(have)) * int64(p.super.BlockSize)
		switch {
		case off > 0:
			least = size
			size += off + off/50 + 1<<16
		case size == smallest || -off <= size/50 || size+off*9/10 <= least:
			return nil
		default:
			size = max(size+off*9/10, least+1<<16)
		}
	}
	return fmt.Errorf("no size was found at which %d bytes in %d files fit: give one", p.need.bytes, p.need.inodes)
}

// mkfs makes an empty file system of a size in bytes.
func (p *packer) mkfs(size int64) error {
	if err := os.Truncate(p.image, 0); err != nil {
		return err
	}
	if err := os.Truncate(p.image, size); err != nil {
		return err
	}
	args := []string{"-q", "-F"}
	add := func(flag, value string) {
		if value != "" && !slices.Contains(p.Mkfs, flag) {
			args = append(args, flag, value)
		}
	}
	uuid := p.UUID
	if uuid == "" && p.Reproducible {
		uuid = p.need.uuid()
	}
	add("-L", p.Label)
	add("-U", uuid)
	add("-m", "0")
	if p.Size == 0 && !slices.Contains(p.Mkfs, "-i") {
		add("-N", strconv.FormatUint(p.need.inodes+p.need.inodes/20+32, 10))
	}
	further := slices.Clone(p.Mkfs)
	if p.Reproducible {
		seed := "hash_seed=" + uuid
		if i := slices.Index(further, "-E"); i >= 0 && i+1 < len(further) {
			further[i+1] += "," + seed
		} else {
			args = append(args, "-E", seed)
		}
	}
	if err := p.run("mkfs.ext4", append(append(args, further...), p.image)...); err != nil {
		return err
	}
	v, s, err := volume.OpenSuperblock(volume.Spec{Image: p.image})
	if err != nil {
		return err
	}
	p.super, p.size = s, size
	return v.Close()
}

// dropJournal takes the journal away until the file system is full, unless the options of mkfs describe it.
func (p *packer) dropJournal() error {
	if p.super.Compat&disk.CompatHasJournal == 0 {
		return nil
	}
	if slices.Contains(p.Mkfs, "-J") {
		if p.Reproducible {
			return fmt.Errorf("a reproducible image has a journal of the usual kind: leave -J out")
		}
		return nil
	}
	p.journal = true
	return p.run("tune2fs", "-O", "^orphan_file,^has_journal", p.image)
}

// addJournal makes the journal that dropJournal took away: of the same size, as mkfs.ext4 and tune2fs choose it alike.
func (p *packer) addJournal() error {
	if !p.journal {
		return nil
	}
	if err := p.run("tune2fs", "-j", p.image); err != nil {
		return err
	}
	if p.super.Compat&disk.CompatOrphanFile == 0 {
		return nil
	}
	return p.run("tune2fs", "-O", "orphan_file", p.image)
}
