package fuse

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// autoUnmount has fusermount3 mount dir and stay: it unmounts when the other end of the socket that it was given
// closes, which is when this process ends, however it ends. go-fuse itself waits for fusermount3 to end and would wait
// for ever. It returns the descriptor of /dev/fuse, and the end of the socket to keep open.
func autoUnmount(dir string, options []string) (fuseFD int, keep *os.File, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	keep = os.NewFile(uintptr(pair[0]), "fusermount3")
	theirs := os.NewFile(uintptr(pair[1]), "fusermount3")
	cmd := exec.Command("fusermount3", "-o", strings.Join(append(options, "auto_unmount"), ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		keep.Close()
		return -1, nil, err
	}
	if fuseFD, err = receiveFD(int(keep.Fd())); err != nil {
		err = errors.Join(fmt.Errorf("fusermount3: %w", err), cmd.Wait(), keep.Close())
		return -1, nil, err
	}
	return fuseFD, keep, nil
}

// receiveFD receives one descriptor over a socket.
func receiveFD(socket int) (int, error) {
	oob := make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := syscall.Recvmsg(socket, make([]byte, 1), oob, 0)
	if err != nil {
		return -1, err
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, err
	}
	for _, m := range messages {
		if fds, err := syscall.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			syscall.CloseOnExec(fds[0])
			return fds[0], nil
		}
	}
	return -1, errors.New("did not mount")
}
