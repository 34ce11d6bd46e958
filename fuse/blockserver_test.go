package fuse

import (
	"bytes"
	"encoding/binary"
	"io"
	"log"
	"os"
	"syscall"
	"testing"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// kernelEnd is the kernel's end of the connection to a blockServer.
type kernelEnd struct {
	*wire
	fd     int
	server *blockServer
	volume *volume.Writable
	ram    *blockcache.RAM
}

// newKernelEnd connects a blockServer to a socket in place of /dev/fuse.
func newKernelEnd(t *testing.T) *kernelEnd {
	t.Helper()
	image, err := os.ReadFile(oracle.NewImage(t, 8<<20, "-t", "ext4"))
	if err != nil {
		t.Fatal(err)
	}
	k := &kernelEnd{wire: &wire{t: t}, ram: blockcache.NewRAM(image)}
	if k.volume, err = volume.OpenOn(k.ram, volume.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.volume.Close(); err != nil {
			t.Error(err)
		}
	})
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	k.fd = pair[0]
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	tv := unix.NsecToTimeval(int64(20 * time.Second)) // no read of the test waits for ever
	if err := unix.SetsockoptTimeval(k.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	o := Options{Logger: log.New(io.Discard, "", 0)}
	k.put(wireInit, 1, gofuse.InitIn{Major: 7, Minor: 45, Flags: 1<<32 - 1, Flags2: 1<<31 - 1})
	front := newWritable(k.volume.Writable, o.Logger)
	if k.server, err = newBlockServer(front, pair[1], t.TempDir(), o.protocol(false)); err != nil {
		t.Fatal(err)
	}
	if _, errno := k.get(1); errno != 0 {
		t.Fatal(errno)
	}
	k.server.readers++ // as start does
	go k.server.loop()
	return k
}

func (k *kernelEnd) put(op uint32, unique uint64, body any, tail ...[]byte) {
	k.t.Helper()
	if _, err := unix.Write(k.fd, k.encode(op, unique, body, tail...)); err != nil {
		k.t.Fatal(err)
	}
}

// get is the next answer, which must be that to a request.
func (k *kernelEnd) get(unique uint64) ([]byte, syscall.Errno) {
	k.t.Helper()
	p := make([]byte, largeRequest)
	n, err := unix.Read(k.fd, p)
	if err != nil || n < outHeaderSize {
		k.t.Fatalf("%d bytes: %v", n, err)
	}
	if got := binary.LittleEndian.Uint64(p[8:]); got != unique || int(binary.LittleEndian.Uint32(p)) != n {
		k.t.Fatalf("an answer of %d bytes to request %d, expected one to %d", n, got, unique)
	}
	return p[outHeaderSize:n], syscall.Errno(-int32(binary.LittleEndian.Uint32(p[4:])))
}

// TestBlockServer_Requests: requests of all sizes are served; SYNCFS makes everything durable; DESTROY is answered when
// all is released.
func TestBlockServer_Requests(t *testing.T) {
	k := newKernelEnd(t)
	k.put(wireCreate, 10, gofuse.CreateIn{InHeader: head(1), Mode: 0o644}, name("f"))
	made, errno := k.get(10)
	if errno != 0 {
		t.Fatal(errno)
	}
	f := decode[gofuse.CreateOut](t, made).NodeId
	data := bytes.Repeat([]byte("0123456789abcdef"), 8<<10) // larger than smallRequest
	k.put(wireWrite, 11, gofuse.WriteIn{InHeader: head(f), Size: uint32(len(data))}, data)
	if out, errno := k.get(11); errno != 0 || decode[gofuse.WriteOut](t, out).Size != uint32(len(data)) {
		t.Errorf("a large write: %v, %x", errno, out)
	}
	k.put(wireRead, 12, gofuse.ReadIn{InHeader: head(f), Size: uint32(len(data))})
	if out, errno := k.get(12); errno != 0 || !bytes.Equal(out, data) {
		t.Errorf("a large read: %v, %d bytes", errno, len(out))
	}
	k.put(wireLookup, 13, uint64(1), name("none"))
	if out, errno := k.get(13); errno != 0 || decode[gofuse.EntryOut](t, out).NodeId != 0 {
		t.Errorf("a name that is not there: %v", errno)
	}
	k.put(99, 14, uint64(1))
	if _, errno := k.get(14); errno != syscall.ENOSYS {
		t.Errorf("an unknown request: %v", errno)
	}
	commits := k.volume.Store.Durable()
	k.put(opSyncFS, 15, struct {
		gofuse.InHeader
		Padding uint64
	}{})
	if _, errno := k.get(15); errno != 0 || k.volume.Store.Durable() <= commits {
		t.Errorf("SYNCFS: %v; durable up to %d, %d before", errno, k.volume.Store.Durable(), commits)
	}

	go func() {
		if s := k.server.InodeNotify(f, -1, 0); !s.Ok() {
			t.Error(s)
		}
	}()
	if out, code := k.get(0); -int32(code) != notifyInvalInode || binary.LittleEndian.Uint64(out) != f {
		t.Errorf("a notice of kind %d: %x", -int32(code), out)
	}

	k.put(wireForget, 16, gofuse.ForgetIn{InHeader: head(f), Nlookup: 1}) // has no answer
	k.put(opDestroy, 17, uint64(0))
	k.server.Serve()
	p := make([]byte, 100)
	if n, _, err := unix.Recvfrom(k.fd, p, unix.MSG_DONTWAIT); err != syscall.EAGAIN {
		t.Errorf("DESTROY is answered with %d bytes before all is released: %v", n, err)
	}
	k.server.finish()
	if _, errno := k.get(17); errno != 0 {
		t.Errorf("DESTROY: %v", errno)
	}
}

// TestBlockServer_Cut: a connection that is cut ends Serve, after the requests under way.
func TestBlockServer_Cut(t *testing.T) {
	k := newKernelEnd(t)
	k.put(wireMkdir, 10, gofuse.MkdirIn{InHeader: head(1), Mode: 0o755}, name("d"))
	if _, errno := k.get(10); errno != 0 {
		t.Fatal(errno)
	}
	if err := unix.Shutdown(k.fd, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { k.server.Serve(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Serve goes on without a connection")
	}
}

// TestShortage_Patience: each failure is one refusal, at most patience of them; then all writes are refused until there
// is room.
func TestShortage_Patience(t *testing.T) {
	var s shortage
	none, plenty := func(int64) bool { return false }, func(int64) bool { return true }
	if s.refuses(1, none) {
		t.Error("a file without a failure is refused")
	}
	for i := range patience {
		if !s.failed(1, 10) {
			t.Fatalf("failure %d needs no notice", i)
		}
		if s.failed(1, 10) {
			t.Errorf("failure %d needs two notices", i)
		}
		s.notified(1)
		if !s.refuses(1, none) || s.refuses(2, none) {
			t.Fatalf("after failure %d", i)
		}
		if again := s.refuses(1, none); again != (i+1 >= patience) {
			t.Errorf("after failure %d a second write is refused: %v", i, again)
		}
	}
	if s.refuses(1, plenty) || s.refuses(1, none) {
		t.Error("a file is refused where there was room")
	}
	s.failed(3, 1)
	s.forget(3)
	if s.refuses(3, none) || s.known.Load() != 0 {
		t.Error("a file that is forgotten is known")
	}
}
