//go:build testhooks

package apps

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/mutant"
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

// powerCuts runs the application once, and cuts the power at so many instants of the trace. It returns what was lost.
func (c *cell) powerCuts(t *testing.T, cuts int) (lost []error) {
	t.Helper()
	c.fresh(t)
	dir := t.TempDir()
	c.mount(t, c.image, c.store, dir, append(c.env, blockcache.DiskTraceEnv+"="+c.trace)...)
	var acks []ack
	err := c.drive(dir, func(a ack) { acks = append(acks, a) })
	oracle.MustRun(t, program(t), "umount", dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(acks) != c.app.count+1 {
		t.Fatalf("%d of %d transactions were acknowledged", len(acks), c.app.count+1)
	}
	raw, err := os.ReadFile(c.trace)
	if err != nil {
		t.Fatal(err)
	}
	events, err := blockcache.ReadDiskTrace(raw)
	if err != nil {
		t.Fatal(err)
	}
	first := 0
	for first < len(events) && events[first].End <= acks[0].at {
		first++
	}
	if len(events)-first < c.app.count {
		t.Fatalf("the trace has %d events after the first acknowledgement of %d", len(events)-first, len(acks))
	}
	for range cuts {
		k := first + c.rng.IntN(len(events)-first)
		due := 0
		for _, a := range acks {
			if a.at <= events[k].End {
				due = a.transaction
			}
		}
		fate := []string{"nothing that is not flushed", "all that was written", "a torn subset"}[c.rng.IntN(3)]
		if err := c.judge(t, c.blank, c.state(t, events[:k+1], fate), due); err != nil {
			lost = append(lost, fmt.Errorf("%s, %s, cut after event %d of %d (%s), %d acknowledged: %w", c.app.name, c.mode.name,
				k, len(events), fate, due, err))
		}
	}
	return lost
}

// state writes what the device may hold after a power cut, and returns the file.
func (c *cell) state(t *testing.T, events []blockcache.TracedEvent, fate string) string {
	t.Helper()
	covered := make([]bool, len(events))
	for i, f := range events {
		if f.Flush() {
			for j := range i {
				covered[j] = covered[j] || !events[j].Flush() && f.Covers(events[j].Event)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "store")
	if c.mode.overlay {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		oracle.MustRun(t, "cp", "--sparse=always", c.blank, path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, e := range events {
		if e.Flush() {
			continue
		}
		all := covered[i] || fate == "all that was written"
		if !all && fate == "nothing that is not flushed" {
			continue
		}
		for at := 0; at < len(e.Data); {
			n := min(len(e.Data)-at, blockcache.Sector-int((e.Offset+int64(at))%blockcache.Sector))
			if all || c.rng.IntN(2) == 0 {
				if _, err := f.WriteAt(e.Data[at:at+n], e.Offset+int64(at)); err != nil {
					t.Fatal(err)
				}
			}
			at += n
		}
	}
	return path
}

// kills runs the application so often, and ends the daemon at some moment. It returns what was lost.
func (c *cell) kills(t *testing.T, rounds int) (lost []error) {
	t.Helper()
	for range rounds {
		c.fresh(t)
		dir := t.TempDir()
		pid := c.mount(t, c.image, c.store, dir, c.env...)
		var once sync.Once
		kill := func() { once.Do(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) }
		at, delay := c.rng.IntN(c.app.count), time.Duration(c.rng.IntN(20))*time.Millisecond
		due := 0
		err := c.drive(dir, func(a ack) {
			if due = a.transaction; due == at {
				time.AfterFunc(delay, kill)
			}
		})
		kill()
		oracle.MustRun(t, program(t), "umount", "--lazy", dir)
		if due < at {
			t.Fatalf("the driver ended before it was killed: %v", err)
		}
		if err := c.judge(t, c.image, c.store, due); err != nil {
			lost = append(lost, fmt.Errorf("%s, %s, daemon killed %v after transaction %d, %d acknowledged: %w", c.app.name,
				c.mode.name, delay, at, due, err))
		}
	}
	return lost
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

// program builds varve with the test hooks, once.
var build struct {
	once sync.Once
	dir  string
	err  error
}

func program(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "varve-apps-"); build.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-tags", "testhooks", "-o", build.dir+"/varve",
			"../../cmd/varve").CombinedOutput()
		if err != nil {
			build.err = errors.New(string(out))
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.dir + "/varve"
}

func run(m *testing.M) int {
	code := m.Run()
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
	return code
}

// number is that of an environment variable, or the default.
func number(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return or
}

// TestApps cuts the power below each application in each mode, and kills the daemon: VARVE_APPS_CUTS and
// VARVE_APPS_KILLS times a cell. Both are set in the long run, which has PostgreSQL, too.
func TestApps(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	cuts, kills := number("VARVE_APPS_CUTS", 1), number("VARVE_APPS_KILLS", 0)
	long := os.Getenv("VARVE_APPS_CUTS") != ""
	seed := uint64(number("VARVE_SEED", int(time.Now().UnixNano())))
	t.Logf("repeat with: VARVE_SEED=%d VARVE_APPS_CUTS=%d VARVE_APPS_KILLS=%d "+
		"go test -tags testhooks -v -run %s ./stress/apps", seed, cuts, kills, t.Name())
	for i, a := range apps {
		if a.long && !long {
			continue
		}
		oracle.Need(t, a.needs...)
		for j, m := range modes {
			if !long && i%len(modes) != j { // each application once, each mode at least once
				continue
			}
			t.Run(a.name+"/"+m.name, func(t *testing.T) {
				c := newCell(t, a, m, seed+uint64(i*len(modes)+j))
				lost, dead := c.powerCuts(t, cuts), c.kills(t, kills)
				fmt.Printf("| %s | %s | %d | %d | %d | %d |\n", a.name, m.name, cuts, len(lost), kills, len(dead))
				if err := errors.Join(append(lost, dead...)...); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestApps_Mutants: a daemon that says "durable" too early is noticed, by power cuts and by kills.
func TestApps_Mutants(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	c := newCell(t, apps[0], modes[0], 1)
	c.env = []string{"VARVE_MUTANT=" + string(mutant.W1)}
	if lost := c.powerCuts(t, 4); len(lost) == 0 {
		t.Error("no power cut has lost anything")
	}
	if lost := c.kills(t, 2); len(lost) == 0 {
		t.Error("no kill has lost anything")
	}
}
