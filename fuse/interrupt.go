package fuse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/mutant"
)

// deathCheck is how often a wait whose request was interrupted looks whether the requester dies: the kernel interrupts
// a request once only, and that may have been for a harmless signal.
const deathCheck = 100 * time.Millisecond

// until is the context of a request: it ends when the kernel interrupts that, for any signal.
func until(cancel <-chan struct{}) context.Context { return &gofuse.Context{Cancel: cancel} }

// requester is the context of a request that ends when the thread that makes it dies. The kernel interrupts a request
// for any signal with a handler. No local file system fails a change or an fsync for that, so programs take EINTR for a
// failure of the device.
//
// It costs next to nothing until the request is interrupted, or something waits for Done.
type requester struct {
	context.Context // Background
	cancel          <-chan struct{}
	thread          uint32
	killed          func(thread uint32) bool

	mu     sync.Mutex // guards what follows
	looked time.Time  // at the thread
	dead   bool
	done   chan struct{} // nil until a caller asks for it
	over   chan struct{} // closed when the request is answered; nil as done
}

// Err follows context.Context. It looks at the thread at most once in deathCheck.
func (r *requester) Err() error {
	select {
	case <-r.cancel:
	default:
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.dead && time.Since(r.looked) >= deathCheck {
		r.look()
	}
	if r.dead {
		return context.Canceled
	}
	return nil
}

// look looks whether the thread of an interrupted request dies. The caller holds mu.
func (r *requester) look() {
	r.looked = time.Now()
	if r.dead = r.killed(r.thread) || mutant.Off(mutant.SyncSignal); r.dead && r.done != nil {
		close(r.done)
	}
}

// Done follows context.Context.
func (r *requester) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done, r.over = make(chan struct{}), make(chan struct{})
		if r.dead {
			close(r.done)
		} else {
			go r.watch()
		}
	}
	return r.done
}

// watch closes done when the thread dies, and ends with the request.
func (r *requester) watch() {
	select {
	case <-r.cancel:
	case <-r.over:
		return
	}
	again := time.NewTicker(deathCheck)
	defer again.Stop()
	for {
		r.mu.Lock()
		if !r.dead {
			r.look()
		}
		dead := r.dead
		r.mu.Unlock()
		if dead {
			return
		}
		select {
		case <-r.over:
			return
		case <-again.C:
		}
	}
}

// end is called when the request is answered.
func (r *requester) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over != nil {
		close(r.over)
	}
}

// requester is the context of a request; its end must be called.
func (f *writable) requester(cancel <-chan struct{}, h *gofuse.InHeader) *requester {
	return &requester{Context: context.Background(), cancel: cancel, thread: h.Pid, killed: f.killed}
}

// change makes a change for a request.
func (f *writable) change(
	op string,
	cancel <-chan struct{},
	h *gofuse.InHeader,
	do func(ext4.Cred) error,
) gofuse.Status {
	r := f.requester(cancel, h)
	defer r.end()
	return f.status(op, do(f.credOf(h, r)))
}

// credOf is the user of a request, and its context.
func (f *writable) credOf(h *gofuse.InHeader, ctx context.Context) ext4.Cred {
	return ext4.Cred{UID: h.Uid, GID: h.Gid, Thread: h.Pid, Context: ctx, Committed: f.underway.committed(h.Unique)}
}

// beingKilled reports whether SIGKILL is pending for a thread: each thread of a process that a signal ends has it. A
// thread that is not seen in /proc, as one of another PID namespace, is not dying.
func beingKilled(thread uint32) bool {
	if thread == 0 {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	return err == nil && killPending(status)
}

// killPending finds SIGKILL among the pending signals in what /proc/TID/status gives (proc(5), SigPnd).
func killPending(status []byte) bool {
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "SigPnd:"); ok {
			pending, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && pending>>(syscall.SIGKILL-1)&1 != 0
		}
	}
	return false
}
