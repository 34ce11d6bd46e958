// Command varve mounts ext2, ext3 and ext4 images through FUSE, read-only or read-write, keeps changes beside an image,
// checks and reads images without a mount, and runs and measures the transactional store behind it.
//
// Each subcommand has a file of its own, and its test beside it. The process behind a mount is package
// internal/daemon's. Called as mount.varve, umount.varve or umount.fuse.varve the program is the helper that mount(8)
// and umount(8) look for.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/output"
)

func main() {
	stdout, stderr := output.NewGuard(os.Stdout), output.NewGuard(os.Stderr)
	code := run(os.Args, stdout, stderr)
	_ = stderr.Flush()
	os.Exit(code)
}

// run executes a command line and returns its exit code.
func run(args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(stderr, "varve: a bug: %v\n%s", r, debug.Stack())
			code = exitInternal
		}
	}()
	name := filepath.Base(args[0])
	rest := args[1:]
	var err error
	switch {
	case strings.HasPrefix(name, "mount."):
		rest, err = mountHelperArgs(rest)
	case strings.HasPrefix(name, "umount."):
		rest, err = umountHelperArgs(rest)
	}
	if errors.Is(err, errDryRun) {
		return exitOK
	}
	var cmd *cobra.Command
	if err == nil {
		// A signal ends this context; a mount command then unmounts (daemon.Serve).
		ctx, stop := signal.NotifyContext(context.Background(), daemon.Signals()...)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the process
		root := newRoot()
		root.SetOut(stdout)
		root.SetErr(stderr)
		root.SetArgs(rest)
		cmd, err = root.ExecuteContextC(ctx)
	}
	if g, ok := stdout.(*output.Guard); ok && err == nil {
		if err = g.Flush(); err != nil {
			err = fmt.Errorf("the output is not complete: %w", err)
		}
	}
	if err != nil && !errors.Is(err, errPrinted) {
		fmt.Fprintf(stderr, "varve: %v\n", err)
	}
	if cmd != nil && cmd.Name() == "fsck" {
		return fsckCode(err)
	}
	return exitCode(err)
}

// newRoot assembles the command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "varve",
		Short: "Mount, read and write ext2, ext3 and ext4 images",
		Long: `varve mounts ext2, ext3 and ext4 images through FUSE, read-only, read-write in place, or
read-write with all changes in an overlay; it checks images and reads them without a mount;
and it runs stress tests and benchmarks of the transactional store behind the read-write mounts.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	root.AddCommand(newMount(), newUmount(), newSync(), newCommit(), newDiscard(), newDiff(), newMap(), newStats(),
		newTop(), newWatch(), newExplain(), newFsck(), newInfo(), newDump(), newInspect(), newFind(), newDu(),
		newQuota(), newLs(), newCat(), newStat(), newTree(), newCp(), newTar(), newPut(), newImport(), newPack(), newMkdir(),
		newRm(), newMv(), newChmod(), newChown(), newSetfattr(), newStress(), newBench(), newEvidence(), newDemo(),
		newVersion(), newMan(), newResize())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Args != nil {
			c.Args = usageArgs(c.Args)
		}
		if c.Name() == "completion" { // without a function of its own it would print help, and take any name
			c.Args = usageArgs(cobra.NoArgs)
			c.RunE = func(*cobra.Command, []string) error { return usageError{errors.New("bash, zsh or fish?")} }
		}
	}
	return root
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}
