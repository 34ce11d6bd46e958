//go:build testhooks

package apps

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// mode is how an image is mounted.
type mode struct {
	name    string
	args    []string
	overlay bool
}

var modes = []mode{
	{"ordered", []string{"--rw"}, false},
	{"journal", []string{"--rw", "-o", "data=journal"}, false},
	{"writeback", []string{"--rw", "-o", "writeback_cache"}, false},
	{"overlay", nil, true},
}

// ack is a transaction that was acknowledged, and how long the trace was when that was heard.
type ack struct {
	transaction int
	at          int64
}

// cell is one application in one mode.
type cell struct {
	app  app
	mode mode
	rng  *rand.Rand

	blank        string // a new file system, which is copied
	image, store string // store is what the daemon writes to: the image, or an overlay
	trace        string
	env          []string // of the daemon
}

func newCell(t *testing.T, a app, m mode, seed uint64) *cell {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // PostgreSQL has a user of its own
		t.Fatal(err)
	}
	c := &cell{app: a, mode: m, rng: rand.New(rand.NewPCG(seed, 1)), blank: oracle.NewImage(t, a.size<<20),
		image: filepath.Join(dir, "image"), store: filepath.Join(dir, "image"), trace: filepath.Join(dir, "trace")}
	if m.overlay {
		c.store = filepath.Join(dir, "overlay")
	}
	return c
}

// fresh makes the image new.
func (c *cell) fresh(t *testing.T) {
	t.Helper()
	oracle.MustRun(t, "cp", "--sparse=always", c.blank, c.image)
	if c.mode.overlay {
		os.Remove(c.store)
	}
	os.Remove(c.trace)
}

// mount mounts an image, and returns the daemon's process id.
func (c *cell) mount(t *testing.T, image, store, dir string, env ...string) (pid int) {
	t.Helper()
	args := append([]string{"mount", "--json", "-o", "allow_other", image, dir}, c.mode.args...)
	if c.mode.overlay {
		args = append(args, "--overlay", store, "-o", "overlay_adopt")
	}
	cmd := exec.Command(program(t), args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("varve %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	_, rest, _ := strings.Cut(string(out), `"pid":`)
	if _, err := fmt.Sscan(strings.TrimSpace(rest), &pid); err != nil {
		t.Fatalf("no pid in %s", out)
	}
	return pid
}

// drive runs the driver until it ends. stop, if set, is called with each acknowledgement.
func (c *cell) drive(dir string, heard func(ack)) error {
	cmd := c.app.driver(dir, c.app.count)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		var a ack
		if _, err := fmt.Sscanf(s.Text(), "ack %d", &a.transaction); err != nil {
			continue
		}
		if info, err := os.Stat(c.trace); err == nil {
			a.at = info.Size()
		}
		heard(a)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the driver: %w: %s", err, stderr.String())
	}
	return nil
}

// judge recovers a state, by varve or by the kernel, and has the application look: what was acknowledged is there, and
// e2fsck finds nothing.
func (c *cell) judge(t *testing.T, image, store string, due int) (err error) {
	t.Helper()
	by := "varve"
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w (recovered by %s)", err, by)
		}
	}()
	var dir string
	var unmount func()
	if !c.mode.overlay && c.rng.IntN(2) == 0 {
		by = "the kernel"
		dir, unmount = oracle.MountKernel(t, store, "rw")
	} else {
		if !c.mode.overlay {
			image = store
		}
		dir = t.TempDir()
		c.mount(t, image, store, dir)
		unmount = func() { oracle.MustRun(t, program(t), "umount", dir) }
	}
	last, err := c.app.check(dir)
	unmount()
	switch {
	case err != nil:
		return err
	case last < due:
		return fmt.Errorf("only %d is there", last)
	case c.mode.overlay:
		image = oracle.Copy(t, image)
		if out, err := exec.Command(program(t), "commit", "--adopt", image, store).CombinedOutput(); err != nil {
			return fmt.Errorf("varve commit: %w: %s", err, out)
		}
	default:
		image = store
	}
	if out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput(); err != nil {
		return fmt.Errorf("e2fsck: %w: %s", err, out)
	}
	return nil
}
