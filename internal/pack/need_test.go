package pack

import (
	"context"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/importer"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestNeed counts what entries take: files in whole units, names in their directory, no second inode for a hard link;
// and gives other trees other names.
func TestNeed(t *testing.T) {
	file := importer.Entry{Path: "d/file", Mode: disk.ModeRegular | 0o644, Size: 5000, Mtime: time.Unix(9, 0)}
	entries := []importer.Entry{
		{Path: "d", Mode: disk.ModeDir | 0o755, Mtime: time.Unix(5, 0)}, file, {Path: "other", Link: "d/file"},
		{Path: "long", Mode: disk.ModeSymlink | 0o777, Target: string(make([]byte, 100))},
		{Path: "attr", Mode: disk.ModeFIFO, Xattrs: []importer.Xattr{{Name: "user.a", Value: make([]byte, 200)}}},
	}
	count := func(entries ...importer.Entry) need {
		var n need
		for _, e := range entries {
			if err := n.add(context.Background(), e); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	n := count(entries...)
	if n.inodes != 4 || n.bytes != 5000 || !n.newest.Equal(time.Unix(9, 0)) {
		t.Errorf("%d inodes, %d bytes, newest %v", n.inodes, n.bytes, n.newest)
	}
	if n.blocks[0] != 5+1+1 || n.blocks[2] != 2+1+1 {
		t.Errorf("blocks %v: a file of 5000 bytes, a long symlink, and a block of attributes", n.blocks)
	}
	if len(n.names) != 2 || n.names["/d"] != 24+12 {
		t.Errorf("entries %v", n.names)
	}
	again := count(entries...)
	if n.uuid() != again.uuid() {
		t.Error("one tree has two names")
	}
	file.Mode |= 0o111
	if a, b := count(entries[1]), count(file); a.uuid() == b.uuid() {
		t.Error("two trees have one name")
	}
}
