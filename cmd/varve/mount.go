package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/output"
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
  strictatime            rw: the time of access is set at each read that reaches the daemon
  sync, dirsync          rw: changes, or those of directories, are durable before their operations return
  errors=NAME            rw: what damage leads to, instead of what the superblock says: continue or remount-ro (panic is the same)
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
Options that mean nothing to a mount (defaults, nofail, _netdev, x-*, ...) are accepted.`

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
	if dir, err = daemon.MountPoint(dir, m.replaceStale); err != nil {
		return &daemon.MountError{Err: err}
	}
	c := o.config()
	c.Metrics, c.Ledger = m.metrics, m.ledger
	if ready := daemon.ReadyPipe(); ready != nil {
		reported, err := c.Run(cmd.Context(), dir, ready, exitCode)
		if reported {
			return codedError{errPrinted, exitCode(err)}
		}
		return err
	}
	if m.foreground || m.debug {
		logger := log.New(output.NewGuard(os.Stderr), "varve: ", 0)
		return c.Serve(cmd.Context(), dir, logger, func(d *daemon.Mounted) error { return m.announce(cmd, d) })
	}
	d, err := daemon.Start(cmd.Context(), func(notice string) { fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s\n", notice) })
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
	if o.write.Memory == 0 {
		o.write.Memory = volume.DefaultMemory
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
	if o.write.Commit == 0 {
		o.write.Commit = 5 * time.Second
	}
	return o.check()
}

// announce says what was mounted, and how.
func (m *mountCommand) announce(cmd *cobra.Command, d *daemon.Mounted) error {
	if m.json {
		return output.WriteJSON(cmd.OutOrStdout(), d)
	}
	if !m.quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "varve: %v\n", d)
	}
	return nil
}
