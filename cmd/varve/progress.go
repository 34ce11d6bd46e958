package main

import (
	"io"
	"os"
	"path/filepath"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/output"
)

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// newBar is a progress bar on a terminal, and nothing elsewhere.
func newBar(w io.Writer, all int64, what string) *progressbar.ProgressBar {
	w = output.Raw(w) // it moves the cursor
	if f, ok := w.(*os.File); !ok || !isTerminal(f) {
		w = io.Discard
	}
	return progressbar.NewOptions64(all, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true))
}

// progress shows a bar where standard error is a terminal.
func progress(w io.Writer) func(done, all int, what string) {
	f, ok := output.Raw(w).(*os.File)
	if !ok {
		return nil
	}
	if !isTerminal(f) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, all int, what string) {
		if bar == nil {
			bar = progressbar.NewOptions(all, progressbar.OptionSetWriter(f), progressbar.OptionClearOnFinish(),
				progressbar.OptionShowCount())
		}
		bar.Describe(what)
		_ = bar.Set(done + 1)
	}
}

// newBytesBar reads a file, and shows on a terminal how much of it was read.
func newBytesBar(cmd *cobra.Command, f *os.File) io.ReadCloser {
	size := int64(-1) // not known
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	r := progressbar.NewReader(importer.Interruptible(cmd.Context(), f),
		newBar(cmd.ErrOrStderr(), size, filepath.Base(f.Name())))
	return &r
}
