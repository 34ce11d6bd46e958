package fronts

import (
	"sync"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// null is a file system that keeps names and sizes in memory, and no contents: what FUSE itself allows to a daemon that
// does nothing.
type null struct {
	gofuse.RawFileSystem
	mu    sync.RWMutex // guards the rest
	nodes map[uint64]*nullNode
	next  uint64
}

type nullNode struct {
	id    uint64
	mode  uint32
	size  uint64
	names map[string]*nullNode
}

func newNull() *null {
	root := &nullNode{id: 1, mode: syscall.S_IFDIR | 0o777, names: map[string]*nullNode{}}
	return &null{RawFileSystem: gofuse.NewDefaultRawFileSystem(), nodes: map[uint64]*nullNode{1: root}, next: 2}
}

const forever = 1 << 40 * time.Nanosecond

func (n *nullNode) attr(a *gofuse.Attr) {
	a.Ino, a.Mode, a.Size, a.Nlink, a.Blksize = n.id, n.mode, n.size, 1, 4096
}

func (n *nullNode) entry(out *gofuse.EntryOut) {
	out.NodeId = n.id
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	n.attr(&out.Attr)
}

func (f *null) String() string { return "null" }

func (f *null) Lookup(_ <-chan struct{}, h *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.nodes[h.NodeId].names[name]; n != nil {
		n.entry(out)
		return gofuse.OK
	}
	out.SetEntryTimeout(forever)
	return gofuse.OK
}

func (f *null) GetAttr(_ <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return gofuse.Status(syscall.ESTALE)
	}
	out.SetTimeout(forever)
	n.attr(&out.Attr)
	return gofuse.OK
}

func (f *null) SetAttr(_ <-chan struct{}, in *gofuse.SetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if size, ok := in.GetSize(); ok {
		n.size = size
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode&0o7777
	}
	out.SetTimeout(forever)
	n.attr(&out.Attr)
	return gofuse.OK
}

func (f *null) add(parent uint64, name string, mode uint32, out *gofuse.EntryOut) gofuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &nullNode{id: f.next, mode: mode}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.names = map[string]*nullNode{}
	}
	f.next++
	f.nodes[n.id], f.nodes[parent].names[name] = n, n
	n.entry(out)
	return gofuse.OK
}

func (f *null) Mknod(_ <-chan struct{}, in *gofuse.MknodIn, name string, out *gofuse.EntryOut) gofuse.Status {
	return f.add(in.NodeId, name, in.Mode, out)
}

func (f *null) Mkdir(_ <-chan struct{}, in *gofuse.MkdirIn, name string, out *gofuse.EntryOut) gofuse.Status {
	return f.add(in.NodeId, name, in.Mode&0o7777|syscall.S_IFDIR, out)
}

func (f *null) Symlink(_ <-chan struct{}, h *gofuse.InHeader, _, name string, out *gofuse.EntryOut) gofuse.Status {
	return f.add(h.NodeId, name, syscall.S_IFLNK|0o777, out)
}

func (f *null) Create(_ <-chan struct{}, in *gofuse.CreateIn, name string, out *gofuse.CreateOut) gofuse.Status {
	out.OpenFlags = openFlags(in.Flags)
	return f.add(in.NodeId, name, in.Mode&0o7777|syscall.S_IFREG, &out.EntryOut)
}

func openFlags(flags uint32) uint32 {
	if flags&syscall.O_DIRECT != 0 {
		return gofuse.FOPEN_DIRECT_IO | gofuse.FOPEN_PARALLEL_DIRECT_WRITES
	}
	return gofuse.FOPEN_KEEP_CACHE
}

func (f *null) Open(_ <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	out.OpenFlags = openFlags(in.Flags)
	return gofuse.OK
}

func (f *null) remove(h *gofuse.InHeader, name string) gofuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.nodes[h.NodeId].names, name)
	return gofuse.OK
}

func (f *null) Unlink(_ <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	return f.remove(h, name)
}

func (f *null) Rmdir(_ <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	return f.remove(h, name)
}

func (f *null) Rename(_ <-chan struct{}, in *gofuse.RenameIn, name, newName string) gofuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId].names[name]
	delete(f.nodes[in.NodeId].names, name)
	f.nodes[in.Newdir].names[newName] = n
	return gofuse.OK
}

func (f *null) Forget(id, _ uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.nodes, id)
}

func (f *null) Write(_ <-chan struct{}, in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	n.size = max(n.size, in.Offset+uint64(len(data)))
	return uint32(len(data)), gofuse.OK
}

func (f *null) Read(_ <-chan struct{}, _ *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	clear(buf)
	return gofuse.ReadResultData(buf), gofuse.OK
}

func (f *null) OpenDir(<-chan struct{}, *gofuse.OpenIn, *gofuse.OpenOut) gofuse.Status {
	return gofuse.ENOSYS
}

func (f *null) ReadDir(<-chan struct{}, *gofuse.ReadIn, *gofuse.DirEntryList) gofuse.Status {
	return gofuse.OK
}

func (f *null) Flush(<-chan struct{}, *gofuse.FlushIn) gofuse.Status    { return gofuse.ENOSYS }
func (f *null) Fsync(<-chan struct{}, *gofuse.FsyncIn) gofuse.Status    { return gofuse.OK }
func (f *null) FsyncDir(<-chan struct{}, *gofuse.FsyncIn) gofuse.Status { return gofuse.OK }

func (f *null) StatFs(_ <-chan struct{}, _ *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	out.Blocks, out.Bfree, out.Bavail, out.Files, out.Ffree = 1<<30, 1<<30, 1<<30, 1<<30, 1<<30
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	return gofuse.OK
}
