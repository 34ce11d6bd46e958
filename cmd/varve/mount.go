package main

import (
	"cmp"
	"fmt"
	"log"
	"os"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

const mountLong = `Mount the ext2, ext3 or ext4 file system of an image or block device: read-only, or read-write with
--rw.

A read-only mount never writes to the image. If the journal holds newer blocks, the mount shows them, as the kernel
would after its own recovery. A read-write mount recovers the journal first, makes every operation one transaction, and
locks the image. fsync of any file or directory makes everything earlier durable, and so does varve sync DIR; sync(1)
reaches the mount with -o syncfs only. The command returns when the mount answers; a daemon then serves it until it is
unmounted. The ioctl FS_IOC_SHUTDOWN of root ends it as a power cut would.

Options for -o, in mount(8)'s grammar:
%s
Options that mean nothing to a mount (defaults, nofail, _netdev, x-*, ...) are accepted.`

// mountCommand is the flags of varve mount. Those that are mount options, too, are read from the flag set.
type mountCommand struct {
	options      []string
	spec         volume.Spec
	foreground   bool
	replaceStale bool
	quiet        bool
	json         bool
	debug        bool
	writable     bool
	metrics      string
	ledger       ledgerFlags
}

func newMount() *cobra.Command {
	m := &mountCommand{}
	cmd := &cobra.Command{
		Use:   "mount IMAGE DIR",
		Short: "Mount an image, read-only unless --rw is given",
		Long:  fmt.Sprintf(mountLong, optionHelp()),
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
	f.BoolVar(&m.writable, "rw", false, "mount read-write, in place (as -o rw)")
	f.String("overlay", "", "mount read-write, and keep all changes in this `file`: the image is only read")
	f.String("data", "", "read-write: ordered (metadata goes through the journal), or journal (file data, too)")
	f.StringVar(&m.metrics, "metrics", "",
		"read-write: serve Prometheus metrics, and JSON at /stats, on this `address`")
	m.ledger.add(cmd, "read-write: ")
	f.Int("commit", 0, "read-write: make changes durable at least every so many seconds (5)")
	imageFlags(cmd, &m.spec)
	return cmd
}

func (m *mountCommand) run(cmd *cobra.Command, image, dir string) error {
	o, err := parseMountOptions(m.options)
	if err != nil {
		return err
	}
	if err := m.addFlags(&o, cmd); err != nil {
		return usageError{err}
	}
	if err := o.complete(image); err != nil {
		return usageError{err}
	}
	if dir, err = daemon.MountPoint(dir, m.replaceStale); err != nil {
		return &daemon.MountError{Err: err}
	}
	if ready := daemon.ReadyPipe(); ready != nil {
		reported, err := o.Run(cmd.Context(), dir, ready, exitCode)
		if reported {
			return codedError{errPrinted, exitCode(err)}
		}
		return err
	}
	if m.foreground || m.debug {
		logger := log.New(output.NewGuard(os.Stderr), "varve: ", 0)
		return o.Serve(cmd.Context(), dir, logger, func(d *daemon.Mounted) error { return m.announce(cmd, d) })
	}
	d, err := daemon.Start(cmd.Context(), func(notice string) { fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s\n", notice) })
	if err != nil {
		return err
	}
	return m.announce(cmd, d)
}

// addFlags adds the options that have flags of their own.
func (m *mountCommand) addFlags(o *mountOptions, cmd *cobra.Command) error {
	for _, name := range []string{"overlay", "data", "commit"} {
		if f := cmd.Flags().Lookup(name); f.Changed { // an empty value is refused
			if err := o.set(name + "=" + f.Value.String()); err != nil {
				return err
			}
		}
	}
	o.Spec.Part = cmp.Or(m.spec.Part, o.Spec.Part)
	o.Spec.Offset = cmp.Or(m.spec.Offset, o.Spec.Offset)
	o.Spec.Journal = cmp.Or(m.spec.Journal, o.Spec.Journal)
	o.Spec.WAL = cmp.Or(m.spec.WAL, o.Spec.WAL)
	o.Spec.NoRecovery = o.Spec.NoRecovery || m.spec.NoRecovery
	o.Writable = o.Writable || m.writable
	o.Fuse.Debug = m.debug
	o.Metrics, o.Ledger, o.LedgerLimits = m.metrics, m.ledger.path, m.ledger.bounds()
	return nil
}

// announce prints the description of a new mount.
func (m *mountCommand) announce(cmd *cobra.Command, d *daemon.Mounted) error {
	if m.json {
		return output.WriteJSON(cmd.OutOrStdout(), d)
	}
	if !m.quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "varve: %v\n", d)
	}
	return nil
}
