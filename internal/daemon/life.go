package daemon

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lifeName begins the names of the abstract sockets that the daemons of a device number hold open (rules 3 and 4). The
// rest of a name is the daemon's process.
func lifeName(dev uint64) string {
	return fmt.Sprintf("@varve/%d:%d/", unix.Major(dev), unix.Minor(dev))
}

// life is the life socket of a mount of this process.
type life struct {
	socket net.Listener

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
	last  string     // guarded by mu: the last line; empty until the mount has ended
}

const (
	lifeServing = "serving" // the first line of a daemon that serves its mount
	lifeDone    = "done"    // the last line of a daemon that has written and released everything; any other is an error
)

// announceLife opens the life socket of the mount with a device number.
func announceLife(dev uint64) (*life, error) {
	socket, err := net.Listen("unix", fmt.Sprint(lifeName(dev), os.Getpid()))
	if err != nil {
		return nil, err
	}
	l := &life{socket: socket}
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
	l.writeState(c)
	l.mu.Unlock()
	go func() {
		_, _ = io.Copy(io.Discard, c)
		l.mu.Lock()
		l.conns = slices.DeleteFunc(l.conns, func(o net.Conn) bool { return o == c })
		l.mu.Unlock()
		c.Close()
	}()
}

// writeState writes the state of the mount. The caller holds mu.
func (l *life) writeState(c net.Conn) {
	line := l.last
	if line == "" {
		line = lifeServing
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, line+"\n")
}

// end reports the end of the mount on all connections, those of now and of later.
func (l *life) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = lifeDone
	if err != nil {
		l.last = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	for _, c := range l.conns {
		l.writeState(c)
	}
}
