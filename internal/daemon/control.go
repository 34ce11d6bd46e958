package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// controlTime bounds one exchange on a control socket.
const controlTime = 5 * time.Second

// maxAnswer bounds the answer of a daemon, in bytes.
const maxAnswer = 64 << 20

// A request is a line. One that does not come within requestTime, as that of an older varve, is for statistics.
const (
	requestStats  = "stats"
	requestQuotas = "quotas"
	requestWatch  = "watch" // the answer is a Watching, and records until a side ends it
	requestTime   = time.Second
)

// replier answers a request: with a value, or with a function that writes to the connection until ctx ends.
type replier func(request string) any

type stream func(ctx context.Context, c net.Conn)

// maxConnections bounds the connections that are answered at a time. Others wait.
const maxConnections = 32

// serveControl answers requests on the control socket of the mount with a device number, until stop is called.
func serveControl(dev uint64, reply replier) (stop func(), err error) {
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
	ctx, cancel := context.WithCancel(context.Background())
	go answer(ctx, l, reply)
	return func() {
		cancel()
		l.Close()
		if now, err := os.Lstat(path); err == nil && os.SameFile(own, now) { // rule 6
			os.Remove(path)
		}
		dir.Close()
	}, nil
}

// answer answers each connection of this user and of root (rule 5).
func answer(ctx context.Context, l net.Listener, reply replier) {
	free := make(chan struct{}, maxConnections)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		free <- struct{}{}
		go func() {
			defer func() { c.Close(); <-free }()
			if peer, err := peerOf(c); err == nil && (peer == 0 || int(peer) == os.Getuid()) {
				answerOne(ctx, c, reply)
			}
		}()
	}
}

func answerOne(ctx context.Context, c net.Conn, reply replier) {
	_ = c.SetDeadline(time.Now().Add(requestTime))
	request, _ := bufio.NewReader(io.LimitReader(c, 64)).ReadString('\n')
	switch r := reply(strings.TrimSpace(request)).(type) {
	case stream:
		_ = c.SetDeadline(time.Time{})
		r(ctx, c)
	default:
		_ = c.SetDeadline(time.Now().Add(controlTime))
		_ = json.NewEncoder(c).Encode(r)
	}
}

// ErrOtherVersion says that an answer has fields of other types than this version's.
var ErrOtherVersion = errors.New("its daemon is of another version of varve")

// AskStats asks the daemon of the mount on a directory for its statistics. With ErrOtherVersion they are those of its
// fields that this version knows.
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
		return m, fmt.Errorf("%s: %w", info.Dir, err)
	}
	return m, nil
}

// AskQuotas asks the daemon of the read-write mount on a directory for the quotas that its image keeps.
func AskQuotas(dir string) (*Quotas, error) {
	info, err := findOurs(dir)
	if err != nil {
		return nil, err
	}
	if info.ReadOnly {
		return nil, fmt.Errorf("%s is a read-only mount: name its image", info.Dir)
	}
	var q Quotas
	if err := request(info.Dev, int(info.Owner), requestQuotas, &q); err != nil {
		return nil, fmt.Errorf("%s: %w", info.Dir, err)
	}
	if q.Failed != "" {
		return nil, fmt.Errorf("%s: %s", info.Dir, q.Failed)
	}
	return &q, nil
}

// ask asks the daemon of the mount with a device number, which a user has mounted, for statistics.
func ask(dev uint64, owner int) (*Stats, error) {
	m := new(Stats)
	err := request(dev, owner, requestStats, m)
	if err != nil && !errors.Is(err, ErrOtherVersion) {
		return nil, err
	}
	return m, err
}

// request asks a daemon for something, and decodes the answer.
func request(dev uint64, owner int, what string, answer any) error {
	c, err := dialControl(dev, owner)
	if err != nil {
		return fmt.Errorf("its daemon does not answer: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(controlTime))
	_, _ = fmt.Fprintln(c, what) // an older daemon answers without a request
	var other *json.UnmarshalTypeError
	if err := json.NewDecoder(io.LimitReader(c, maxAnswer)).Decode(answer); errors.As(err, &other) {
		return fmt.Errorf("%w: %w", ErrOtherVersion, err)
	} else if err != nil {
		return fmt.Errorf("its daemon answers nothing: only the user who mounted, and root, may ask: %w", err)
	}
	return nil
}
