package dump

import (
	"fmt"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// flagNames are the flags of inodes by the kernel's names, without EXT4_ and _FL.
var flagNames = []bit{
	{0x1, "SECRM"}, {0x2, "UNRM"}, {0x4, "COMPR"}, {disk.InodeSync, "SYNC"}, {disk.InodeImmutable, "IMMUTABLE"},
	{disk.InodeAppend, "APPEND"}, {disk.InodeNoDump, "NODUMP"}, {disk.InodeNoAtime, "NOATIME"}, {0x100, "DIRTY"},
	{0x200, "COMPRBLK"}, {0x400, "NOCOMPR"}, {disk.InodeEncrypt, "ENCRYPT"}, {disk.InodeIndex, "INDEX"},
	{0x2000, "IMAGIC"}, {disk.InodeJournalData, "JOURNAL_DATA"}, {disk.InodeNoTail, "NOTAIL"},
	{disk.InodeDirSync, "DIRSYNC"}, {disk.InodeTopDir, "TOPDIR"}, {disk.InodeHugeFile, "HUGE_FILE"},
	{disk.InodeExtents, "EXTENTS"}, {disk.InodeVerity, "VERITY"}, {disk.InodeEAInode, "EA_INODE"},
	{0x400000, "EOFBLOCKS"}, {disk.InodeDAX, "DAX"}, {disk.InodeInlineData, "INLINE_DATA"},
	{disk.InodeProjInherit, "PROJINHERIT"}, {disk.InodeCasefold, "CASEFOLD"},
}

// FlagNames names the flags of an inode.
func FlagNames(flags uint32) string { return bits(uint64(flags), flagNames...) }

// Inode shows an inode, in use or not.
func Inode(fs *ext4.FS, ino ext4.Ino, found Sink) error {
	n, at, problem, err := fs.StoredInode(ino)
	if err != nil {
		return err
	}
	r := &Record{Kind: "inode", Which: fmt.Sprint(ino)}
	r.at(at.Block, at.Offset, at.Bytes)
	l := disk.InodeLayout
	if len(at.Bytes) > 128 { // the fields behind i_extra_isize are no fields
		l = l.Within(max(128+int(n.ExtraIsize), 132))
	}
	r.stored(l, at.Bytes, map[string]string{"i_flags": FlagNames(n.Flags), "i_mode": typeName(n.Mode)})
	r.wrong(problem)
	r.number("size", n.Size).number("blocks_512", n.Blocks).number("uid", uint64(n.UID)).number("gid", uint64(n.GID))
	r.number("file_acl", uint64(n.FileACL)).number("version", n.Version)
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"atime", n.Atime}, {"ctime", n.Ctime}, {"mtime", n.Mtime}, {"crtime", n.Crtime}} {
		if !t.at.IsZero() {
			r.text(t.name, t.at.UTC().Format(time.RFC3339Nano))
		}
	}
	if n.IsDevice() {
		major, minor := n.Device()
		r.text("device", fmt.Sprintf("%d:%d", major, minor))
	}
	if n.Has(disk.InodeEAInode) {
		r.number("ea_references", n.EARefs).number("ea_hash", uint64(n.EAHash))
	}
	return found(r)
}

// typeName is the type of file that a mode has.
func typeName(mode uint16) string {
	names := map[uint16]string{disk.ModeRegular: "regular", disk.ModeDir: "directory", disk.ModeSymlink: "symlink",
		disk.ModeChar: "character device", disk.ModeBlock: "block device", disk.ModeFIFO: "fifo",
		disk.ModeSocket: "socket", 0: "free"}
	if name, ok := names[mode&disk.ModeType]; ok {
		return name
	}
	return "no file type"
}

// Xattrs shows an inode's attributes as they are stored: in the inode, then in a block.
func Xattrs(fs *ext4.FS, ino ext4.Ino, found Sink) error {
	n, at, problem, err := fs.StoredInode(ino)
	if err != nil {
		return err
	}
	r := &Record{Kind: "attributes in the inode", Which: fmt.Sprint(ino)}
	r.at(at.Block, at.Offset+len(at.Bytes)-len(n.XattrArea), n.XattrArea)
	attrs, err := disk.DecodeInodeXattrs(ino, n.XattrArea)
	r.number("bytes", uint64(len(n.XattrArea))).wrong(problem).wrong(err)
	if err := found(r); err != nil {
		return err
	}
	if err := xattrEntries(attrs, found); err != nil || n.FileACL == 0 {
		return err
	}
	r = &Record{Kind: "attribute block", Which: fmt.Sprintf("of inode %d", ino)}
	s := fs.Superblock()
	if !s.Contains(n.FileACL, 1) {
		return found(r.wrong(ondisk.Corruptf(fmt.Sprintf("inode %d", ino), "attributes in block %d, past the image's %d",
			uint64(n.FileACL), uint64(s.Blocks))))
	}
	p, err := fs.Block(n.FileACL)
	if err != nil {
		return err
	}
	r.at(n.FileACL, 0, p).stored(disk.XattrHeaderLayout, p, nil)
	attrs, err = s.DecodeXattrBlock(n.FileACL, p)
	r.wrong(err)
	if err != nil {
		attrs, _ = s.Unsealed().DecodeXattrBlock(n.FileACL, p)
	}
	if err := found(r); err != nil {
		return err
	}
	return xattrEntries(attrs, found)
}

func xattrEntries(attrs []disk.Xattr, found Sink) error {
	for i := range attrs {
		a := &attrs[i]
		r := &Record{Kind: "attribute", line: true, Contents: a.Value}
		name, _ := a.FullName()
		if a.IsInlineData() {
			name = "system.data"
		}
		r.number("e_name_index", uint64(a.Index)).note(name).text("e_name", string(a.Name))
		r.number("e_value_inum", uint64(a.ValueIno)).number("e_value_size", uint64(a.Size))
		r.number("e_hash", uint64(a.Hash)).text("value", hexOf(a.Value))
		if err := found(r); err != nil {
			return err
		}
	}
	return nil
}
