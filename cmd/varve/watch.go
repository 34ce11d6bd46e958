package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/output"
)

// watchFlags choose which operations are printed, and how.
type watchFlags struct {
	operations []string
	under      string
	thread     uint32
	failed     bool
	slower     time.Duration
	all        bool
	asJSON     bool
	count      int
}

func newWatch() *cobra.Command {
	var f watchFlags
	cmd := &cobra.Command{
		Use:   "watch DIR",
		Short: "Print the operations on a read-write mount as they happen",
		Long: "varve watch prints the operations that a read-write mount answers: when, which, by which process, on which " +
			"path, its result, how long it took, and the commit that it made. Changes and fsync are printed; --all adds " +
			"lookups, reads and the like. Files that were opened before are shown by their inode. It ends with the mount, " +
			"or on ctrl-C. A watcher that is too slow loses the oldest operations, and prints how many.",
		Example: "  varve watch /mnt --operation write,fsync --slower 10ms\n  varve watch /mnt --under /var/log --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.operations, "operation", nil, "only these, such as create,write,rename")
	flags.StringVar(&f.under, "under", "", "only this path of the image, and those below it")
	flags.Uint32Var(&f.thread, "pid", 0, "only those of this thread")
	flags.BoolVar(&f.failed, "failed", false, "only those that fail")
	flags.DurationVar(&f.slower, "slower", 0, "only those that take at least so long")
	flags.BoolVar(&f.all, "all", false, "print operations that change nothing, too")
	flags.IntVar(&f.count, "count", 0, "end after so many; 0: never")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON, an operation a line")
	return cmd
}

// quiet are the operations that change nothing.
var quiet = []string{"lookup", "readlink", "getxattr", "listxattr", "open", "read", "release", "lseek", "opendir",
	"readdir", "statfs"}

func (f *watchFlags) wants(o *evidence.Operation) bool {
	switch {
	case len(f.operations) > 0 && !slices.Contains(f.operations, o.Name):
	case len(f.operations) == 0 && !f.all && slices.Contains(quiet, o.Name):
	case f.thread != 0 && o.Thread != f.thread:
	case f.failed && o.Errno == 0:
	case o.Took < f.slower.Seconds():
	case f.under != "" && !evidence.Below(o.Path, f.under) && !evidence.Below(o.ToPath, f.under):
	default:
		return true
	}
	return false
}

func (f *watchFlags) run(cmd *cobra.Command, dir string) error {
	out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
	threads := map[uint32]string{}
	printed := 0
	err := daemon.Watch(cmd.Context(), dir,
		func(w daemon.Watching) { fmt.Fprintf(errOut, "watching %s\n", w.Image) },
		func(r *evidence.Record) (err error) {
			switch {
			case r.Event == evidence.EventDropped && f.asJSON:
				return json.NewEncoder(out).Encode(r)
			case r.Event == evidence.EventDropped:
				_, err = fmt.Fprintf(out, "%d records were lost: this watcher is too slow\n", r.Count)
				return err
			case r.Operation == nil || !f.wants(r.Operation):
				return nil
			case f.asJSON:
				err = json.NewEncoder(out).Encode(r)
			default:
				err = printOperation(out, r, programOf(threads, r.Thread))
			}
			if printed++; err == nil && printed == f.count {
				return errEnough
			}
			return err
		})
	if err == errEnough {
		return nil
	}
	return err
}

// errEnough ends watching.
var errEnough = fmt.Errorf("that is enough")

func printOperation(out io.Writer, r *evidence.Record, program string) error {
	o := r.Operation
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s", r.Time.Local().Format("15:04:05.000000"), o.Name, shownPath(o.Path, o.Inode, o.Entry))
	if o.To != 0 {
		fmt.Fprintf(&b, " to %s", shownPath(o.ToPath, o.To, o.ToEntry))
	}
	if o.Attribute != "" {
		fmt.Fprintf(&b, ", %s", output.Quote(o.Attribute))
	}
	if o.Bytes > 0 {
		fmt.Fprintf(&b, ", %d bytes at %d", o.Bytes, o.Offset)
	}
	result := "ok"
	if o.Errno != 0 {
		if result = unix.ErrnoName(unix.Errno(o.Errno)); result == "" {
			result = fmt.Sprintf("errno %d", o.Errno)
		}
	}
	fmt.Fprintf(&b, "  %s  %v", result, time.Duration(o.Took*1e9).Round(time.Microsecond))
	if r.Seq != 0 {
		fmt.Fprintf(&b, "  commit %d", r.Seq)
	}
	if o.Thread == 0 {
		b.WriteString("  by the kernel")
	} else {
		fmt.Fprintf(&b, "  by %s[%d], user %d", output.Quote(program), o.Thread, o.UID)
	}
	_, err := fmt.Fprintln(out, b.String())
	return err
}

// shownPath is a path, or what is known in its place.
func shownPath(path string, inode uint32, entry string) string {
	switch {
	case path != "":
		return output.Quote(path)
	case entry != "":
		return fmt.Sprintf("<inode %d>/%s", inode, output.Quote(entry))
	}
	return fmt.Sprintf("<inode %d>", inode)
}

// programOf is the name of the program that a thread runs, as far as it is still there. known keeps names.
func programOf(known map[uint32]string, thread uint32) string {
	name, ok := known[thread]
	if !ok && thread != 0 {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", thread))
		if name = strings.TrimSpace(string(comm)); err != nil {
			name = "?"
		}
		if len(known) > 10_000 {
			clear(known)
		}
		known[thread] = name
	}
	return name
}
