package fuse

import (
	"bytes"
	"encoding/binary"
	"io"
	"log"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// Opcodes of the protocol (include/uapi/linux/fuse.h).
const (
	wireLookup      = 1
	wireForget      = 2
	wireGetAttr     = 3
	wireSetAttr     = 4
	wireReadlink    = 5
	wireSymlink     = 6
	wireMknod       = 8
	wireMkdir       = 9
	wireUnlink      = 10
	wireRmdir       = 11
	wireLink        = 13
	wireOpen        = 14
	wireRead        = 15
	wireWrite       = 16
	wireStatFs      = 17
	wireRelease     = 18
	wireFsync       = 20
	wireSetXattr    = 21
	wireGetXattr    = 22
	wireListXattr   = 23
	wireRemoveXattr = 24
	wireFlush       = 25
	wireInit        = 26
	wireOpenDir     = 27
	wireReadDir     = 28
	wireFsyncDir    = 30
	wireCreate      = 35
	wireInterrupt   = 36
	wireIoctl       = 39
	wireFallocate   = 43
	wireReadDirPlus = 44
	wireRename      = 45
	wireLseek       = 46
	wireCopy        = 47
	wireTmpfile     = 51
	wireStatx       = 52
)

// wire speaks the kernel's side of the protocol with a front, without a mount.
type wire struct {
	t      testing.TB
	server *gofuse.ProtocolServer
	unique atomic.Uint64
	uid    uint32
	pid    uint32
}

// newWire connects to a front.
func newWire(t testing.TB, front gofuse.RawFileSystem, o Options, readonly bool) *wire {
	t.Helper()
	o.Logger = log.New(io.Discard, "", 0)
	w := &wire{t: t, server: gofuse.NewProtocolServer(front, o.protocol(readonly))}
	w.must(wireInit, gofuse.InitIn{Major: 7, Minor: 45, MaxReadAhead: 1 << 20, Flags: 1<<32 - 1, Flags2: 1<<31 - 1})
	return w
}

// encode is a request of a body, which begins with the header, and what follows it. A body that is a number stands for
// a request that is a header only, for that node.
func (w *wire) encode(op uint32, unique uint64, body any, tail ...[]byte) []byte {
	if node, ok := body.(uint64); ok {
		body = gofuse.InHeader{NodeId: node}
	}
	p, err := binary.Append(nil, binary.LittleEndian, body)
	if err != nil {
		panic(err)
	}
	p = append(p, bytes.Join(tail, nil)...)
	le := binary.LittleEndian
	le.PutUint32(p, uint32(len(p)))
	le.PutUint32(p[4:], op)
	le.PutUint64(p[8:], unique)
	le.PutUint32(p[24:], w.uid)
	le.PutUint32(p[28:], w.uid)
	le.PutUint32(p[32:], w.pid)
	return p
}

// send makes a request, and returns the answer's body.
func (w *wire) send(op uint32, unique uint64, body any, tail ...[]byte) ([]byte, syscall.Errno) {
	out := make([]byte, maxRead+4096)
	n, status := w.server.HandleRequest([][]byte{w.encode(op, unique, body, tail...)}, [][]byte{out})
	if !status.Ok() {
		return nil, syscall.Errno(status)
	}
	if n < outHeaderSize {
		return nil, 0 // no answer, as for FORGET
	}
	return out[outHeaderSize:n], syscall.Errno(-int32(binary.LittleEndian.Uint32(out[4:])))
}

func (w *wire) call(op uint32, body any, tail ...[]byte) ([]byte, syscall.Errno) {
	return w.send(op, w.unique.Add(1), body, tail...)
}

func (w *wire) must(op uint32, body any, tail ...[]byte) []byte {
	w.t.Helper()
	out, errno := w.call(op, body, tail...)
	if errno != 0 {
		w.t.Fatalf("opcode %d: %v", op, errno)
	}
	return out
}

// refused expects an errno.
func (w *wire) refused(want syscall.Errno, op uint32, body any, tail ...[]byte) {
	w.t.Helper()
	if _, errno := w.call(op, body, tail...); errno != want {
		w.t.Errorf("opcode %d: %v, expected %v", op, errno, want)
	}
}

// name is a name as a request has it.
func name(s string) []byte { return append([]byte(s), 0) }

// head is the header of a request about a node.
func head(node uint64) gofuse.InHeader { return gofuse.InHeader{NodeId: node} }

// decode reads an answer.
func decode[T any](t testing.TB, p []byte) (v T) {
	t.Helper()
	if _, err := binary.Decode(p, binary.LittleEndian, &v); err != nil {
		t.Fatalf("an answer of %d bytes for a %T: %v", len(p), v, err)
	}
	return v
}

func (w *wire) lookup(dir uint64, s string) gofuse.EntryOut {
	w.t.Helper()
	return decode[gofuse.EntryOut](w.t, w.must(wireLookup, dir, name(s)))
}

func (w *wire) mkdir(dir uint64, s string) uint64 {
	w.t.Helper()
	return decode[gofuse.EntryOut](
		w.t,
		w.must(wireMkdir, gofuse.MkdirIn{InHeader: head(dir), Mode: 0o755}, name(s)),
	).NodeId
}

func (w *wire) create(dir uint64, s string) uint64 {
	w.t.Helper()
	return decode[gofuse.CreateOut](
		w.t,
		w.must(wireCreate, gofuse.CreateIn{InHeader: head(dir), Mode: 0o644, Flags: syscall.O_RDWR}, name(s)),
	).NodeId
}

func (w *wire) write(node, offset uint64, data []byte) uint32 {
	w.t.Helper()
	in := gofuse.WriteIn{InHeader: head(node), Offset: offset, Size: uint32(len(data))}
	return decode[gofuse.WriteOut](w.t, w.must(wireWrite, in, data)).Size
}

func (w *wire) read(node, offset uint64, size uint32) []byte {
	w.t.Helper()
	return w.must(wireRead, gofuse.ReadIn{InHeader: head(node), Offset: offset, Size: size})
}

// wireEntry is an entry of a listing. Node is 0 where it came without attributes.
type wireEntry struct {
	name string
	node uint64
	next uint64
}

// list reads a directory from an offset on, in one request of so many bytes.
func (w *wire) list(op uint32, dir, offset uint64, size uint32) (out []wireEntry) {
	w.t.Helper()
	p := w.must(op, gofuse.ReadIn{InHeader: head(dir), Offset: offset, Size: size})
	le := binary.LittleEndian
	for len(p) > 0 {
		var e wireEntry
		if op == wireReadDirPlus {
			e.node = le.Uint64(p)
			p = p[binary.Size(gofuse.EntryOut{}):]
		}
		n := int(le.Uint32(p[16:]))
		e.next, e.name = le.Uint64(p[8:]), string(p[24:24+n])
		out = append(out, e)
		p = p[(24+n+7)&^7:]
	}
	return out
}

// stalling is a device whose flushes wait while it is held.
type stalling struct {
	blockcache.Writable
	held    atomic.Pointer[chan struct{}]
	waiting chan struct{}
}

func (d *stalling) Sync() error {
	if held := d.held.Load(); held != nil {
		d.waiting <- struct{}{}
		<-*held
	}
	return d.Writable.Sync()
}

// hold has flushes wait until the function that it returns is called.
func (d *stalling) hold() (release func()) {
	held := make(chan struct{})
	d.held.Store(&held)
	return func() {
		d.held.Store(nil)
		close(held)
	}
}

// wired is a writable front, with what is below it.
type wired struct {
	*wire
	front  *writable
	volume *volume.Writable
	device *stalling
	ram    *blockcache.RAM
	nodes  map[string]uint64 // by name, for tests that keep them
}

// newWired is a front over a fresh image in memory, connected.
func newWired(t testing.TB, o Options, mkfs ...string) *wired {
	t.Helper()
	image, err := os.ReadFile(oracle.NewImage(t, 8<<20, append([]string{"-t", "ext4"}, mkfs...)...))
	if err != nil {
		t.Fatal(err)
	}
	d := &wired{ram: blockcache.NewRAM(image)}
	d.device = &stalling{Writable: d.ram, waiting: make(chan struct{}, 16)}
	if d.volume, err = volume.OpenOn(d.device, volume.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.volume.Close(); err != nil {
			t.Error(err)
		}
	})
	d.front = newWritable(d.volume.Writable, log.New(io.Discard, "", 0))
	d.front.opendir, d.front.noOpen, d.front.writeback = o.AutoUnmount, o.NoOpen, o.Writeback
	d.wire = newWire(t, tapped(d.front, o.Observer), o, false)
	return d
}

// newReadOnly is a front that only reads, over an image that populate has changed.
func newReadOnly(t testing.TB, populate func(*wired)) *wire {
	t.Helper()
	d := newWired(t, Options{})
	populate(d)
	d.must(wireFsync, gofuse.FsyncIn{InHeader: head(1)})
	image := make([]byte, d.ram.Size())
	if _, err := d.ram.ReadAt(image, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	device := blockcache.NewRAM(image)
	fs, err := ext4.Open(device, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return newWire(
		t,
		newFront(fs, device, blockcache.NewReadahead(device), log.New(io.Discard, "", 0)),
		Options{},
		true,
	)
}
