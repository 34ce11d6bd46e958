package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/program"
)

// terminal is a program on a terminal of its own.
type terminal struct {
	t        *testing.T
	cmd      *exec.Cmd
	keys     *os.File
	tty      *os.File
	before   unix.Termios
	finished chan error

	mu  sync.Mutex
	out strings.Builder // guarded by mu
}

// onTerminal starts the program on a terminal of 80x24.
func onTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	master, tty, err := pty.Open()
	fatal(t, err)
	t.Cleanup(func() { master.Close(); tty.Close() })
	fatal(t, pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 80}))
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	fatal(t, err)
	cmd := exec.Command(program.Path(t), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{"TERM=xterm-256color", "LANG=C.UTF-8", "HOME=" + cmd.Dir, "PATH=" + os.Getenv("PATH"),
		"TMPDIR=" + os.TempDir(), "XDG_RUNTIME_DIR=" + os.Getenv("XDG_RUNTIME_DIR")}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	fatal(t, cmd.Start())
	term := &terminal{t: t, cmd: cmd, keys: master, tty: tty, before: *before, finished: make(chan error, 1)}
	go term.read()
	go func() { term.finished <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return term
}

func (x *terminal) read() {
	p := make([]byte, 4096)
	for {
		n, err := x.keys.Read(p)
		x.mu.Lock()
		x.out.Write(p[:n])
		x.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (x *terminal) written() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out.String()
}

// styles are escape sequences that style text.
var styles = regexp.MustCompile("\x1b\\[[0-9;:]*m")

// press presses a key, and waits until all the texts were written after it.
func (x *terminal) press(key string, want ...string) {
	x.t.Helper()
	from := len(x.written())
	if key != "" {
		_, err := io.WriteString(x.keys, key)
		fatal(x.t, err)
	} else {
		from = 0
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, w := range want {
		for !strings.Contains(styles.ReplaceAllString(x.written()[from:], ""), w) {
			if time.Now().After(deadline) {
				written := x.written()[from:]
				x.t.Fatalf("after key %q there is no %q:\n%.4000q", key, w, written)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// ends waits for the end of the program, with an exit code and the terminal as it was.
func (x *terminal) ends(code int) {
	x.t.Helper()
	select {
	case err := <-x.finished:
		if got := x.cmd.ProcessState.ExitCode(); got != code {
			x.t.Errorf("varve top: %v, expected exit code %d\n%q", err, code, x.written())
		}
	case <-time.After(20 * time.Second):
		x.t.Fatalf("varve top does not end:\n%q", x.written())
	}
	x.press("", "\x1b[?1049l", "\x1b[?25h") // the other screen, the cursor
	after, err := unix.IoctlGetTermios(int(x.tty.Fd()), unix.TCGETS)
	fatal(x.t, err)
	if *after != x.before {
		x.t.Errorf("the terminal was %+v, and is %+v", x.before, *after)
	}
	written := x.written()
	if strings.LastIndex(written, "\x1b[?1049h") > strings.LastIndex(written, "\x1b[?1049l") ||
		strings.LastIndex(written, "\x1b[?25l") > strings.LastIndex(written, "\x1b[?25h") {
		x.t.Errorf("the screen was not left: %q", written)
	}
}

// freeAddress is an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	defer l.Close()
	return l.Addr().String()
}

// colours are escape sequences that choose one.
var colours = regexp.MustCompile("\x1b\\[(?:[0-9]+[;:])*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;:0-9]*m")

// TestTop_Terminal: on a real terminal keys lead to the pages of a mount, f freezes a sample, q ends; the terminal is
// as it was. NO_COLOR leaves colours out.
func TestTop_Terminal(t *testing.T) {
	dir, _ := mountImage(t, rwImage(t, "32M"), "--rw")
	fatal(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644))
	for _, env := range [][]string{nil, {"NO_COLOR=1"}} {
		x := onTerminal(t, env, "top", dir)
		x.press("", "[1 rates]", "operations/s", "create", "q quit")
		x.press("2", "[2 durability]", "back-pressure")
		x.press("3", "[3 hot blocks]", "No conflicts")
		x.press("4", "[4 policy]", "Expected loss")
		x.press("\t", "[1 rates]", "create")
		x.press("?", "shift+tab")
		x.press("f", "frozen: ./varve-top-")
		if files, err := filepath.Glob(filepath.Join(x.cmd.Dir, "varve-top-*.json")); err != nil || len(files) != 1 {
			t.Errorf("frozen samples: %v, %v", files, err)
		}
		x.press("q")
		x.ends(exitOK)
		if got := colours.FindString(x.written()); (got != "") != (env == nil) {
			t.Errorf("with %v there is the colour %q", env, got)
		}
	}
}

// TestTop_MountEnds: the pages and the lines of a mount end with it, and say so.
func TestTop_MountEnds(t *testing.T) {
	dir, unmount := mountImage(t, rwImage(t, "16M"), "--rw")
	x := onTerminal(t, nil, "top", dir)
	x.press("", "[1 rates]")
	cmd := exec.Command(program.Path(t), "top", "--interval", "20ms", dir)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	lines, err := cmd.StdoutPipe()
	fatal(t, err)
	fatal(t, cmd.Start())
	if _, err := lines.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	unmount()
	x.ends(exitOK)
	want := "varve: the mount on " + dir + " has ended"
	x.press("", want)
	_, _ = io.Copy(io.Discard, lines)
	if err := cmd.Wait(); err != nil || !strings.Contains(errOut.String(), want) {
		t.Errorf("the lines end with %v, %q", err, errOut.String())
	}
}

// TestTop_Signal: a signal ends the pages, and the terminal is as it was.
func TestTop_Signal(t *testing.T) {
	dir, _ := mountImage(t, rwImage(t, "16M"), "--rw")
	signals := []os.Signal{syscall.SIGTERM}
	if signal.Ignored(syscall.SIGHUP) {
		t.Log("SKIP: SIGHUP, which nohup(1) has ignored here, and so in varve top")
	} else {
		signals = append(signals, syscall.SIGHUP)
	}
	for _, s := range signals {
		x := onTerminal(t, nil, "top", dir)
		x.press("", "[1 rates]")
		fatal(t, x.cmd.Process.Signal(s))
		x.ends(exitOK)
	}
}

// TestTop_DaemonDies: a mount whose daemon was killed does not end, and does not answer.
func TestTop_DaemonDies(t *testing.T) {
	dir, _ := mountImage(t, rwImage(t, "16M"), "--rw")
	x := onTerminal(t, nil, "top", dir)
	x.press("", "[1 rates]")
	for _, daemon := range program.DaemonsOf(t, dir) {
		pid, err := strconv.Atoi(filepath.Base(daemon))
		fatal(t, err)
		fatal(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	x.ends(exitSystem)
	x.press("", "its daemon does not answer")
	if r := varve(t, "stats", dir); r.Code != exitSystem || !strings.Contains(r.Stderr, "its daemon does not answer") {
		t.Errorf("varve stats: %+v", r)
	}
}

// TestTop_Run: a stress run is shown by the address of its metrics, until it ends.
func TestTop_Run(t *testing.T) {
	address := freeAddress(t)
	run := exec.Command(program.Path(t), "stress", "--workload", "hot", "--policy", "merge", "--writers", "4",
		"--duration", "2s", "--metrics", address)
	fatal(t, run.Start())
	t.Cleanup(func() { _ = run.Process.Kill(); _ = run.Wait() })
	waitFor(t, func() bool { return strings.Contains(get(t, "http://"+address+"/stats"), "commits") })
	r := must(t, "top", "--interval", "50ms", address)
	if !strings.Contains(r.Stderr, "the run at "+address+" has ended") {
		t.Errorf("the run's end: %q", r.Stderr)
	}
	committed := false
	for line := range strings.Lines(r.Stdout) {
		f := strings.Fields(line)
		n, err := strconv.ParseFloat(f[1], 64)
		committed = committed || err == nil && n > 0
	}
	if !committed {
		t.Errorf("no line has commits:\n%s", r.Stdout)
	}
}

// TestTop_Lines: where the output is no terminal there are lines, of a mount and of what serves metrics; --once gives
// one.
func TestTop_Lines(t *testing.T) {
	address := freeAddress(t)
	dir, _ := mountImage(t, rwImage(t, "16M"), "--rw", "--metrics", address)
	for _, c := range []struct {
		args  []string
		lines int
		first string
	}{
		{[]string{"top", "--once", dir}, 2, "0"},
		{[]string{"top", "--once", "--interval", "10ms", address}, 2, "-"},
		{[]string{"top", "--count", "3", "--interval", "10ms", dir}, 4, "0"},
	} {
		out := must(t, c.args...).Stdout
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(lines) != c.lines || !strings.HasPrefix(strings.TrimSpace(lines[0]), "ops  commit") ||
			len(strings.Fields(lines[1])) != 11 || strings.Fields(lines[1])[10] != "none" || strings.Contains(out, "\x1b") {
			t.Errorf("%v prints\n%s", c.args, out)
		}
	}
}

// TestTop_Refused: what cannot be shown is an error that names it, as that of varve stats.
func TestTop_Refused(t *testing.T) {
	dir, _ := mountImage(t, rwImage(t, "16M"))
	address := freeAddress(t)
	checkCommands(t, []commandCase{
		{[]string{"top", "--once", dir}, exitSystem, "", "is a read-only mount"},
		{[]string{"top", t.TempDir()}, exitSystem, "", "is no mount of varve's"},
		{[]string{"top", address}, exitSystem, "", address + " does not answer"},
		{[]string{"top", "--interval", "0s", dir}, exitUsage, "", "--interval must be positive"},
		{[]string{"top", "--count", "-1", dir}, exitUsage, "", "--count must not be negative"},
		{[]string{"top", "--once", "--count", "2", dir}, exitUsage, "", "exclude each other"},
		{[]string{"top"}, exitUsage, "", "usage: varve top DIR|ADDRESS"},
	})
}
