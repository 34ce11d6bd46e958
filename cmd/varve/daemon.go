package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyEnv names the descriptor by which a daemon tells the command that started it how it went.
const readyEnv = "_VARVE_READY_FD"

// report is what a daemon tells: that it has to wait, a mount, or an error and its exit code.
type report struct {
	Notice  string   `json:"notice,omitempty"`
	Mounted *mounted `json:"mounted,omitempty"`
	Error   string   `json:"error,omitempty"`
	Code    int      `json:"code,omitempty"`
}

// readyPipe is the pipe to the starting command, in a daemon; otherwise nil.
func readyPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	if err != nil {
		return nil
	}
	os.Unsetenv(readyEnv)
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}

// startDaemon runs this command line again in a session of its own, and returns when that process serves its mount or
// has failed.
func startDaemon() (*mounted, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	told, err := hear(r)
	if err != nil {
		state := cmd.Wait()
		return nil, codedError{fmt.Errorf("the daemon ended before it mounted: %v", state), exitInternal}
	}
	if told.Mounted == nil {
		_ = cmd.Wait()
		return nil, codedError{fmt.Errorf("%s", told.Error), told.Code}
	}
	// A question of our own shows that the mount answers.
	if _, err := os.Stat(told.Mounted.Dir); err != nil {
		return nil, mountError{errors.Join(err, detach(told.Mounted.Dir))}
	}
	return told.Mounted, nil
}

// hear passes on what a daemon tells until it mounts or has failed.
func hear(r io.Reader) (told report, err error) {
	for d := json.NewDecoder(r); err == nil && told.Mounted == nil && told.Error == ""; {
		told = report{}
		if err = d.Decode(&told); told.Notice != "" {
			fmt.Fprintf(&human{w: os.Stderr}, "varve: %s\n", told.Notice)
		}
	}
	return told, err
}

// keepStderr has what fusermount3 says kept for the error message. It must not get the starting command's own standard
// error: with auto_unmount it lives as long as the mount, and whoever reads that would wait for it.
func keepStderr() (said func() string) {
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

// errTold is the error of a daemon whose own words its starter prints.
var errTold = errors.New("told to the starting command")

// daemon serves a mount in the background, and tells the starting command when it does.
func (m *mountCommand) daemon(o mountOptions, dir string, ready *os.File) error {
	out := json.NewEncoder(ready)
	tell := func(r report) error {
		defer ready.Close()
		return out.Encode(r)
	}
	o.write.Notice = func(text string) { _ = out.Encode(report{Notice: text}) }
	said := keepStderr()
	err := endLives(m.serve(o, dir, daemonLog(), func(d *mounted) error {
		if err := os.Chdir("/"); err != nil { // keep no other mount busy
			return err
		}
		return tell(report{Mounted: d})
	}))
	if err != nil {
		if tell(report{Error: err.Error() + said(), Code: exitCode(err)}) == nil {
			return codedError{errTold, exitCode(err)}
		}
	}
	return err
}

// mountInfo is one line of /proc/self/mountinfo.
type mountInfo struct {
	dev    uint64
	dir    string
	fstype string
	owner  uint32 // user_id of a FUSE mount
}

// findMount finds the mount that lies on a directory, the topmost one if there are several. It asks the kernel's table
// only, so it works on dead mounts.
func findMount(dir string) (*mountInfo, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found *mountInfo
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || unescapeMount(f[4]) != dir {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(f[2], "%d:%d", &major, &minor); err != nil {
			continue
		}
		found = &mountInfo{dev: unix.Mkdev(major, minor), dir: dir}
		for i := 6; i+3 < len(f)+1; i++ {
			if f[i] == "-" && i+3 < len(f) {
				found.fstype = f[i+1]
				for _, o := range strings.Split(f[i+3], ",") {
					if id, ok := strings.CutPrefix(o, "user_id="); ok {
						n, _ := strconv.ParseUint(id, 10, 32)
						found.owner = uint32(n)
					}
				}
				break
			}
		}
	}
	return found, nil
}

// unescapeMount undoes the octal escapes of /proc/self/mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
