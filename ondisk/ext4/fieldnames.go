package ext4

import (
	"strings"

	"github.com/varvefs/varve/ondisk"
)

// InodeField names the field at an offset of an inode in words, and says where it ends.
func InodeField(off int) (name string, end int) {
	if off >= InodeLayout.Size() {
		return "attributes", 1 << 16
	}
	return fieldAt(InodeLayout, off)
}

// GroupField is InodeField for a group descriptor.
func GroupField(off int) (name string, end int) { return fieldAt(GroupDescLayout, off) }

// halves are what the names of the parts of one number have beside its own.
var halves = []string{"_lo", "_hi", "_high", "_extra"}

// fieldAt names the field at an offset. The parts of a number have one name.
func fieldAt(l ondisk.Layout, off int) (name string, end int) {
	for _, f := range l.Fields {
		if end = f.Off + f.Size; off >= end {
			continue
		}
		name = f.Name
		for _, prefix := range []string{"l_", "i_", "bg_"} {
			name = strings.TrimPrefix(name, prefix)
		}
		for _, half := range halves {
			name = strings.TrimSuffix(name, half)
		}
		return strings.ReplaceAll(name, "_", " "), end
	}
	return "reserved", off + 1
}
