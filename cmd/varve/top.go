package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/top"
)

// topFlags choose between pages and lines.
type topFlags struct {
	once     bool
	interval time.Duration
	count    int
}

func newTop() *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:   "top DIR|ADDRESS",
		Short: "Show what a read-write mount or a run does now: rates, durability, hot blocks, policy",
		Long: "varve top shows the figures of varve stats over time, on four pages of a terminal: rates, durability, hot " +
			"blocks and policy. ADDRESS is that of --metrics of a stress run or a mount. With --once or --interval, and " +
			"where the output is no terminal, it prints lines as vmstat(8) does: events a second, commits not durable, " +
			"milliseconds of a flush, how full the journal is, and the step of back-pressure. It ends with the mount or the " +
			"run, or on q.",
		Example: "  varve top /mnt\n  varve top 127.0.0.1:9100\n  varve top /mnt --interval 5s --count 12",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.once, "once", false, "print one line, and end")
	flags.DurationVar(&f.interval, "interval", time.Second, "print a line each time this has passed")
	flags.IntVar(&f.count, "count", 0, "end after so many lines; 0: never")
	return cmd
}

func (f *topFlags) run(cmd *cobra.Command, name string) error {
	switch {
	case f.interval <= 0:
		return usageError{errors.New("--interval must be positive")}
	case f.count < 0:
		return usageError{errors.New("--count must not be negative")}
	case f.once && f.count > 0:
		return usageError{errors.New("--once and --count exclude each other")}
	case f.once:
		f.count = 1
	}
	src, errOut := top.Find(name), cmd.ErrOrStderr()
	out, ok := output.Raw(cmd.OutOrStdout()).(*os.File)
	lines := f.count > 0 || cmd.Flags().Changed("interval") || os.Getenv("TERM") == "dumb"
	if lines || !ok || !isTerminal(out) || !isTerminal(os.Stdin) {
		return top.Print(cmd.Context(), src, cmd.OutOrStdout(), errOut, f.interval, f.count)
	}
	return top.Run(cmd.Context(), src, os.Stdin, out, errOut, ".")
}
