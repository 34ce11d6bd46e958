package daemon

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// script is a command that acts as a daemon on the ready pipe, which is its descriptor 3.
func script(text string) *exec.Cmd { return exec.Command("sh", "-c", text) }

// TestStart_Reports: the parent passes notices on, and returns with the mount, or with the daemon's error and exit
// code.
func TestStart_Reports(t *testing.T) {
	dir := t.TempDir()
	var notices []string
	notice := func(text string) { notices = append(notices, text) }
	m, err := start(
		t.Context(),
		script(
			`echo '{"notice":"wait"}{"notice":"still"}' >&3; echo '{"mounted":{"dir":"`+dir+`","pid":7}}' >&3; exec sleep 0`,
		),
		notice,
	)
	if err != nil || m.Dir != dir || m.Pid != 7 || !slices.Equal(notices, []string{"wait", "still"}) {
		t.Errorf("%+v, %v, %q", m, err, notices)
	}
	_, err = start(t.Context(), script(`echo '{"error":"no room","code":11}' >&3`), notice)
	if f := (*Failure)(nil); !errors.As(err, &f) || f.Code != 11 || f.Error() != "no room" {
		t.Errorf("a failure: %v", err)
	}
}

// TestStart_NoReport: a daemon that ends, closes the pipe or writes no JSON has not mounted.
func TestStart_NoReport(t *testing.T) {
	for _, text := range []string{"exit 3", "kill -9 $$", "exec 3>&-", "echo garbage >&3",
		`echo '{"notice":"only"}' >&3`, `printf '{"mounted":' >&3`} {
		if m, err := start(t.Context(), script(text), func(string) {}); !errors.Is(err, ErrNoReport) {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
	if _, err := start(t.Context(), exec.Command(filepath.Join(t.TempDir(), "missing")), nil); !errors.Is(err,
		os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

// TestStart_NoAnswer: a mount that does not answer the parent's own question is an error (rule 1).
func TestStart_NoAnswer(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := start(t.Context(), script(`echo '{"mounted":{"dir":"`+missing+`"}}' >&3`), func(string) {})
	if m := (*MountError)(nil); !errors.As(err, &m) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestReadyPipe is there in a daemon only, once, and no program that the daemon starts inherits it.
func TestReadyPipe(t *testing.T) {
	if p := ReadyPipe(); p != nil {
		t.Fatalf("%v in no daemon", p.Name())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := syscall.Dup(int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Setenv(readyEnv, strconv.Itoa(fd))
	p := ReadyPipe()
	if p == nil || ReadyPipe() != nil {
		t.Fatal("not there, or there twice")
	}
	flags, _, e := syscall.Syscall(syscall.SYS_FCNTL, p.Fd(), syscall.F_GETFD, 0)
	if e != 0 || flags&syscall.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v", flags, e)
	}
	p.Close()
}

// TestKeepStderr keeps what is written to standard error for an error message.
func TestKeepStderr(t *testing.T) {
	saved := os.Stderr
	defer func() { os.Stderr = saved }()
	text := keepStderr()
	if got := text(); got != "" {
		t.Errorf("nothing was written, and %q is kept", got)
	}
	_, _ = os.Stderr.WriteString("fusermount3: no\n")
	if got := text(); got != ": fusermount3: no" || strings.Contains(got, "\n") {
		t.Errorf("%q", got)
	}
	os.Stderr.Close()
}
