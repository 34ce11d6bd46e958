package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/mutant"
)

// controlDirs are the folders that a user's control sockets may lie in, best first. No other user can make anything in
// the first ones. In the last one, the folder for temporary files, another user may have made something before.
func controlDirs(uid int) (out []string) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && uid == os.Getuid() {
		out = append(out, filepath.Join(dir, "varve"))
	}
	if uid == 0 {
		out = append(out, "/run/varve")
	} else {
		out = append(out, fmt.Sprintf("/run/user/%d/varve", uid))
	}
	return append(out, filepath.Join(os.TempDir(), fmt.Sprintf("varve-%d", uid)))
}

// controlName is the name of the socket of the mount with a device number.
func controlName(dev uint64) string {
	return fmt.Sprintf("%d:%d.sock", unix.Major(dev), unix.Minor(dev))
}

// errNotPrivate says that other users may put something into the folder of a user's sockets.
var errNotPrivate = errors.New("not a folder of that user's alone")

// privateDir is an open folder that belongs to one user, and that no other user may enter (rule 5). Sockets in it are
// named by way of the descriptor: a folder that is exchanged later changes nothing, and no path is too long for a
// socket's address.
type privateDir struct {
	*os.File
	path string
}

// openPrivate opens a user's folder of sockets, and checks that it is one.
func openPrivate(path string, uid int) (*privateDir, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	d := &privateDir{os.NewFile(uintptr(fd), path), path}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (int(st.Uid) != uid || st.Mode&0o077 != 0) && !mutant.Off(mutant.PrivateDir) {
		err = fmt.Errorf("%s: %w: it belongs to user %d and has mode %04o, expected user %d and mode 0700",
			path, errNotPrivate, st.Uid, st.Mode&0o7777, uid)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// makePrivate makes this user's folder of sockets in the best place that can be had.
func makePrivate() (*privateDir, error) {
	var errs []error
	for _, path := range controlDirs(os.Getuid()) {
		if err := unix.Mkdir(path, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, &os.PathError{Op: "mkdir", Path: path, Err: err})
			continue
		}
		d, err := openPrivate(path, os.Getuid())
		if err == nil {
			return d, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// at is a path to a name in the folder, by way of the descriptor.
func (d *privateDir) at(name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), name)
}

// dialControl connects to the daemon of a mount: to a socket in a folder that the mount's owner alone may write to, at
// which the owner, or root, answers.
func dialControl(dev uint64, owner int) (net.Conn, error) {
	var errs []error
	for _, path := range controlDirs(owner) {
		c, err := dialIn(path, dev, owner)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func dialIn(path string, dev uint64, owner int) (net.Conn, error) {
	d, err := openPrivate(path, owner)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	c, err := net.Dial("unix", d.at(controlName(dev)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, controlName(dev)), errors.Unwrap(err))
	}
	peer, err := peerOf(c)
	if err == nil && peer != 0 && int(peer) != owner && !mutant.Off(mutant.ControlPeer) {
		err = fmt.Errorf("%s: user %d answers, expected user %d, who mounted, or root",
			filepath.Join(path, controlName(dev)), peer, owner)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
