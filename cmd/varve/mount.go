package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"log/syslog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/volume"
)

const mountLong = `Mount the ext2, ext3 or ext4 file system of an image (or block device): read-only, or read-write with --rw.

Read-only, the image is never written to. If its journal holds newer blocks, they are shown as the kernel would show them after its own
recovery. Read-write, the journal is recovered first, every operation is one transaction of that journal, and the image is locked. fsync of any
file or directory makes everything earlier durable, and so does varve sync DIR; sync(1) reaches the mount with -o syncfs only. The command returns when the
mount answers; a daemon then serves it until it is unmounted. Root may cut it by the ioctl FS_IOC_SHUTDOWN, as a power cut would.

Options for -o, in mount(8)'s grammar:
  ro                     read-only (the default)
  rw                     read-write, in place: the image needs a journal
  overlay=FILE           read-write, with all changes in FILE (see varve commit, diff and discard); for images without a journal, too
  no_lock                mount although another mount may write to the image: what is read may be wrong
  overlay_adopt          take the overlay although the image was changed since it was made
  data=ordered|journal   rw: metadata alone goes through the journal (ordered), or file data, too
  commit=SECONDS         rw: make changes durable at least so often (5)
  noatime, relatime      rw: times of access are not kept, or kept as mount(8) says for relatime (the default)
  memory=SIZE            rw: bound of versions, cached blocks and bitmaps (64M)
  policy=NAME            rw: how conflicts are decided: merge (the default), strict, wait or adaptive
  writeback_cache        rw: the kernel gathers writes; running out of space then shows at fsync or close
  no_open                rw: opening and closing files asks the daemon nothing, which is faster; direct writes into one file run one at a time
                         then, and an immutable file is found out when it is written to
  syncfs                 rw: sync(1) and syncfs(2) make the mount durable, and umount(2) returns when the image is clean and released
                         (root only; the mount has the type fuseblk and a loop device of its own, and some operations cost more)
  allow_other            let all users in, each by the file system's permissions and ACLs
  auto_unmount           unmount when the daemon ends, however it ends (through fusermount3, which can tell only where
                         root may enter: as root, or with allow_other)
  max_background=N       readahead requests at a time (64)
  part=N|auto            the partition to mount
  fsoffset=BYTES         where in the image the file system begins (also offset=, which mount(8) keeps to itself)
  sb=N                   superblock at N KiB, for a backup
  cache=SIZE             bound of the metadata cache (16M)
  journal_path=IMAGE     the external journal
  norecovery, noload     leave the journal alone
  trace=FILE             write down which metadata blocks are asked for
  suid, dev, noexec      as in mount(8); the default is nosuid,nodev,exec
Options that mean nothing to such a mount (defaults, noatime, nofail, _netdev, x-*, ...) are accepted.`

// mountCommand is a varve mount command line.
type mountCommand struct {
	options      []string
	spec         volume.Spec
	foreground   bool
	replaceStale bool
	quiet        bool
	json         bool
	debug        bool
	live         bool
	overlay      string
	metrics      string
	ledger       string
	data         string
	commit       int
}

func newMount() *cobra.Command {
	m := &mountCommand{}
	cmd := &cobra.Command{
		Use:   "mount IMAGE DIR",
		Short: "Mount an image, read-only unless --rw is given",
		Long:  mountLong,
		Args:  cobra.ExactArgs(2),
		RunE:  func(cmd *cobra.Command, args []string) error { return m.run(cmd, args[0], args[1]) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&m.options, "options", "o", nil, "mount options, separated by commas")
	f.BoolVarP(&m.foreground, "foreground", "f", false, "stay in the foreground and log to standard error")
	f.BoolVar(&m.replaceStale, "replace-stale", false, "take over a mount point whose daemon is gone")
	f.BoolVarP(&m.quiet, "quiet", "q", false, "print nothing where all goes well")
	f.BoolVar(&m.json, "json", false, "describe the mount as JSON")
	f.BoolVar(&m.debug, "debug", false, "log every request; implies --foreground")
	f.BoolVar(&m.live, "rw", false, "mount read-write, in place (as -o rw)")
	f.StringVar(&m.overlay, "overlay", "", "mount read-write, and keep all changes in this `file`: the image is only read")
	f.StringVar(&m.data, "data", "", "what goes through the journal of a read-write mount: ordered (metadata), or journal (file data, too)")
	f.StringVar(&m.metrics, "metrics", "", "read-write: serve Prometheus metrics, and JSON at /stats, on this `address`")
	f.StringVar(&m.ledger, "evidence", "", "read-write: append the evidence ledger to this `file`")
	f.IntVar(&m.commit, "commit", 0, "make changes durable at least every so many seconds, read-write (5)")
	imageFlags(cmd, &m.spec)
	return cmd
}

// mounted describes a new mount.
type mounted struct {
	SchemaVersion  int    `json:"schema_version"`
	Image          string `json:"image"`
	Dir            string `json:"dir"`
	Type           string `json:"type"`
	Label          string `json:"label"`
	Options        string `json:"options"`
	ReplayedBlocks int    `json:"replayed_blocks"`
	Orphans        int    `json:"orphans_finished"`
	Live           bool   `json:"read_write"`
	Pid            int    `json:"pid"`
}

func (m *mounted) String() string {
	replayed := ""
	if m.Live && m.ReplayedBlocks+m.Orphans > 0 {
		replayed = fmt.Sprintf("; recovered %d blocks from the journal, and finished %d orphan inodes", m.ReplayedBlocks, m.Orphans)
	} else if m.ReplayedBlocks > 0 {
		replayed = fmt.Sprintf("; %d blocks come from the journal, which was replayed in memory", m.ReplayedBlocks)
	}
	return fmt.Sprintf("%s mounted on %s: %s, %s%s", m.Image, m.Dir, m.Type, m.Options, replayed)
}

func (m *mountCommand) run(cmd *cobra.Command, image, dir string) error {
	o, err := parseMountOptions(m.options)
	if err != nil {
		return err
	}
	for _, f := range []struct{ name, value string }{{"overlay", m.overlay}, {"data", m.data}, {"commit", strconv.Itoa(m.commit)}} {
		if cmd.Flags().Changed(f.name) { // and empty is not the same as not given
			if err := o.set(f.name + "=" + f.value); err != nil {
				return usageError{err}
			}
		}
	}
	if err := m.merge(&o, image); err != nil {
		return usageError{err}
	}
	if dir, err = m.checkDir(dir); err != nil {
		return mountError{err}
	}
	if ready := readyPipe(); ready != nil {
		return m.daemon(o, dir, ready)
	}
	if m.foreground || m.debug {
		logger := log.New(&human{w: os.Stderr}, "varve: ", 0)
		return endLives(m.serve(o, dir, logger, func(d *mounted) error { return m.announce(cmd, d) }))
	}
	d, err := startDaemon()
	if err != nil {
		return err
	}
	return m.announce(cmd, d)
}

// merge adds the options that have flags of their own.
func (m *mountCommand) merge(o *mountOptions, image string) error {
	o.spec.Image = image
	if m.spec.Part != "" {
		o.spec.Part = m.spec.Part
	}
	if m.spec.Offset != 0 {
		o.spec.Offset = m.spec.Offset
	}
	if m.spec.Journal != "" {
		o.spec.Journal = m.spec.Journal
	}
	o.spec.NoRecovery = o.spec.NoRecovery || m.spec.NoRecovery
	if o.spec.Cache == 0 {
		o.spec.Cache = volume.DefaultCache
	}
	if o.fuse.MaxBackground == 0 {
		o.fuse.MaxBackground = fuse.DefaultMaxBackground
	}
	if abs, err := filepath.Abs(image); err == nil {
		o.fuse.Source = abs
	}
	o.fuse.Debug = m.debug
	if o.overlay != "" {
		abs, err := filepath.Abs(o.overlay) // the daemon is in another directory
		if err != nil {
			return err
		}
		o.overlay = abs
	}
	o.live = o.live || m.live || o.overlay != ""
	return o.check()
}

// announce says what was mounted, and how.
func (m *mountCommand) announce(cmd *cobra.Command, d *mounted) error {
	if m.json {
		return writeJSON(cmd.OutOrStdout(), d)
	}
	if !m.quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "varve: %v\n", d)
	}
	return nil
}

// checkDir checks the mount point, and frees it of a dead mount if asked to.
func (m *mountCommand) checkDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// Not stat(2), which the kernel would answer from what a dead mount told it.
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); errors.Is(err, syscall.ENOTCONN) {
		if !m.replaceStale {
			return "", fmt.Errorf("%s is a dead mount: its daemon is gone. Free it with: varve umount %s (or mount with --replace-stale)", dir, dir)
		}
		if err := detach(dir); err != nil {
			return "", fmt.Errorf("free the dead mount %s: %w", dir, err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	return dir, nil
}

// serve mounts, says so, and answers requests until the mount is gone.
func (m *mountCommand) serve(o mountOptions, dir string, logger *log.Logger, ready func(*mounted) error) error {
	if o.live {
		return m.serveLive(o, dir, logger, ready)
	}
	v, err := volume.Open(o.spec)
	if err != nil {
		return mountError{advise(err)}
	}
	defer v.Close()
	if err := v.Share(o.spec); err != nil {
		return mountError{advise(err)}
	}
	if err := v.CheckRoot(); err != nil {
		return mountError{advise(fmt.Errorf("%s: %w", o.spec.Image, err))}
	}
	if v.Device.Size() < v.Superblock().BlockSize.Offset(v.Superblock().Blocks) {
		logger.Printf("%s is cut short: %d bytes of %d; reading past its end gives EIO", o.spec.Image, v.Device.Size(),
			v.Superblock().BlockSize.Offset(v.Superblock().Blocks))
	}
	o.fuse.Logger = logger
	mount, err := fuse.New(v.FS, v.Device, v.Ahead, dir, o.fuse)
	if err != nil {
		return mountError{err}
	}
	super := v.Superblock()
	attend(mount, dir, logger, ready, &mounted{SchemaVersion: schemaVersion, Image: o.fuse.Source, Dir: dir, Type: super.Kind(), Label: super.Label,
		Options: o.effective(), ReplayedBlocks: v.Replayed(), Pid: os.Getpid()})
	return nil
}

// attend says that a mount is there and answers requests until it is gone.
func attend(mount *fuse.Mount, dir string, logger *log.Logger, ready func(*mounted) error, d *mounted) {
	debug.SetGCPercent(daemonGCPercent)
	life, err := announceLife(mount)
	if err != nil {
		logger.Printf("%v: umount commands will not wait for this daemon", err)
	} else {
		lives = append(lives, life) // until the process ends: then the image is released
	}
	if forget, err := noteHelper(mount.Source(), dir); err != nil {
		logger.Printf("%v: umount(8) will not wait for this daemon", err)
	} else {
		defer forget()
	}
	stop := handleSignals(mount, dir, logger)
	defer stop()
	served := make(chan struct{})
	go func() { mount.Serve(); close(served) }()
	if err := ready(d); err != nil {
		logger.Print(err)
	}
	<-served
}

// daemonGCPercent lets the heap grow to twice the bounded cache, which is nearly all that is in it.
const daemonGCPercent = 100

// handleSignals unmounts on SIGINT and SIGTERM. Where files are still open the mount leaves the directory tree at
// once, and the daemon ends when the last file is closed; a second signal ends it there and then.
func handleSignals(mount *fuse.Mount, dir string, logger *log.Logger) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		if _, ok := <-signals; !ok {
			return
		}
		go func() {
			if err := mount.Unmount(); err == nil {
				return
			}
			logger.Printf("%s is busy: detached, and served until its files are closed", dir)
			if err := detach(dir); err != nil {
				logger.Printf("detach %s: %v", dir, err)
			}
		}()
		if _, ok := <-signals; ok {
			_ = detach(dir)
			os.Exit(exitInterrupted)
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}

// detach takes a mount out of the directory tree, whether it is busy or dead.
func detach(dir string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, unix.MNT_DETACH)
	}
	out, err := exec.Command("fusermount3", "-u", "-z", "--", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fusermount3: %w: %s", err, out)
	}
	return nil
}

// daemonLog is where a daemon's messages go: syslog, or nowhere.
func daemonLog() *log.Logger {
	if l, err := syslog.NewLogger(syslog.LOG_DAEMON|syslog.LOG_WARNING, 0); err == nil {
		l.SetPrefix("varve: ")
		l.SetOutput(&human{w: l.Writer()})
		return l
	}
	return log.New(io.Discard, "", 0)
}
