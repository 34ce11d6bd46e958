package daemon

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// controlTime bounds one exchange on a control socket.
const controlTime = 5 * time.Second

// maxAnswer bounds the answer of a daemon, in bytes.
const maxAnswer = 16 << 20

// serveControl answers with statistics on the control socket of the mount with a device number, until stop is called.
func serveControl(dev uint64, stats func() Stats) (stop func(), err error) {
	dir, err := makePrivate()
	if err != nil {
		return nil, err
	}
	path := dir.at(controlName(dev))
	_ = os.Remove(path) // of a daemon that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("listen in %s: %w", dir.path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	own, err := os.Lstat(path)
	if err != nil {
		l.Close()
		dir.Close()
		return nil, err
	}
	go answer(l, stats)
	return func() {
		l.Close()
		if now, err := os.Lstat(path); err == nil && os.SameFile(own, now) { // rule 6
			os.Remove(path)
		}
		dir.Close()
	}, nil
}

// answer answers each connection of this user and of root (rule 5).
func answer(l net.Listener, stats func() Stats) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if peer, err := peerOf(c); err == nil && (peer == 0 || int(peer) == os.Getuid()) {
			_ = c.SetDeadline(time.Now().Add(controlTime))
			_ = json.NewEncoder(c).Encode(stats())
		}
		c.Close()
	}
}

// AskStats asks the daemon of the mount on a directory for its statistics.
func AskStats(dir string) (*Stats, error) {
	info, err := findOurs(dir)
	if err != nil {
		return nil, err
	}
	if info.ReadOnly {
		return nil, fmt.Errorf("%s is a read-only mount: only read-write mounts have statistics", info.Dir)
	}
	m, err := ask(info.Dev, int(info.Owner))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", info.Dir, err)
	}
	return m, nil
}

// ask asks the daemon of the mount with a device number, which a user has mounted.
func ask(dev uint64, owner int) (*Stats, error) {
	c, err := dialControl(dev, owner)
	if err != nil {
		return nil, fmt.Errorf("its daemon does not answer: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(controlTime))
	var m Stats
	if err := json.NewDecoder(io.LimitReader(c, maxAnswer)).Decode(&m); err != nil {
		return nil, fmt.Errorf("its daemon answers nothing: only the user who mounted, and root, may ask: %w", err)
	}
	return &m, nil
}
