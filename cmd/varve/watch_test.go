package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// watching starts varve watch, and returns when it watches.
func watching(t *testing.T, args ...string) (cmd *exec.Cmd, next func() (string, bool)) {
	t.Helper()
	return following(t, "watching", append([]string{"watch"}, args...)...)
}

// following starts the program, and returns when it says that it has begun. next gives its lines, and false at its end.
func following(t *testing.T, begun string, args ...string) (cmd *exec.Cmd, next func() (string, bool)) {
	t.Helper()
	cmd = exec.Command(program.Path(t), args...)
	out, err := cmd.StdoutPipe()
	fatal(t, err)
	says, err := cmd.StderrPipe()
	fatal(t, err)
	fatal(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(says).ReadString('\n'); err != nil || !strings.HasPrefix(line, begun+" ") {
		t.Fatalf("varve %s says %q, %v", args[0], line, err)
	}
	lines := bufio.NewScanner(out)
	return cmd, func() (string, bool) { ok := lines.Scan(); return lines.Text(), ok }
}

// TestWatch: operations are printed as they happen, with paths and commits, and the filters choose among them. The
// watcher ends with the mount.
func TestWatch(t *testing.T) {
	dir, unmount := mountImage(t, rwImage(t, "32M"), "--rw")
	fatal(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	whole, next := watching(t, dir)
	_, nextJSON := watching(t, dir, "--json", "--under", "/a/b/renamed", "--count", "3")
	_, nextFailed := watching(t, dir, "--failed", "--operation", "mkdir,rmdir", "--count", "1")
	for _, c := range [][]string{
		{"sh", "-c", "echo text >a/b/file"},
		{"mv", "a/b/file", "a/b/renamed"}, {"chmod", "600", "a/b/renamed"}, {"rmdir", "a"},
		{"cat", "a/b/renamed"}, {"rm", "a/b/renamed"},
	} {
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); (err != nil) != (c[0] == "rmdir") {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	for _, want := range []string{"create  /a/b/file  ok", "write  /a/b/file, 5 bytes at 0  ok",
		"rename  /a/b/file to /a/b/renamed  ok",
		"chmod  /a/b/renamed  ok", "rmdir  /a  ENOTEMPTY", "unlink  /a/b/renamed  ok"} {
		line, ok := next()
		if !ok || !strings.Contains(line, want) || strings.Contains(want, "ok") != strings.Contains(line, "  commit ") {
			t.Errorf("printed %q, want %q", line, want)
		}
	}
	for _, want := range []string{"rename", "chmod", "unlink"} {
		line, ok := nextJSON()
		var r evidence.Record
		if err := json.Unmarshal([]byte(line), &r); !ok || err != nil || r.Operation == nil || r.Name != want {
			t.Errorf("JSON %q, %v: want %s", line, err, want)
		}
	}
	if line, ok := nextJSON(); ok {
		t.Errorf("after three operations: %q", line)
	}
	if line, _ := nextFailed(); !strings.Contains(line, "rmdir  /a  ENOTEMPTY") {
		t.Errorf("failed: %q", line)
	}
	unmount()
	if line, ok := next(); ok {
		t.Errorf("after the last operation: %q", line)
	}
	if err := whole.Wait(); err != nil {
		t.Errorf("the watcher: %v", err)
	}
}

// TestWatch_Slow: a mount does not wait for a watcher that reads nothing, and the watcher learns what it lost.
func TestWatch_Slow(t *testing.T) {
	dir, _ := mountImage(t, rwImage(t, "32M"), "--rw")
	cmd, next := watching(t, dir, "--operation", "mkdir", "--count", "1")
	fatal(t, cmd.Process.Signal(syscall.SIGSTOP))
	oracle.MustRun(t, "dd", "if=/dev/zero", "of="+filepath.Join(dir, "file"), "bs=1", "count=12000")
	fatal(t, cmd.Process.Signal(syscall.SIGCONT))
	fatal(t, os.Mkdir(filepath.Join(dir, "last"), 0o755))
	lost := false
	for line, ok := next(); ok; line, ok = next() {
		lost = lost || strings.Contains(line, "records were lost")
	}
	if !lost {
		t.Error("no line says that records were lost")
	}
}

// TestWatch_Refused: what cannot be watched is named.
func TestWatch_Refused(t *testing.T) {
	dir, _ := mountImage(t, rwImage(t, "16M"))
	for of, want := range map[string]string{dir: "read-only", t.TempDir(): "mount"} {
		if r := varve(t, "watch", of); r.Code == 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%d: %s", r.Code, r.Stderr)
		}
	}
}

// TestWatch_HostileNames: names of files, attributes and programs cannot look like other lines.
func TestWatch_HostileNames(t *testing.T) {
	var b strings.Builder
	o := &evidence.Operation{Name: "rename", Thread: 7, Inode: 2, Entry: "a\nb", To: 3, ToPath: "/c\x1b[2J",
		Attribute: "user.x\ny"}
	fatal(t, printOperation(&b, &evidence.Record{Operation: o}, "ev\nil"))
	b.WriteString(storyText(&evidence.Story{Came: evidence.Party{Operation: o}, Met: evidence.Party{Operation: o}}))
	if text := b.String(); strings.Contains(text, "a\nb") || strings.Contains(text, "\x1b") ||
		strings.Contains(text, "x\ny") || strings.Contains(text, "ev\nil") || !strings.Contains(text, `"a\nb"`) {
		t.Errorf("%q", text)
	}
}
