package ext4

import "sort"

// fieldName is where a field of a structure begins.
type fieldName struct {
	off  int
	name string
}

// inodeFields are the fields of an inode, in order (ext4 doc, "Index Nodes"). The two halves of a number have one name.
var inodeFields = []fieldName{
	{OffMode, "mode"}, {OffUIDLow, "owner"}, {OffSizeLow, "size"}, {OffAtime, "atime"}, {OffCtime, "ctime"},
	{OffMtime, "mtime"}, {OffDtime, "dtime"}, {OffGIDLow, "group"}, {OffLinks, "links"}, {OffBlocksLow, "blocks"},
	{OffFlags, "flags"}, {0x24, "version"}, {OffBlock, "block map"}, {OffGeneration, "generation"},
	{OffFileACLLow, "attribute block"}, {OffSizeHigh, "size"}, {0x70, "fragment"}, {OffBlocksHigh, "blocks"},
	{OffACLHigh, "attribute block"}, {OffUIDHigh, "owner"}, {OffGIDHigh, "group"}, {0x7c, "checksum"},
	{0x7e, "reserved"}, {0x80, "extra size"}, {0x82, "checksum"}, {OffCtimeExtra, "ctime"}, {OffMtimeExtra, "mtime"},
	{OffAtimeExtra, "atime"}, {OffCrtime, "crtime"}, {OffCrtimeX, "crtime"}, {0x98, "version"}, {OffProject, "project"},
	{0xa0, "attributes"},
}

// groupFields are the fields of a group descriptor, in order (ext4 doc, "Block Group Descriptors").
var groupFields = []fieldName{
	{0x0, "block bitmap"}, {0x4, "inode bitmap"}, {0x8, "inode table"}, {0xc, "free blocks"}, {0xe, "free inodes"},
	{0x10, "directories"}, {0x12, "flags"}, {0x14, "snapshot"}, {0x18, "checksum of the block bitmap"},
	{0x1a, "checksum of the inode bitmap"}, {0x1c, "unused inodes"}, {0x1e, "checksum"}, {0x20, "block bitmap"},
	{0x24, "inode bitmap"}, {0x28, "inode table"}, {0x2c, "free blocks"}, {0x2e, "free inodes"}, {0x30, "directories"},
	{0x32, "unused inodes"}, {0x34, "snapshot"}, {0x38, "checksum of the block bitmap"},
	{0x3a, "checksum of the inode bitmap"}, {0x3c, "reserved"},
}

// InodeField names the field at an offset of an inode.
func InodeField(off int) string { return nameAt(inodeFields, off) }

// GroupField names the field at an offset of a group descriptor.
func GroupField(off int) string { return nameAt(groupFields, off) }

func nameAt(fields []fieldName, off int) string {
	i := sort.Search(len(fields), func(i int) bool { return fields[i].off > off })
	return fields[max(i-1, 0)].name
}

// NextInodeField is the offset of the field behind the one at an offset, or the size of an inode.
func NextInodeField(off, size int) int { return nextAfter(inodeFields, off, size) }

// NextGroupField is the offset of the field behind the one at an offset, or the size of a descriptor.
func NextGroupField(off, size int) int { return nextAfter(groupFields, off, size) }

func nextAfter(fields []fieldName, off, size int) int {
	i := sort.Search(len(fields), func(i int) bool { return fields[i].off > off })
	if i == len(fields) {
		return size
	}
	return min(fields[i].off, size)
}
