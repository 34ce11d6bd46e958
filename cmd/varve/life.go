package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/fuse"
)

// lifeName begins the names of the abstract sockets that the daemons of a mount hold open as long as they live: the rest is the process. Who connects to one before
// unmounting sees it close when the daemon is gone, which umount(2) alone does not tell. There may be two: the kernel gives a device number away again when a mount
// is gone, and its daemon may still be about to end.
func lifeName(dev uint64) string {
	return fmt.Sprintf("@varve/%d:%d/", unix.Major(dev), unix.Minor(dev))
}

// announceLife opens the daemon's socket.
func announceLife(m *fuse.Mount) (io.Closer, error) {
	dev, err := m.Device()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", fmt.Sprint(lifeName(dev), os.Getpid()))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				// The daemon's end closes the connection; so does the other side's.
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	return l, nil
}

// daemonLives are connections to daemons.
type daemonLives []net.Conn

// watchLives connects to the daemons of a mount. They must belong to the user who mounted, or to root, so that nobody else can keep an umount waiting.
func watchLives(dev uint64, owner uint32) (out daemonLives) {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 8 || !strings.HasPrefix(f[7], lifeName(dev)) {
			continue
		}
		if c, err := net.Dial("unix", f[7]); err == nil {
			if peer, err := peerOf(c); err == nil && (peer == owner || peer == 0) {
				out = append(out, c)
			} else {
				c.Close()
			}
		}
	}
	return out
}

// ended waits for the daemons to end, and reports whether they have.
func (l daemonLives) ended(timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for _, c := range l {
		_ = c.SetReadDeadline(deadline)
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
	}
	return true
}

func (l daemonLives) close() {
	for _, c := range l {
		c.Close()
	}
}

// peerOf is the user at the other end of a socket.
func peerOf(c net.Conn) (uid uint32, err error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("no socket of this machine's")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	return cred.Uid, nil
}
