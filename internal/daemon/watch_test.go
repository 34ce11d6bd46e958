package daemon

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lifeOf opens a life socket for a device number that no mount has.
func lifeOf(t *testing.T, minor uint32) (uint64, *life) {
	t.Helper()
	dev := unix.Mkdev(4001, minor)
	l, err := announceLife(dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.socket.Close() })
	return dev, l
}

// leave closes the connections, as the end of the process does.
func (l *life) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
}

// TestLives_End: a command that waits gets the daemon's last line: done, an error, or nothing from one that was killed.
func TestLives_End(t *testing.T) {
	for i, c := range []struct {
		end  func(l *life)
		want string
	}{
		{func(l *life) { l.end(nil) }, ""},
		{func(l *life) { l.end(errors.New("no room\nleft")) }, "no room; left"},
		{func(*life) {}, errKilled.Error()},
	} {
		dev, l := lifeOf(t, uint32(i))
		waiting := watchLives(dev, uint32(os.Getuid()))
		if len(waiting) != 1 {
			t.Fatalf("%d daemons", len(waiting))
		}
		c.end(l)
		l.leave()
		err := waiting.wait(10 * time.Second)
		waiting.close()
		if got := text(err); got != c.want {
			t.Errorf("%q, expected %q", got, c.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestLives_Timeout: a daemon that does not end is waited for as long as the caller says.
func TestLives_Timeout(t *testing.T) {
	dev, _ := lifeOf(t, 10)
	waiting := watchLives(dev, uint32(os.Getuid()))
	defer waiting.close()
	if err := waiting.wait(20 * time.Millisecond); !errors.Is(err, errStillRuns) {
		t.Errorf("%v", err)
	}
}

// TestLives_Earlier: the error of an earlier mount with the same number is not that of this one.
func TestLives_Earlier(t *testing.T) {
	dev, l := lifeOf(t, 11)
	l.end(errors.New("of the earlier mount"))
	waiting := watchLives(dev, uint32(os.Getuid()))
	defer waiting.close()
	if len(waiting) != 1 || !waiting[0].ended {
		t.Fatalf("%+v", waiting)
	}
	l.leave()
	if err := waiting.wait(10 * time.Second); err != nil {
		t.Errorf("%v", err)
	}
}

// TestLives_Strangers: sockets of other users and of other numbers do not count (rule 5).
func TestLives_Strangers(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root's sockets count for all owners: the stranger is the number")
	} else {
		dev, _ := lifeOf(t, 12)
		if w := watchLives(dev, uint32(os.Getuid())+1); len(w) != 0 {
			t.Errorf("%d daemons of another user", len(w))
		}
	}
	dev, _ := lifeOf(t, 1)
	if w := watchLives(unix.Mkdev(unix.Major(dev), 1234), 0); len(w) != 0 {
		t.Errorf("%d daemons of another number", len(w))
	}
	if !strings.HasPrefix(lifeName(dev), "@varve/4001:1/") {
		t.Errorf("%s", lifeName(dev))
	}
}
