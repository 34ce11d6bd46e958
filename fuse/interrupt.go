package fuse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/internal/mutant"
)

// deathCheck is how often a wait whose request was interrupted looks whether the requester dies: the kernel interrupts
// a request once only, and that may have been for a harmless signal.
const deathCheck = 100 * time.Millisecond

// until is the context of a request: it ends when the kernel interrupts that, for any signal.
func until(cancel <-chan struct{}) context.Context { return &gofuse.Context{Cancel: cancel} }

// untilKilled waits for do, which gets a context that ends when the thread that makes the request dies. The kernel
// interrupts a request for any signal with a handler. No local file system fails an fsync for that, so programs take
// EINTR for a failure of the device. The wait ends at once for a thread that is killed, also where do is stuck in the
// device: do then ends by itself later.
func untilKilled(cancel <-chan struct{}, thread uint32, do func(context.Context) error) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case <-cancel:
	}
	if mutant.Off(mutant.SyncSignal) {
		return context.Canceled
	}
	again := time.NewTicker(deathCheck)
	defer again.Stop()
	for !beingKilled(thread) {
		select {
		case err := <-done:
			return err
		case <-again.C:
		}
	}
	return context.Canceled
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
