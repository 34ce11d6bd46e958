package fuse

import (
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/mutant"
)

// syncer is a front that the kernel asks to make everything durable, as sync(1) and syncfs(2) do.
type syncer interface {
	gofuse.RawFileSystem
	listen(notifier)
	syncAll() gofuse.Status
}

// notifier has the kernel drop what it has cached of a node. *gofuse.Server is one.
type notifier interface {
	InodeNotify(node uint64, off, length int64) gofuse.Status
}

// blockServer serves a mount of type fuseblk. The kernel sends such a mount two requests that go-fuse does not serve:
// SYNCFS, for sync(1) and syncfs(2), and DESTROY, whose answer umount(2) waits for. go-fuse decodes all other requests,
// and calls the front.
type blockServer struct {
	protocol *gofuse.ProtocolServer
	front    syncer
	fd       int
	dir      string
	log      *log.Logger

	mu      sync.Mutex
	idle    *sync.Cond    // active has become 0
	readers int           // guarded by mu: goroutines that wait for a request
	active  int           // guarded by mu: requests under way
	ended   bool          // guarded by mu: DESTROY came, or the connection is cut
	destroy uint64        // guarded by mu: the DESTROY that waits for its answer
	synced  bool          // guarded by mu: a SYNCFS came
	givenUp bool          // guarded by mu: DESTROY is answered at once
	done    chan struct{} // closed when ended, and nothing is under way
}

// The requests that are served here (include/uapi/linux/fuse.h), and one whose answer is small.
const (
	opWrite   = 16
	opForget  = 2
	opDestroy = 38
	opForgets = 42
	opSyncFS  = 50

	notifyInvalInode = 2
)

const (
	inHeaderSize  = 40
	outHeaderSize = 16
	smallRequest  = 8 << 10 // holds each request but a large WRITE, and its answer
	largeRequest  = maxRead + smallRequest
	maxReaders    = 16
)

var largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeRequest); return &b }}

// newBlockServer serves the front on a connection to the kernel, and answers the kernel's first request.
func newBlockServer(front syncer, fd int, dir string, mo *gofuse.MountOptions) (*blockServer, error) {
	s := &blockServer{
		protocol: gofuse.NewProtocolServer(front, mo),
		front:    front,
		fd:       fd,
		dir:      dir,
		log:      mo.Logger,
		done:     make(chan struct{}),
	}
	s.idle = sync.NewCond(&s.mu)
	in := make([]byte, largeRequest)
	n, err := readRequest(fd, in)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's first request: %w", err)
	}
	s.active = 1
	s.answer(in[:n])
	front.listen(s)
	return s, nil
}

// Serve returns when the file system is unmounted. umount(2) then waits for finish.
func (s *blockServer) Serve() { <-s.done }

// errNoSyncFS says that the option would be in vain.
var errNoSyncFS = errors.New(
	"this kernel does not pass syncfs(2) on to a mount of type fuseblk (Linux does from 6.18 on): " +
		"mount without the option syncfs",
)

// start begins to answer requests, and checks whether the kernel passes on syncfs(2).
func (s *blockServer) start() error {
	s.mu.Lock()
	s.readers++
	s.mu.Unlock()
	go s.loop()
	root, err := unix.Open(s.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Syncfs(root), unix.Close(root))
	}
	s.mu.Lock()
	synced := s.synced
	s.mu.Unlock()
	if err == nil && !synced {
		err = errNoSyncFS
	}
	return err
}

// loop reads requests and answers them. There is always one goroutine that waits for a request.
func (s *blockServer) loop() {
	for {
		in := largeBuffers.Get().(*[]byte)
		n, err := readRequest(s.fd, *in)
		if err != nil || n < inHeaderSize {
			s.end(0)
			if err != nil && !errors.Is(err, syscall.ENODEV) {
				s.log.Printf("read a request: %v", err)
			}
			return
		}
		request, op := *in, nativeEndian.Uint32((*in)[4:])
		if n <= smallRequest {
			request = append(make([]byte, 0, n), (*in)[:n]...)
			largeBuffers.Put(in)
			in = nil
		}
		if op == opDestroy {
			s.end(nativeEndian.Uint64(request[8:]))
			return
		}
		if !s.begin(op) {
			return
		}
		s.answer(request[:n])
		if in != nil {
			largeBuffers.Put(in)
		}
		if !s.again() {
			return
		}
	}
}

// begin counts a request that was read, and starts another reader if no other one waits. FORGETs are answered first:
// they cost the kernel nothing.
func (s *blockServer) begin(op uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.active++
	s.readers--
	if s.readers == 0 && op != opForget && op != opForgets {
		s.readers++
		go s.loop()
	}
	return true
}

// again reports whether the goroutine that has answered a request waits for the next one.
func (s *blockServer) again() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers >= min(max(runtime.GOMAXPROCS(0), 2), maxReaders) {
		return false
	}
	s.readers++
	return true
}

// end lets Serve return when all requests are answered.
func (s *blockServer) end(destroy uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended, s.destroy = true, destroy
	if s.givenUp || mutant.Off(mutant.UmountWaits) {
		s.answerDestroy()
	}
	for s.active > 0 {
		s.idle.Wait()
	}
	close(s.done)
}

// answer answers one request, which begin has counted.
func (s *blockServer) answer(in []byte) {
	var out []byte
	var n int
	switch nativeEndian.Uint32(in[4:]) {
	case opSyncFS:
		s.mu.Lock()
		s.synced = true
		s.mu.Unlock()
		out = reply(in, s.front.syncAll())
		n = len(out)
	case opWrite:
		out = make([]byte, smallRequest)
		n = s.handle(in, out)
	default:
		large := largeBuffers.Get().(*[]byte)
		defer largeBuffers.Put(large)
		out = *large
		n = s.handle(in, out)
	}
	if n > 0 {
		s.send(out[:n])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 {
		s.idle.Broadcast()
	}
}

// handle has go-fuse serve a request, and returns the length of its answer.
func (s *blockServer) handle(in, out []byte) int {
	n, status := s.protocol.HandleRequest([][]byte{in}, [][]byte{out})
	if !status.Ok() {
		return copy(out, reply(in, status))
	}
	return n
}

// reply is an answer without contents.
func reply(in []byte, status gofuse.Status) []byte {
	out := make([]byte, outHeaderSize)
	nativeEndian.PutUint32(out, outHeaderSize)
	nativeEndian.PutUint32(out[4:], uint32(-int32(status)))
	copy(out[8:], in[8:16])
	return out
}

func (s *blockServer) send(out []byte) {
	for {
		_, err := unix.Write(s.fd, out)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		// ENOENT is of an interrupted request, ENODEV of an unmounted file system.
		case err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENODEV):
			s.log.Printf("answer a request: %v", err)
		}
		return
	}
}

// InodeNotify is FUSE_NOTIFY_INVAL_INODE.
func (s *blockServer) InodeNotify(node uint64, off, length int64) gofuse.Status {
	out := make([]byte, outHeaderSize, outHeaderSize+24)
	nativeEndian.PutUint32(out, uint32(cap(out)))
	nativeEndian.PutUint32(out[4:], notifyInvalInode)
	out = nativeEndian.AppendUint64(out, node)
	out = nativeEndian.AppendUint64(out, uint64(off))
	out = nativeEndian.AppendUint64(out, uint64(length))
	_, err := unix.Write(s.fd, out)
	return gofuse.ToStatus(err)
}

// Unmount returns when Finish was called.
func (s *blockServer) Unmount() (err error) {
	for wait := 5 * time.Millisecond; wait < 200*time.Millisecond; wait *= 2 {
		if err = unix.Unmount(s.dir, 0); !errors.Is(err, syscall.EBUSY) {
			return err
		}
		time.Sleep(wait)
	}
	return err
}

// giveUp unmounts at once.
func (s *blockServer) giveUp() error {
	s.mu.Lock()
	s.givenUp = true
	s.mu.Unlock()
	err := unix.Unmount(s.dir, unix.MNT_DETACH)
	return errors.Join(err, unix.Close(s.fd))
}

// finish lets umount(2) return.
func (s *blockServer) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answerDestroy()
}

// answerDestroy is finish. The caller holds mu.
func (s *blockServer) answerDestroy() {
	if s.destroy != 0 {
		var in [inHeaderSize]byte
		nativeEndian.PutUint64(in[8:], s.destroy)
		s.send(reply(in[:], gofuse.OK))
		s.destroy = 0
	}
}

func readRequest(fd int, in []byte) (int, error) {
	for {
		n, err := unix.Read(fd, in)
		if errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOENT) {
			continue
		}
		return n, err
	}
}

// mountBlock mounts at dir as fuseblk, whose source is a block device: a loop device over 4 KiB of memory, which
// nothing reads or writes. It goes away with the mount. It returns the descriptor of /dev/fuse, and the device.
func mountBlock(dir string, opts Options) (fd int, source string, err error) {
	loop, err := newLoop()
	if err != nil {
		return -1, "", fmt.Errorf("make a loop device for a mount of type fuseblk: %w", err)
	}
	defer loop.Close() // the mount holds it
	info, err := os.Stat(dir)
	if err != nil {
		return -1, "", err
	}
	if fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return -1, "", err
	}
	root := uint32(unix.S_IFDIR)
	if !info.IsDir() {
		root = unix.S_IFREG
	}
	data := fmt.Sprintf(
		"fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,blksize=4096,default_permissions",
		fd,
		root,
		os.Geteuid(),
		os.Getegid(),
		maxRead,
	)
	if opts.AllowOther {
		data += ",allow_other"
	}
	if err := unix.Mount(loop.Name(), dir, "fuseblk.varve", opts.Flags.bits(), data); err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	return fd, loop.Name(), nil
}

// bits are the flags for mount(2).
func (f MountFlags) bits() (bits uintptr) {
	if !f.Suid {
		bits |= unix.MS_NOSUID
	}
	if !f.Dev {
		bits |= unix.MS_NODEV
	}
	if f.NoExec {
		bits |= unix.MS_NOEXEC
	}
	return bits
}

// newLoop makes a loop device that ends with its last user.
func newLoop() (*os.File, error) {
	memory, err := unix.MemfdCreate("varve", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(memory)
	if err := unix.Ftruncate(memory, 4096); err != nil {
		return nil, err
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 100 { // others take free devices, too
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(memory), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		copy(config.Info.File_name[:], "varve")
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, syscall.EBUSY) {
			return nil, err
		}
	}
	return nil, errors.New("all free loop devices were taken at once")
}
