package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// readyEnv names the descriptor of the ready pipe in the environment of a daemon.
const readyEnv = "_VARVE_READY_FD"

// report is one JSON document on the ready pipe: a notice, a mount, or an error with its exit code.
type report struct {
	Notice  string   `json:"notice,omitempty"`
	Mounted *Mounted `json:"mounted,omitempty"`
	Error   string   `json:"error,omitempty"`
	Code    int      `json:"code,omitempty"`
}

// Failure is the error of a daemon that could not mount, in the parent.
type Failure struct {
	Text string
	Code int // the exit code
}

func (f *Failure) Error() string { return f.Text }

// ErrNoReport says that a daemon ended before it reported anything, which is a bug.
var ErrNoReport = errors.New("the daemon ended before it mounted")

// ReadyPipe is the pipe to the parent, in a daemon; otherwise nil.
func ReadyPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	if err != nil {
		return nil
	}
	os.Unsetenv(readyEnv)
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}

// Start runs this command line again in a session of its own, and returns when that process serves its mount or has
// failed (rule 1). Meanwhile it passes notices on, and the end of ctx: an interrupted command leaves no mount behind.
func Start(ctx context.Context, notice func(text string)) (*Mounted, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	return start(ctx, cmd, notice)
}

func start(ctx context.Context, cmd *exec.Cmd, notice func(text string)) (*Mounted, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd.Env = append(cmd.Environ(), readyEnv+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	last, err := readReport(r, notice)
	if err == nil && last.Mounted != nil && ctx.Err() != nil { // it mounted first, and unmounts now
		_ = cmd.Wait()
		return nil, ctx.Err()
	}
	if err != nil {
		_ = cmd.Wait()
		return nil, fmt.Errorf("%w: %v", ErrNoReport, cmd.ProcessState)
	}
	if last.Mounted == nil {
		_ = cmd.Wait()
		return nil, &Failure{last.Error, last.Code}
	}
	if _, err := os.Stat(last.Mounted.Dir); err != nil { // a question of our own (rule 1)
		return nil, &MountError{errors.Join(err, Detach(last.Mounted.Dir))}
	}
	return last.Mounted, nil
}

// readReport passes notices on until the daemon reports a mount or an error, and returns that report.
func readReport(r io.Reader, notice func(text string)) (last report, err error) {
	for d := json.NewDecoder(r); err == nil && last.Mounted == nil && last.Error == ""; {
		last = report{}
		if err = d.Decode(&last); last.Notice != "" {
			notice(last.Notice)
		}
	}
	return last, err
}

// Run serves a mount in a daemon, and reports to the parent; code gives the exit code of an error. It returns reported
// where the parent prints the error.
func (c Config) Run(ctx context.Context, dir string, ready *os.File, code func(error) int) (reported bool, err error) {
	out := json.NewEncoder(ready)
	last := func(r report) error {
		defer ready.Close()
		return out.Encode(r)
	}
	c.Write.Notice = func(text string) { _ = out.Encode(report{Notice: text}) }
	stderr := keepStderr()
	err = c.Serve(ctx, dir, systemLog(), func(d *Mounted) error {
		if err := os.Chdir("/"); err != nil { // keep no other mount busy
			return err
		}
		return last(report{Mounted: d})
	})
	if err != nil && last(report{Error: err.Error() + stderr(), Code: code(err)}) == nil {
		return true, err
	}
	return false, err
}

// keepStderr keeps the messages of fusermount3 for the error of this daemon. fusermount3 must not get the parent's
// standard error: with auto_unmount it lives as long as the mount (rule 2).
func keepStderr() (text func() string) {
	f, err := os.CreateTemp("", "varve-stderr-")
	if err != nil {
		return func() string { return "" }
	}
	os.Remove(f.Name())
	os.Stderr = f
	return func() string {
		p, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil || len(p) == 0 {
			return ""
		}
		return ": " + strings.TrimSpace(string(p))
	}
}
