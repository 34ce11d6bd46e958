package volume_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
	"github.com/varvefs/varve/ondisk/jbd2"
)

// crafted is a fast commit of one record, or several, in place of those of an image.
func crafted(t *testing.T, image []byte, records ...[]byte) []byte {
	t.Helper()
	fs, err := ext4.Open(blockcache.Memory(image), ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	places, next, err := fs.JournalPlaces()
	if err != nil {
		t.Fatal(err)
	}
	size := fs.Superblock().BlockSize
	super, err := jbd2.DecodeSuperblock(image[size.Offset(places[0]):])
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	tag := func(t uint16, value []byte) []byte {
		return append(le.AppendUint16(le.AppendUint16(nil, t), uint16(len(value))), value...)
	}
	area := tag(jbd2.FastHead, le.AppendUint32(make([]byte, 4), uint32(next)))
	for _, r := range records {
		area = append(area, tag(le.Uint16(r), r[2:])...)
	}
	area = append(area, jbd2.FastTail, 0, 8, 0)
	area = le.AppendUint32(area, uint32(next))
	area = le.AppendUint32(area, ^crc32.Update(^uint32(0), crc32.MakeTable(crc32.Castagnoli), area))
	out := bytes.Clone(image)
	copy(out[size.Offset(places[super.FastFirst()]):], area)
	return out
}

// TestFastCommits_Damage has fast commits that cannot be. They are refused as damage, and the image stays as it is to
// recovery.
func TestFastCommits_Damage(t *testing.T) {
	oracle.NeedRoot(t)
	image, err := os.ReadFile(fastImage(t, fastForms["1k"], 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	fs, err := ext4.Open(blockcache.Memory(image), ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	file := must[*ext4.Inode](t)(fs.Resolve("sub/inner", false))
	other := must[*ext4.Inode](t)(fs.Resolve("sub", false))
	in := must[ext4.Run](t)(other.Map(0))
	le := binary.LittleEndian
	record := func(tag uint16, words ...uint32) []byte {
		p := le.AppendUint16(nil, tag)
		for _, w := range words {
			p = le.AppendUint32(p, w)
		}
		return p
	}
	extent := func(n, start uint32) []uint32 { return []uint32{uint32(file.Ino), 5, n, start} }
	group := must[disk.GroupDesc](t)(fs.GroupDesc(0))
	for name, c := range map[string]struct {
		record []byte
		says   string
	}{
		"a block in use":     {record(jbd2.FastAddRange, extent(1, uint32(in.Start))...), "in use already"},
		"a block of tables":  {record(jbd2.FastAddRange, extent(1, uint32(group.InodeTable))...), "the file system's own"},
		"the journal":        {record(jbd2.FastAddRange, 8, 5, 1, 8000), "no file's"},
		"no inode":           {record(jbd2.FastDelRange, 1<<30, 0, 1), "no file's"},
		"a free inode":       {append(record(jbd2.FastLink, 2, 1500), "name"...), "is free"},
		"a name in a file":   {append(record(jbd2.FastLink, uint32(file.Ino), uint32(file.Ino)), "name"...), "no directory"},
		"a name with a null": {append(record(jbd2.FastLink, 2, uint32(file.Ino)), "na\x00me"...), "name"},
		"a full directory":   {append(record(jbd2.FastUnlink, 2, uint32(other.Ino)), "sub"...), "not empty"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := blockcache.NewRAM(crafted(t, image, c.record))
			w, err := volume.OpenOn(bad, volume.WriteOptions{})
			if err == nil {
				_ = w.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, expected an error that says %q", err, c.says)
			}
			if fs, err := ext4.Open(blockcache.Memory(bad.Bytes()), ext4.Options{}); err != nil || fs.TakeFastCommits() == nil {
				t.Errorf("the fast commits are gone: %v", err)
			}
		})
	}
}
