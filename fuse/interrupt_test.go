package fuse

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// interrupt has the kernel's side interrupt a request, once that has arrived.
func (w *wire) interrupt(unique uint64) {
	w.t.Helper()
	for {
		_, errno := w.send(wireInterrupt, w.unique.Add(1), gofuse.InterruptIn{Unique: unique})
		if errno == 0 {
			return
		}
		if errno != syscall.EAGAIN {
			w.t.Fatal(errno)
		}
		runtime.Gosched()
	}
}

// TestWire_Interrupt: interrupts of a thread that is not dying, or is not seen, end neither the fsync that flushes nor
// those that wait for it. Each is durable when it returns.
func TestWire_Interrupt(t *testing.T) {
	w := newWired(t, Options{})
	f, g := w.create(1, "f"), w.create(1, "g")
	w.write(f, 0, []byte("first"))
	type answer struct {
		unique uint64
		errno  syscall.Errno
	}
	answers := make(chan answer, 3)
	fsync := func(op uint32, node, unique uint64, thread int) {
		w.pid = uint32(thread)
		p := w.encode(op, unique, gofuse.FsyncIn{InHeader: head(node)})
		go func() {
			out := make([]byte, outHeaderSize)
			_, status := w.server.HandleRequest([][]byte{p}, [][]byte{out})
			if status.Ok() {
				status = gofuse.Status(-decode[gofuse.OutHeader](t, out).Status)
			}
			answers <- answer{unique, syscall.Errno(status)}
		}()
	}
	release := w.device.hold()
	fsync(wireFsync, f, 1001, os.Getpid())
	<-w.device.waiting // its flush is under way
	w.write(g, 0, []byte("second"))
	fsync(wireFsync, g, 1002, 0)
	fsync(wireFsyncDir, 1, 1003, 1<<31-1) // no such thread
	for unique := uint64(1001); unique <= 1003; unique++ {
		w.interrupt(unique)
	}
	early := 0
	select {
	case a := <-answers:
		t.Errorf("request %d has returned %v, and the device has not", a.unique, a.errno)
		early++
	case <-time.After(3 * deathCheck):
	}
	release()
	for range 3 - early {
		if a := <-answers; a.errno != 0 {
			t.Errorf("request %d: %v", a.unique, a.errno)
		}
	}
	image := make([]byte, w.ram.Size())
	_, _ = w.ram.ReadAt(image, 0)
	base, err := ext4.Open(bytes.NewReader(image), ext4.Options{}) // as after a crash: the journal is replayed
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"f": "first", "g": "second"} {
		if got, err := base.IOFS().ReadFile(file); err != nil || string(got) != want {
			t.Errorf("after a crash %s has %q: %v", file, got, err)
		}
	}
}

// TestWire_InterruptedCopy: a copy that is interrupted before it begins copies a part, and does not fail.
func TestWire_InterruptedCopy(t *testing.T) {
	w := newWired(t, Options{})
	f, g := w.create(1, "f"), w.create(1, "g")
	const size = 1200 << 10
	for at := uint64(0); at < size; at += 100 << 10 {
		w.write(f, at, bytes.Repeat([]byte{byte(at >> 10)}, 100<<10))
	}
	cancel := make(chan struct{})
	close(cancel)
	in := gofuse.CopyFileRangeIn{InHeader: head(f), NodeIdOut: g, Len: size}
	n, status := w.front.CopyFileRange(cancel, &in)
	if !status.Ok() || n == 0 || n >= size {
		t.Errorf("%d bytes of %d, %v", n, size, status)
	}
	if got := w.attr(g).Size; got != uint64(n) {
		t.Errorf("the copy has %d bytes, and the answer was %d", got, n)
	}
}

// TestDying reads pending signals as /proc gives them.
func TestDying(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nSigQ:\t1/2\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n": true,
		"SigPnd:\t0000000000000301\n":                            true,
		"SigPnd:\t0000000000000200\n":                            false, // SIGUSR1
		"SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n": false, // of another thread
		"SigPnd:\t0000000000000000\nSigBlk:\tfffffffffffffeff\n": false,
		"SigPnd:\tnone\nSigPnd:\t0000000000000100\n":             false,
		"": false,
	} {
		if got := killPending([]byte(status)); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
	for _, thread := range []uint32{0, uint32(os.Getpid()), 1<<31 - 1} {
		if beingKilled(thread) {
			t.Errorf("thread %d is dying", thread)
		}
	}
}

// heldServer mounts an image in memory at a directory: args are both. Its input has it hold flushes and release them,
// and ends it; its output says when a flush is held.
func heldServer(args []string) error {
	image, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	d := &stalling{Writable: blockcache.NewRAM(image), waiting: make(chan struct{})}
	v, err := volume.OpenOn(d, volume.WriteOptions{})
	if err != nil {
		return err
	}
	m, err := NewWritable(v.Writable, args[1], Options{})
	if err != nil {
		return err
	}
	go m.Serve()
	go func() {
		for range d.waiting {
			fmt.Println("held")
		}
	}()
	fmt.Println("ready")
	release := func() {}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "hold":
			release = d.hold()
		case "release":
			release()
			release = func() {}
		}
		fmt.Println("done")
	}
	return v.Close()
}

// fsyncClient makes a file, waits for a line of input, writes, and prints what fsync returns, and a signal that it got.
func fsyncClient(args []string) error {
	runtime.LockOSThread()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_CREAT, 0o644)
	if err != nil {
		return err
	}
	fmt.Println(unix.Gettid())
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte("contents")); err != nil {
		return err
	}
	fmt.Println("fsync:", unix.Fsync(fd)) // os.File would repeat it after EINTR
	select {
	case s := <-signals:
		fmt.Println(s)
	case <-time.After(10 * time.Second):
		fmt.Println("no signal")
	}
	return nil
}

// newClient is a client with its thread, about to call fsync.
func newClient(t *testing.T, path string) (p *player, thread int) {
	t.Helper()
	p = play(t, "client", path)
	line := p.says()
	thread, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("the client says %q", line)
	}
	return p, thread
}

// holdFlushes has the server hold its next flush.
func holdFlushes(s *player) {
	s.t.Helper()
	s.say("hold")
	line := s.says()
	for line == "held" { // further flushes of before
		line = s.says()
	}
	if line != "done" {
		s.t.Fatalf("the server says %q", line)
	}
}

// interruptThread sends a signal that has a handler to a thread, and waits until the interrupt has arrived.
func interruptThread(t *testing.T, p *player, thread int) {
	t.Helper()
	if err := unix.Tgkill(p.cmd.Process.Pid, thread, unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * deathCheck)
}

// TestFsync_Signals: on a mount whose device is stuck, a signal with a handler does not end an fsync, and SIGKILL ends
// the process at once: one that flushes, with another signal before, and one that waits for that flush.
func TestFsync_Signals(t *testing.T) {
	oracle.NeedFUSE(t)
	dir := t.TempDir()
	s := play(t, "server", oracle.NewImage(t, 8<<20, "-t", "ext4"), dir)
	t.Cleanup(func() {
		s.say("release")
		if out, err := exec.Command("fusermount3", "-u", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v, %s", err, out)
			_ = exec.Command("fusermount3", "-u", "-z", dir).Run()
		}
		s.in.Close()
		for range s.said {
		}
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	s.expect("ready")
	signalled, thread := newClient(t, filepath.Join(dir, "f"))
	flushes, flushing := newClient(t, filepath.Join(dir, "g"))
	waits, _ := newClient(t, filepath.Join(dir, "h"))
	holdFlushes(s)
	signalled.say("fsync")
	s.expect("held")
	interruptThread(t, signalled, thread)
	select {
	case line := <-signalled.said:
		t.Errorf("%q, and the device has not flushed", line)
	default:
	}
	s.say("release")
	s.expect("done")
	signalled.expect("fsync: <nil>")
	signalled.expect("user defined signal 1")
	if err := signalled.cmd.Wait(); err != nil {
		t.Error(err)
	}

	holdFlushes(s)
	flushes.say("fsync")
	s.expect("held")
	waits.say("fsync")
	interruptThread(t, flushes, flushing)
	for _, p := range []*player{flushes, waits} {
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if line := p.says(); line != "" {
			t.Errorf("a client that was killed says %q", line)
		}
		if err := p.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("a client that was killed: %v", err)
		}
	}
	s.say("release")
	s.expect("done")
	last, _ := newClient(t, filepath.Join(dir, "f"))
	last.say("fsync")
	last.expect("fsync: <nil>")
	_ = last.cmd.Process.Kill()
	_ = last.cmd.Wait()
}
