package fuse

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// TestWire_ReadOnly reads what a writable front has made, by one that only reads.
func TestWire_ReadOnly(t *testing.T) {
	data := bytes.Repeat([]byte("contents "), 5000)
	var f, d uint64
	w := newReadOnly(t, func(w *wired) {
		d = w.mkdir(1, "d")
		f = w.create(d, "f")
		w.write(f, 4096, data)
		w.must(wireSymlink, d, name("s"), name("target"))
		w.must(wireSetXattr, gofuse.SetXAttrIn{InHeader: head(f), Size: 1}, name("user.a"), []byte("1"))
	})
	if e := w.lookup(1, "d"); e.NodeId != d || e.EntryValid == 0 || e.AttrValid == 0 {
		t.Errorf("the directory is %+v", e)
	}
	if e := w.lookup(d, "none"); e.NodeId != 0 {
		t.Errorf("a name that is not there is %+v", e)
	}
	w.refused(syscall.ENAMETOOLONG, wireLookup, d, name(strings.Repeat("n", 256)))
	w.refused(syscall.ENOTDIR, wireLookup, f, name("x"))
	w.refused(syscall.ESTALE, wireGetAttr, gofuse.GetAttrIn{InHeader: head(f + 1<<32)})
	w.refused(syscall.ESTALE, wireGetAttr, gofuse.GetAttrIn{InHeader: head(d<<33 | f&(1<<32-1))})

	want := append(make([]byte, 4096), data...)
	for _, at := range []int{0, 1, 4000, 4096, 5000, len(want) - 3} {
		if got := w.read(f, uint64(at), 8192); !bytes.Equal(got, want[at:min(at+8192, len(want))]) {
			t.Errorf("%d bytes at %d", len(got), at)
		}
	}
	if got := w.read(f, uint64(len(want)), 10); len(got) != 0 {
		t.Errorf("%d bytes behind the end", len(got))
	}
	if got := w.must(wireReadlink, w.lookup(d, "s").NodeId); string(got) != "target" {
		t.Errorf("the symlink is to %q", got)
	}
	if got := w.must(wireGetXattr, gofuse.GetXAttrIn{InHeader: head(f), Size: 10}, name("user.a")); string(got) != "1" {
		t.Errorf("the attribute is %q", got)
	}
	if list := w.list(wireReadDirPlus, d, 0, 4096); len(list) != 4 || list[2].node == 0 {
		t.Errorf("the directory has %+v", list)
	}
	const hole = 4
	if at := decode[gofuse.LseekOut](t, w.must(wireLseek, gofuse.LseekIn{InHeader: head(f),
		Whence: hole})).Offset; at != 0 {
		t.Errorf("the first hole is at %d", at)
	}
	// These requests the kernel must stop sending.
	w.refused(syscall.ENOSYS, wireOpen, gofuse.OpenIn{InHeader: head(f)})
	w.refused(syscall.ENOSYS, wireOpenDir, gofuse.OpenIn{InHeader: head(1)})
	w.refused(syscall.ENOSYS, wireFlush, gofuse.FlushIn{InHeader: head(f)})

	for op, body := range map[uint32]any{
		wireSetAttr: gofuse.SetAttrInCommon{InHeader: head(f)}, wireSetXattr: gofuse.SetXAttrIn{InHeader: head(f)},
		wireMknod: gofuse.MknodIn{InHeader: head(1)}, wireMkdir: gofuse.MkdirIn{InHeader: head(1)}, wireUnlink: d,
		wireRmdir: d,
		wireLink:  gofuse.LinkIn{InHeader: head(1), Oldnodeid: f}, wireRemoveXattr: f,
		wireCreate:  gofuse.CreateIn{InHeader: head(1)},
		wireTmpfile: gofuse.CreateIn{InHeader: head(1)}, wireWrite: gofuse.WriteIn{InHeader: head(f)},
		wireFallocate: gofuse.FallocateIn{InHeader: head(f)}, wireCopy: gofuse.CopyFileRangeIn{InHeader: head(f),
			NodeIdOut: f},
	} {
		w.refused(syscall.EROFS, op, body, name("f"))
	}
	w.refused(syscall.EROFS, wireRename, gofuse.RenameIn{InHeader: head(1), Newdir: d}, name("d"), name("e"))
	w.refused(syscall.EROFS, wireSymlink, uint64(1), name("s"), name("t"))

	req := gofuse.IoctlIn{InHeader: head(f), Cmd: fsIocGetVersion, OutSize: 4}
	if got := w.must(wireIoctl, req)[16:]; binary.NativeEndian.Uint32(got) != uint32(f>>32) {
		t.Errorf("the generation is %x, the node %x", got, f)
	}
	w.refused(syscall.ENOTTY, wireIoctl, gofuse.IoctlIn{InHeader: head(f), Cmd: 1})
}
