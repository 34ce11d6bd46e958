package volume

import (
	"errors"
	"fmt"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// signature is what another format has at a fixed place.
type signature struct {
	offset int64
	bytes  string
	name   string
	advice string
}

var signatures = []signature{
	{0, "XFSB", "an XFS file system", ""},
	{0x10040, "_BHRfS_M", "a btrfs file system", ""},
	{0x400, "\x10\x20\xf5\xf2", "an F2FS file system", ""},
	{0x400, "\xe2\xe1\xf5\xe0", "an EROFS file system", ""},
	{0, "hsqs", "a squashfs image", ""},
	{0x8001, "CD001", "an ISO 9660 image", ""},
	{3, "NTFS    ", "an NTFS file system", ""},
	{3, "EXFAT   ", "an exFAT file system", ""},
	{0x36, "FAT1", "a FAT file system", ""},
	{0x52, "FAT32", "a FAT file system", ""},
	{0xff6, "SWAPSPACE2", "swap space", ""},
	{0, "LUKS\xba\xbe", "a LUKS encrypted volume", "open it with cryptsetup and name the device under /dev/mapper"},
	{0x218, "LVM2 001", "an LVM physical volume", "activate it and name the logical volume's device"},
	{0, "QFI\xfb", "a qcow2 disk image", "convert it with: qemu-img convert -O raw"},
	{0, "vhdxfile", "a VHDX disk image", "convert it with: qemu-img convert -O raw"},
	{0, "KDMV", "a VMDK disk image", "convert it with: qemu-img convert -O raw"},
	{0, "\x3a\xff\x26\xed", "an Android sparse image", "convert it with simg2img"},
	{0, "\x1f\x8b", "compressed with gzip", "unpack it first"},
	{0, "\xfd7zXZ", "compressed with xz", "unpack it first"},
	{0, "\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"},
}

// explain adds to the error of an image that holds no ext file system what it seems to hold, and what to do.
func explain(err error, d blockcache.Device) error {
	if errors.Is(err, ondisk.ErrUnsupported) {
		return err
	}
	if errors.Is(err, ondisk.ErrCorrupt) && !errors.Is(err, disk.ErrMagic) {
		return backupAdvice(err, d)
	}
	for _, s := range signatures {
		p := make([]byte, len(s.bytes))
		if n, _ := d.ReadAt(p, s.offset); n == len(p) && string(p) == s.bytes {
			if s.advice != "" {
				return fmt.Errorf("%w; it looks like %s: %s", err, s.name, s.advice)
			}
			return fmt.Errorf("%w; it looks like %s", err, s.name)
		}
	}
	if scheme, parts := blockcache.Partitions(d); scheme != "" {
		return fmt.Errorf(
			"%w; it has a partition table (%s): choose with --part auto or --part N: %s",
			err,
			scheme,
			list(parts),
		)
	}
	return backupAdvice(err, d)
}

// backupAdvice names a backup superblock that is sound, if one lies at a usual place (mke2fs(8), option -b).
func backupAdvice(err error, d blockcache.Device) error {
	if _, e := ext4.ReadSuperblock(d, 0); e == nil {
		return err // the damage is elsewhere
	}
	for _, offset := range []int64{8193 << 10, 32768 << 12, 16384 << 11} {
		if super, e := ext4.ReadSuperblock(d, offset); e == nil && super.BlockGroup == 1 {
			return fmt.Errorf("%w; a sound backup lies at byte %d: use -o sb=%d", err, offset, offset>>10)
		}
	}
	return err
}
