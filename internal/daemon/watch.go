package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// lives are connections to the life sockets of daemons.
type lives []watched

type watched struct {
	net.Conn
	r     *bufio.Reader
	ended bool // it has reported the end of its mount: an earlier one with the same number
}

// watchLives connects to the daemons of a mount. Sockets of users other than the one who mounted, and root, do not
// count: such a user could keep an umount waiting.
func watchLives(dev uint64, owner uint32) (out lives) {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil
	}
	deadline := time.Now().Add(time.Second) // for all: the one who mounted may have opened any number
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 8 || !strings.HasPrefix(f[7], lifeName(dev)) {
			continue
		}
		if c, err := net.Dial("unix", f[7]); err == nil {
			w := watched{Conn: c, r: bufio.NewReader(c)}
			if peer, err := peerOf(c); err == nil && (peer == owner || peer == 0) && w.readGreeting(deadline) {
				out = append(out, w)
			} else {
				c.Close()
			}
		}
	}
	return out
}

// readGreeting reads a daemon's first line, and reports false for a daemon that is about to end, and for one that
// writes anything else.
func (w *watched) readGreeting(deadline time.Time) bool {
	_ = w.SetReadDeadline(deadline)
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return errors.Is(err, os.ErrDeadlineExceeded) // it may be stopped
	}
	w.ended = strings.TrimSpace(string(line)) != lifeServing
	return true
}

var (
	errStillRuns = errors.New("its daemon did not end")
	errKilled    = errors.New("its daemon was killed before it had written everything: " +
		"the next mount, or e2fsck, recovers what was synced")
)

// wait waits until the daemons have ended, and returns the first error that one of them reported.
func (l lives) wait(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for _, c := range l {
		_ = c.SetReadDeadline(deadline)
		last, err := io.ReadAll(io.LimitReader(c.r, 64<<10))
		switch text := strings.TrimSpace(string(last)); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("%w within %v", errStillRuns, timeout)
		case text == lifeDone, text == lifeServing+"\n"+lifeDone, c.ended:
		case strings.TrimPrefix(text, lifeServing) == "":
			return errKilled
		default:
			return errors.New(strings.TrimPrefix(text, lifeServing+"\n"))
		}
	}
	return nil
}

func (l lives) close() {
	for _, c := range l {
		c.Close()
	}
}
