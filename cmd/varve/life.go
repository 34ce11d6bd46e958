package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
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

// life is the socket of this process. What it writes last says how the mount ended.
type life struct {
	mu    sync.Mutex
	conns []net.Conn // guarded by mu
	last  string     // guarded by mu: empty until the mount has ended
}

// lifeServing is the first line of a daemon that serves its mount.
const lifeServing = "serving"

// lifeDone is what a daemon writes that has written and released everything. Any other line is an error; nothing at all comes from one that was killed.
const lifeDone = "done"

// announceLife opens the daemon's socket.
func announceLife(m *fuse.Mount) (*life, error) {
	dev, err := m.Device()
	if err != nil {
		return nil, err
	}
	socket, err := net.Listen("unix", fmt.Sprint(lifeName(dev), os.Getpid()))
	if err != nil {
		return nil, err
	}
	l := new(life)
	go func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			l.take(c)
		}
	}()
	return l, nil
}

// take keeps a connection until its other side closes it, or this process ends.
func (l *life) take(c net.Conn) {
	l.mu.Lock()
	l.conns = append(l.conns, c)
	l.say(c)
	l.mu.Unlock()
	go func() {
		_, _ = io.Copy(io.Discard, c)
		l.mu.Lock()
		l.conns = slices.DeleteFunc(l.conns, func(o net.Conn) bool { return o == c })
		l.mu.Unlock()
		c.Close()
	}()
}

// say writes how it stands. The caller holds mu.
func (l *life) say(c net.Conn) {
	line := l.last
	if line == "" {
		line = lifeServing
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, line+"\n")
}

// end says how the mount ended, to those that wait now and later.
func (l *life) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = lifeDone
	if err != nil {
		l.last = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	for _, c := range l.conns {
		l.say(c)
	}
}

// lives are the sockets of this process: one a mount.
var lives []*life

// endLives is end for all of them.
func endLives(err error) error {
	for _, l := range lives {
		l.end(err)
	}
	return err
}

// daemonLives are connections to daemons.
type daemonLives []daemonLife

type daemonLife struct {
	net.Conn
	r     *bufio.Reader
	ended bool // it has said how its mount ended: of an earlier mount with the same number
}

// greet reads a daemon's first line, and reports false for one that is about to end.
func (d *daemonLife) greet() bool {
	_ = d.SetReadDeadline(time.Now().Add(time.Second))
	line, err := d.r.ReadString('\n')
	if err != nil {
		return errors.Is(err, os.ErrDeadlineExceeded) // it may be stopped
	}
	d.ended = strings.TrimSpace(line) != lifeServing
	return true
}

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
			d := daemonLife{Conn: c, r: bufio.NewReader(c)}
			if peer, err := peerOf(c); err == nil && (peer == owner || peer == 0) && d.greet() {
				out = append(out, d)
			} else {
				c.Close()
			}
		}
	}
	return out
}

// errStillRuns says that a daemon did not end in time.
var errStillRuns = errors.New("its daemon did not end")

// ended waits for the daemons to end, and returns what went wrong as they did.
func (l daemonLives) ended(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for _, c := range l {
		_ = c.SetReadDeadline(deadline)
		last, err := io.ReadAll(io.LimitReader(c.r, 64<<10))
		switch said := strings.TrimSpace(string(last)); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("%w within %v", errStillRuns, timeout)
		case said == lifeDone, said == lifeServing+"\n"+lifeDone, c.ended:
		case strings.TrimPrefix(said, lifeServing) == "":
			return errors.New("its daemon was killed before it had written everything: the next mount, or e2fsck, recovers what was synced")
		default:
			return errors.New(strings.TrimPrefix(said, lifeServing+"\n"))
		}
	}
	return nil
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
