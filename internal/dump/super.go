package dump

import (
	"errors"
	"fmt"
	"io"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Superblock shows the superblock at a byte of the image, even one that decodes to nothing.
func Superblock(image io.ReaderAt, at int64, size block.Size, found Sink) error {
	p := make([]byte, disk.SuperblockSize)
	n, err := image.ReadAt(p, at)
	if n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			return ondisk.Corruptf("superblock", "the image ends before byte %d", at+int64(len(p)))
		}
		return err
	}
	r := &Record{Kind: "superblock"}
	r.at(block.Number(at/int64(size)), int(at%int64(size)), p)
	r.stored(disk.SuperblockLayout, p, superNotes(p))
	s, err := disk.DecodeSuperblock(p)
	r.wrong(err)
	if err == nil {
		r.text("kind", s.Kind())
		if !s.IsJournalDevice() {
			r.number("groups", uint64(s.Groups()))
		}
	}
	return found(r)
}

// superNotes says what fields of a superblock mean.
func superNotes(p []byte) map[string]string {
	l := disk.SuperblockLayout
	get := func(name string) uint64 {
		for _, f := range l.Fields {
			if f.Name == name {
				return l.Uint(f, p)
			}
		}
		return 0
	}
	notes := map[string]string{
		"s_feature_compat":    disk.Compat(get("s_feature_compat")).String(),
		"s_feature_incompat":  disk.Incompat(get("s_feature_incompat")).String(),
		"s_feature_ro_compat": disk.ROCompat(get("s_feature_ro_compat")).String(),
		"s_state": bits(get("s_state"), bit{disk.StateClean, "clean"}, bit{disk.StateErrors, "errors"},
			bit{disk.StateOrphan, "orphans"}),
		"s_errors": [...]string{"", "continue", "remount-ro", "panic"}[get("s_errors")&3],
		"s_flags": bits(get("s_flags"), bit{disk.FlagSignedHash, "signed_directory_hash"},
			bit{disk.FlagUnsignedHash, "unsigned_directory_hash"}, bit{4, "test_filesystem"}),
		"s_def_hash_version": HashName(uint8(get("s_def_hash_version"))),
	}
	if log := get("s_log_block_size"); log <= 6 {
		notes["s_log_block_size"] = fmt.Sprintf("%d bytes", 1024<<log)
	}
	if os := get("s_creator_os"); os < 5 {
		notes["s_creator_os"] = [...]string{"Linux", "Hurd", "Masix", "FreeBSD", "Lites"}[os]
	}
	return notes
}

// HashName is the name of a hash version, as dumpe2fs prints it.
func HashName(v uint8) string {
	names := [...]string{"legacy", "half_md4", "tea", "legacy unsigned", "half_md4 unsigned", "tea unsigned", "siphash"}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

type bit struct {
	mask uint64
	name string
}

// bits names the bits that are set.
func bits(v uint64, names ...bit) string {
	out := ""
	for _, b := range names {
		if v&b.mask != 0 {
			out += " " + b.name
			v &^= b.mask
		}
	}
	if v != 0 {
		out += fmt.Sprintf(" 0x%x", v)
	}
	if out == "" {
		return ""
	}
	return out[1:]
}

// Group shows the descriptor of a block group.
func Group(fs *ext4.FS, g disk.Group, found Sink) error {
	at, err := fs.StoredGroup(g)
	if err != nil {
		return err
	}
	s := fs.Superblock()
	r := &Record{Kind: "group descriptor", Which: fmt.Sprint(g)}
	r.at(at.Block, at.Offset, at.Bytes)
	flags := uint64(at.Bytes[0x12]) | uint64(at.Bytes[0x13])<<8
	r.stored(disk.GroupDescLayout, at.Bytes, map[string]string{"bg_flags": GroupFlags(flags)})
	d, err := s.DecodeGroupDesc(g, at.Bytes)
	r.wrong(err)
	r.wrong(s.CheckGroupDesc(g, at.Bytes))
	first := s.GroupFirst(g)
	r.text("blocks", fmt.Sprintf("%d-%d", uint64(first), uint64(first)+uint64(s.GroupBlocks(g))-1))
	r.text("inodes", fmt.Sprintf("%d-%d", uint64(g)*uint64(s.InodesPerGroup)+1, uint64(g+1)*uint64(s.InodesPerGroup)))
	r.number("block_bitmap", uint64(d.BlockBitmap)).number("inode_bitmap", uint64(d.InodeBitmap))
	r.number("inode_table", uint64(d.InodeTable)).number("inode_table_blocks", uint64(s.ITableBlocks()))
	r.number("free_clusters", uint64(d.FreeBlocks)).number("free_inodes", uint64(d.FreeInodes))
	r.number("directories", uint64(d.UsedDirs)).number("unused_inodes", uint64(d.ITableUnused))
	return found(r)
}

// GroupFlags names the flags of a group descriptor, as dumpe2fs does.
func GroupFlags(flags uint64) string {
	return bits(flags, bit{disk.GroupInodeUninit, "INODE_UNINIT"}, bit{disk.GroupBlockUninit, "BLOCK_UNINIT"},
		bit{disk.GroupITableZero, "ITABLE_ZEROED"})
}
