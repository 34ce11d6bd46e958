package daemon

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/syslog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

// Config configures a daemon: what to mount, and how.
type Config struct {
	Spec         volume.Spec
	Fuse         fuse.Options
	Write        volume.WriteOptions // of a read-write mount
	Writable     bool                // read-write
	Overlay      string              // takes the changes of a read-write mount; empty: they go into the image
	InForce      string              // the options in mount(8)'s grammar, for people
	Metrics      string              // the address at which a read-write mount serves metrics; empty: none
	LedgerLimits evidence.Limits
	Ledger       string // the file of the evidence ledger of a read-write mount; empty: none
}

// Mounted describes a new mount.
type Mounted struct {
	SchemaVersion  int    `json:"schema_version"`
	Image          string `json:"image"`
	Dir            string `json:"dir"`
	Type           string `json:"type"`
	Label          string `json:"label"`
	Options        string `json:"options"`
	ReplayedBlocks int    `json:"replayed_blocks"`
	Orphans        int    `json:"orphans_finished"`
	Writable       bool   `json:"read_write"`
	Pid            int    `json:"pid"`
}

func (m *Mounted) String() string {
	replayed := ""
	if m.Writable && m.ReplayedBlocks+m.Orphans > 0 {
		replayed = fmt.Sprintf("; recovered %d blocks from the journal, and finished %d orphan inodes",
			m.ReplayedBlocks, m.Orphans)
	} else if m.ReplayedBlocks > 0 {
		replayed = fmt.Sprintf("; %d blocks come from the journal, which was replayed in memory", m.ReplayedBlocks)
	}
	return fmt.Sprintf("%s mounted on %s: %s, %s%s", m.Image, m.Dir, m.Type, m.Options, replayed)
}

// session is one mount that this process serves.
type session struct {
	Config
	dir    string
	logger *log.Logger
	ready  func(*Mounted) error
	bus    *evidence.Bus  // of a read-write mount
	ledger *evidence.File // nil: none
	life   *life          // nil where there is no life socket
}

// Serve mounts, calls ready when requests are answered, and returns when the mount is gone and the image is released.
// The end of ctx, which a signal of Signals brings, ends it: before the mount, too.
func (c Config) Serve(ctx context.Context, dir string, logger *log.Logger, ready func(*Mounted) error) error {
	s := &session{Config: c, dir: dir, logger: logger, ready: ready}
	s.Fuse.Logger = logger
	serve := s.serve
	if c.Writable {
		serve = s.serveWritable
	}
	err := serve(ctx)
	if s.life != nil {
		s.life.end(err)
	}
	return err
}

// serve serves a read-only mount.
func (s *session) serve(ctx context.Context) error {
	v, err := volume.Open(s.Spec)
	if err != nil {
		return &MountError{volume.Advise(err)}
	}
	defer v.Close()
	if err := v.Share(s.Spec); err != nil {
		return &MountError{volume.Advise(err)}
	}
	if err := v.CheckRoot(); err != nil {
		return &MountError{volume.Advise(fmt.Errorf("%s: %w", s.Spec.Image, err))}
	}
	super := v.Superblock()
	if end := super.BlockSize.Offset(super.Blocks); v.Device.Size() < end {
		s.logger.Printf("%s is cut short: %d bytes of %d; reading past its end gives EIO", s.Spec.Image,
			v.Device.Size(), end)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	mount, err := fuse.New(v.FS, v.Device, v.Ahead, s.dir, s.Fuse)
	if err != nil {
		return &MountError{err}
	}
	s.serveUntilGone(ctx, mount, &Mounted{Type: super.Kind(), Label: super.Label, ReplayedBlocks: v.Replayed()})
	return nil
}

// daemonGCPercent lets the heap grow to twice the bounded cache, which is nearly all that is in it.
const daemonGCPercent = 100

// serveUntilGone answers requests until the mount is gone. It completes d, and passes it to ready.
func (s *session) serveUntilGone(ctx context.Context, mount *fuse.Mount, d *Mounted) {
	debug.SetGCPercent(daemonGCPercent)
	if dev, err := mount.Device(); err != nil {
		s.logger.Printf("%v: umount commands will not wait for this daemon", err)
	} else if s.life, err = announceLife(dev); err != nil {
		s.logger.Printf("%v: umount commands will not wait for this daemon", err)
	}
	if forget, err := enterHelper(mount.Source(), s.dir); err != nil {
		s.logger.Printf("%v: umount(8) will not wait for this daemon", err)
	} else {
		defer forget()
	}
	stop := handleSignals(ctx, mount, s.dir, s.logger)
	defer stop()
	served := make(chan struct{})
	go func() { mount.Serve(); close(served) }()
	d.SchemaVersion, d.Image, d.Dir, d.Options = output.SchemaVersion, s.Fuse.Source, s.dir, s.InForce
	d.Writable, d.Pid = s.Writable, os.Getpid()
	if err := s.ready(d); err != nil {
		s.logger.Print(err)
	}
	<-served
}

// exitInterrupted is the exit code after a signal of Signals (docs/cli.md).
const exitInterrupted = 8

// Signals are those that end a command in good order. A terminal that goes away is one of them, unless nohup(1) has it
// ignored.
func Signals() []os.Signal {
	out := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		out = append(out, syscall.SIGHUP)
	}
	return out
}

// handleSignals unmounts when a signal ends ctx. If files are still open the mount leaves the directory tree at
// once, and the daemon ends when the last file is closed; a second signal ends it at once.
func handleSignals(ctx context.Context, mount *fuse.Mount, dir string, logger *log.Logger) (stop func()) {
	served := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-served:
			return
		}
		second := make(chan os.Signal, 1)
		signal.Notify(second, Signals()...)
		defer signal.Stop(second)
		go func() {
			if err := mount.Unmount(); err == nil {
				return
			}
			logger.Printf("%s is busy: detached, and served until its files are closed", dir)
			if err := Detach(dir); err != nil {
				logger.Printf("detach %s: %v", dir, err)
			}
		}()
		select {
		case <-second:
			_ = Detach(dir)
			os.Exit(exitInterrupted)
		case <-served:
		}
	}()
	return func() { close(served) }
}

// systemLog takes a daemon's messages: syslog, or nothing where that does not answer.
func systemLog() *log.Logger {
	if l, err := syslog.NewLogger(syslog.LOG_DAEMON|syslog.LOG_WARNING, 0); err == nil {
		l.SetPrefix("varve: ")
		l.SetOutput(output.NewGuard(l.Writer()))
		return l
	}
	return log.New(io.Discard, "", 0)
}
