package fuse

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
)

// Request sizes in bytes. Requests larger than maxRead do not fit the pipes that the kernel splices through.
const (
	maxRead   = 512 << 10
	readahead = 2 << 20

	// DefaultMaxBackground is how many background requests the kernel may have under way.
	DefaultMaxBackground = 64
)

// Options say how to mount. The zero value is a good default.
type Options struct {
	AllowOther    bool   // all users may enter, not only the one who mounts
	AutoUnmount   bool   // the kernel unmounts when the process ends; needs fusermount3
	MaxBackground int    // readahead and other background requests at a time; 0: DefaultMaxBackground
	Source        string // in the kernel's table of mounts: the image's name
	Writeback     bool   // the kernel gathers writes; of a read-write mount only
	// sync(1) and syncfs(2) reach a read-write mount, and umount(2) waits for Finish; needs root, and a loop device
	SyncFS   bool
	NoOpen   bool // a read-write mount is not asked when files are opened and closed
	Flags    MountFlags
	Logger   *log.Logger
	Debug    bool
	Observer Observer // of operations; may be nil
}

// MountFlags are the generic flags of mount(8). The zero value is nosuid, nodev, exec.
type MountFlags struct {
	Suid, Dev, NoExec bool
}

// Mount is a live mount.
type Mount struct {
	server server
	dir    string
	source string
	keep   *os.File // holds the mount up, with auto_unmount
}

// server answers the kernel's requests. *gofuse.Server is one.
type server interface {
	Serve()
	Unmount() error
}

// New mounts a file system read-only at dir. Requests are answered from the call to Serve on.
func New(fs *ext4.FS, device blockcache.Device, ahead *blockcache.Readahead, dir string, opts Options) (*Mount, error) {
	return newMount(dir, opts, true, func(o Options) gofuse.RawFileSystem {
		front := newFront(fs, device, ahead, o.Logger)
		front.opendir = o.AutoUnmount
		return tapped(front, o.Observer)
	})
}

// NewWritable mounts a file system read-write at dir.
func NewWritable(fs *ext4.Writable, dir string, opts Options) (*Mount, error) {
	return newMount(dir, opts, false, func(o Options) gofuse.RawFileSystem {
		front := newWritable(fs, o.Logger)
		front.opendir, front.noOpen, front.writeback = o.AutoUnmount, o.NoOpen, o.Writeback
		return tapped(front, o.Observer)
	})
}

func newMount(dir string, opts Options, readonly bool, front func(Options) gofuse.RawFileSystem) (*Mount, error) {
	if opts.Logger == nil {
		opts.Logger = log.Default()
	}
	if opts.MaxBackground == 0 {
		opts.MaxBackground = DefaultMaxBackground
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	mo := opts.protocol(readonly)
	m := &Mount{dir: dir, source: opts.Source}
	if opts.SyncFS {
		return m, m.serveBlock(front(opts), opts, mo)
	}
	at := dir
	if opts.AutoUnmount {
		fd, keep, err := autoUnmount(dir, append(mo.Options, opts.helperOptions()...))
		if err != nil {
			return nil, explain(err, dir)
		}
		m.keep, at = keep, fmt.Sprintf("/dev/fd/%d", fd)
	}
	s, err := gofuse.NewServer(front(opts), at, mo)
	if err != nil {
		return nil, explain(err, dir)
	}
	m.server = s
	m.raiseReadahead()
	return m, nil
}

// protocol are the options of go-fuse.
func (o Options) protocol(readonly bool) *gofuse.MountOptions {
	mo := &gofuse.MountOptions{
		AllowOther: o.AllowOther, MaxBackground: o.MaxBackground, Options: o.strings(),
		FsName: o.Source, Name: "varve", Logger: o.Logger, Debug: o.Debug,
		MaxWrite: maxRead, EnableAcl: true, EnableSymlinkCaching: true, ExplicitDataCacheControl: true,
		ExtraCapabilities: gofuse.CAP_NO_OPENDIR_SUPPORT,
		DirectMountFlags:  unix.MS_NOSUID | unix.MS_NODEV, // go-fuse adds what Options ask for
		DirectMount:       os.Geteuid() == 0 && !o.AutoUnmount,
	}
	mo.DirectMountStrict = mo.DirectMount
	switch {
	case !readonly:
		// Clearing setuid, setgid and capabilities is ours: else each write asks for security.capability first.
		mo.ExtraCapabilities |= gofuse.CAP_HANDLE_KILLPRIV_V2 | gofuse.CAP_SETXATTR_EXT | gofuse.CAP_DONT_MASK |
			gofuse.CAP_DIRECT_IO_ALLOW_MMAP | gofuse.CAP_ASYNC_DIO
		if o.Writeback {
			mo.ExtraCapabilities |= gofuse.CAP_WRITEBACK_CACHE
		}
	case mo.DirectMount:
		mo.DirectMountFlags |= unix.MS_RDONLY
	default:
		mo.Options = append(mo.Options, "ro")
	}
	return mo
}

// serveBlock mounts as fuseblk.
func (m *Mount) serveBlock(front gofuse.RawFileSystem, opts Options, mo *gofuse.MountOptions) error {
	f, ok := front.(syncer)
	if !ok || opts.AutoUnmount || os.Geteuid() != 0 {
		return fmt.Errorf("mount %s: syncfs is for read-write mounts of root, without auto_unmount", m.dir)
	}
	fd, source, err := mountBlock(m.dir, opts)
	if err != nil {
		return explain(err, m.dir)
	}
	s, err := newBlockServer(f, fd, m.dir, mo)
	if err != nil {
		return errors.Join(explain(err, m.dir), unix.Close(fd), unix.Unmount(m.dir, unix.MNT_DETACH))
	}
	m.server, m.source = s, source
	if err := s.start(); err != nil {
		return errors.Join(explain(err, m.dir), s.giveUp())
	}
	m.raiseReadahead()
	return nil
}

// strings are the options for the kernel or fusermount3.
func (o Options) strings() []string {
	out := []string{"default_permissions"}
	if o.Flags.Suid {
		out = append(out, "suid")
	}
	if o.Flags.Dev {
		out = append(out, "dev")
	}
	if o.Flags.NoExec {
		out = append(out, "noexec")
	}
	return out
}

// helperOptions are those that go-fuse itself gives to fusermount3 otherwise.
func (o Options) helperOptions() []string {
	out := []string{"subtype=varve", fmt.Sprint("max_read=", maxRead)}
	if o.Source != "" { // the kernel takes no empty name
		out = append(out, "fsname="+strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(o.Source))
	}
	if o.AllowOther {
		out = append(out, "allow_other")
	}
	return out
}

// explain says what to do about the usual reasons why mounting fails.
func explain(err error, dir string) error {
	switch {
	case errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("mount %s: the kernel has no FUSE (try: modprobe fuse): %w", dir, err)
	case errors.Is(err, syscall.ENOENT):
		if _, e := os.Stat("/dev/fuse"); e != nil {
			return fmt.Errorf("mount %s: /dev/fuse is missing (a container needs --device /dev/fuse): %w", dir, err)
		}
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("mount %s: %w (a container needs --cap-add SYS_ADMIN; without root, fusermount3 must be "+
			"installed)", dir, err)
	}
	return fmt.Errorf("mount %s: %w", dir, err)
}

// Serve answers requests until the file system is unmounted.
func (m *Mount) Serve() { m.server.Serve() }

// Finish is called when everything is written and released. With SyncFS, umount(2) has waited for it.
func (m *Mount) Finish() {
	if s, ok := m.server.(*blockServer); ok {
		s.finish()
	}
}

// Source is the source in the kernel's table of mounts.
func (m *Mount) Source() string { return m.source }

// Unmount unmounts, and fails while files are open.
func (m *Mount) Unmount() error {
	if m.keep == nil {
		return m.server.Unmount()
	}
	if os.Geteuid() == 0 {
		return unix.Unmount(m.dir, 0)
	}
	return exec.Command("fusermount3", "-u", "--", m.dir).Run()
}

// Device is the number that stat(2) gives for files of the mount.
func (m *Mount) Device() (uint64, error) {
	var st unix.Statx_t
	// The cached attributes of the root do: no request may be needed before Serve runs.
	if err := unix.Statx(unix.AT_FDCWD, m.dir, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st); err != nil {
		return 0, err
	}
	return unix.Mkdev(st.Dev_major, st.Dev_minor), nil
}

// raiseReadahead lets the kernel read ahead further than FUSE's 128 KiB. It needs root; without, reads are smaller.
func (m *Mount) raiseReadahead() {
	dev, err := m.Device()
	if err != nil {
		return
	}
	for _, kind := range []string{"", "-fuseblk"} {
		path := fmt.Sprintf("/sys/class/bdi/%d:%d%s/read_ahead_kb", unix.Major(dev), unix.Minor(dev), kind)
		_ = os.WriteFile(path, []byte(strconv.Itoa(readahead>>10)), 0)
	}
}
