package daemon

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// peerOf is the user at the other end of a socket.
func peerOf(c net.Conn) (uid uint32, err error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("no socket of this machine")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	return cred.Uid, nil
}
