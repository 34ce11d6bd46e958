package ext4

import (
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Bounds of ProvablyNoXattrs, in bytes.
const (
	scanLimit = 256 << 20 // inode tables larger than this are not searched
	scanChunk = 256 << 10
)

// ProvablyNoXattrs searches all inodes in use, and reports true only if it read every one of them and none has an
// extended attribute.
func (fs *FS) ProvablyNoXattrs() bool {
	if fs.log.at != nil || fs.fast != nil {
		return false
	}
	s := fs.super
	if uint64(s.Inodes)*uint64(s.InodeSize) > scanLimit {
		return false
	}
	chunk := make([]byte, scanChunk)
	for g := range s.Groups() {
		d, err := fs.GroupDesc(g)
		if err != nil {
			return false
		}
		used := s.InodesPerGroup
		if s.HasGroupCsum() {
			if d.Flags&disk.GroupInodeUninit != 0 {
				continue
			}
			used -= min(used, d.ITableUnused)
		}
		first := Ino(uint32(g)*s.InodesPerGroup + 1)
		if !fs.tableWithoutXattrs(first, used, s.BlockSize.Offset(d.InodeTable), chunk) {
			return false
		}
	}
	return true
}

// tableWithoutXattrs searches the first used inodes of a table at a byte offset of the image.
func (fs *FS) tableWithoutXattrs(first Ino, used uint32, offset int64, chunk []byte) bool {
	size := int(fs.super.InodeSize)
	var n disk.Inode
	for left := int(used) * size; left > 0; {
		p := chunk[:min(len(chunk), left)]
		if n, _ := fs.image.ReadAt(p, offset); n < len(p) {
			return false
		}
		offset += int64(len(p))
		left -= len(p)
		for ; len(p) >= size; p = p[size:] {
			if p[0] == 0 && p[1] == 0 { // no mode: never used
				first++
				continue
			}
			if err := fs.super.DecodeInode(&n, first, p); err != nil || n.FileACL != 0 ||
				disk.HasInodeXattrs(n.XattrArea) {
				return false
			}
			first++
		}
	}
	return true
}
