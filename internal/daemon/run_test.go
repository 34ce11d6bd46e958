package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
	"github.com/varvefs/varve/internal/volume"
)

// daemonEnv has the testDaemon that this test binary is to be instead of running tests.
const daemonEnv = "VARVE_TEST_DAEMON"

// testDaemon is a mount that a process of its own serves.
type testDaemon struct {
	Image, Dir, Overlay string
	Writable            bool
}

// daemonFailed is the exit code that such a process reports.
const daemonFailed = 33

func TestMain(m *testing.M) {
	text := os.Getenv(daemonEnv)
	if text == "" {
		program.Main(m)
		return
	}
	os.Unsetenv(daemonEnv)
	var d testDaemon
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), Signals()...)
	defer stop()
	c := d.config()
	reported, err := c.Run(ctx, d.Dir, ReadyPipe(), func(error) int { return daemonFailed })
	if err != nil && !reported {
		panic(err)
	}
	os.Exit(0)
}

func (d testDaemon) config() Config {
	return Config{Spec: volume.Spec{Image: d.Image}, Fuse: fuse.Options{Source: d.Image}, Writable: d.Writable,
		Overlay: d.Overlay, InForce: "as tested"}
}

// command is the process that serves.
func (d testDaemon) command(t *testing.T) *exec.Cmd {
	t.Helper()
	p, err := json.Marshal(d)
	fatal(t, err)
	self, err := os.Executable()
	fatal(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), daemonEnv+"="+string(p))
	return cmd
}

// newDaemon is a daemon of a fresh image with the file "hello", and not started.
func newDaemon(t *testing.T) testDaemon {
	t.Helper()
	oracle.NeedFUSE(t)
	source := t.TempDir()
	fatal(t, os.WriteFile(filepath.Join(source, "hello"), []byte("hello, world\n"), 0o644))
	d := testDaemon{Image: oracle.NewImage(t, 16<<20, "-L", "tested", "-d", source), Dir: t.TempDir()}
	t.Cleanup(func() { _ = Detach(d.Dir) })
	return d
}

// mount starts the daemon, and returns what unmounts and waits for its process.
func (d testDaemon) mount(t *testing.T) (*Mounted, func()) {
	t.Helper()
	cmd := d.command(t)
	m, err := start(t.Context(), cmd, func(text string) { t.Logf("notice: %s", text) })
	fatal(t, err)
	if m.Pid != cmd.Process.Pid || m.Dir != d.Dir || m.Image != d.Image || m.Type != "ext4" || m.Label != "tested" ||
		m.Options != "as tested" || m.Writable != d.Writable {
		t.Errorf("%+v of %+v", m, d)
	}
	return m, func() {
		t.Helper()
		fatal(t, Unmount(d.Dir, false, time.Minute))
		fatal(t, cmd.Wait())
	}
}

// TestRun_ReadOnly: the mount is there when the parent returns, refuses changes, and the image is as it was.
func TestRun_ReadOnly(t *testing.T) {
	d := newDaemon(t)
	before := oracle.HashFile(t, d.Image)
	_, unmount := d.mount(t)
	if p, err := os.ReadFile(filepath.Join(d.Dir, "hello")); string(p) != "hello, world\n" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	if err := os.Remove(filepath.Join(d.Dir, "hello")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a removal: %v", err)
	}
	unmount()
	if _, err := os.Stat(filepath.Join(d.Dir, "hello")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the unmount: %v", err)
	}
	if oracle.HashFile(t, d.Image) != before {
		t.Error("the image has changed")
	}
}

// TestRun_Writable: what was written is in the image when Unmount returns, or in the overlay and not in the image.
func TestRun_Writable(t *testing.T) {
	for _, overlay := range []string{"", filepath.Join(t.TempDir(), "overlay")} {
		d := newDaemon(t)
		d.Writable, d.Overlay = true, overlay
		before := oracle.HashFile(t, d.Image)
		_, unmount := d.mount(t)
		fatal(t, os.WriteFile(filepath.Join(d.Dir, "new"), []byte("written"), 0o644))
		unmount()
		oracle.Clean(t, d.Image)
		if same := oracle.HashFile(t, d.Image) == before; same != (overlay != "") {
			t.Errorf("overlay %q: the image is as before: %v", overlay, same)
		}
		d.Writable = overlay != ""
		_, unmount = d.mount(t)
		if p, err := os.ReadFile(filepath.Join(d.Dir, "new")); string(p) != "written" || err != nil {
			t.Errorf("overlay %q, mounted again: %q, %v", overlay, p, err)
		}
		unmount()
	}
}

// TestRun_Fails: the parent gets the daemon's error and exit code, and nothing is mounted.
func TestRun_Fails(t *testing.T) {
	d := newDaemon(t)
	fatal(t, os.WriteFile(d.Image, make([]byte, 1<<20), 0o600))
	for _, d.Writable = range []bool{false, true} {
		cmd := d.command(t)
		_, err := start(t.Context(), cmd, func(string) {})
		if f := (*Failure)(nil); !errors.As(err, &f) || f.Code != daemonFailed ||
			!strings.Contains(f.Text, "not an ext2, ext3 or ext4 file system") {
			t.Errorf("writable %v: %v", d.Writable, err)
		}
		if left, err := os.ReadDir(d.Dir); len(left) != 0 || err != nil {
			t.Errorf("%v, %v", left, err)
		}
	}
}

// TestStart_Itself: Start runs this program again, which mounts; the end of the context before the parent returns
// leaves no mount.
func TestStart_Itself(t *testing.T) {
	d := newDaemon(t)
	p, err := json.Marshal(d)
	fatal(t, err)
	t.Setenv(daemonEnv, string(p))
	m, err := Start(t.Context(), func(string) {})
	fatal(t, err)
	if m.Pid == os.Getpid() {
		t.Error("this process serves the mount itself")
	}
	fatal(t, Unmount(d.Dir, false, time.Minute))
	ended, end := context.WithCancel(t.Context())
	end()
	if m, err := Start(ended, func(string) {}); err == nil {
		t.Errorf("an interrupted parent has a mount: %+v", m)
	}
	if err := Unmount(d.Dir, false, time.Second); err == nil {
		t.Error("a mount was left behind")
	}
}

// TestServe_NoMount: Serve returns an error, and mounts nothing, where the image is missing or damaged, the context has
// ended, or the place is none.
func TestServe_NoMount(t *testing.T) {
	d := newDaemon(t)
	ended, end := context.WithCancel(t.Context())
	end()
	logger := log.New(io.Discard, "", 0)
	ready := func(*Mounted) error { t.Error("a mount is ready"); return nil }
	for _, d.Writable = range []bool{false, true} {
		if err := d.config().Serve(ended, d.Dir, logger, ready); !errors.Is(err, context.Canceled) {
			t.Errorf("writable %v, an ended context: %v", d.Writable, err)
		}
		missing := d
		missing.Image += "-missing"
		if err := missing.config().Serve(t.Context(), d.Dir, logger, ready); !errors.Is(err, fs.ErrNotExist) ||
			!errors.As(err, new(*MountError)) {
			t.Errorf("writable %v, no image: %v", d.Writable, err)
		}
		if err := d.config().Serve(t.Context(), d.Dir+"/none", logger, ready); !errors.As(err, new(*MountError)) {
			t.Errorf("writable %v, no place: %v", d.Writable, err)
		}
		oracle.Clean(t, d.Image)
	}
}
