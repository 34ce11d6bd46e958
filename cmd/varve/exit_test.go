package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/metrics"
	"github.com/varvefs/varve/ondisk"
)

// TestCLI_ExitCodes are those of docs/cli.md, each with words that say what and what to do.
func TestCLI_ExitCodes(t *testing.T) {
	image, dir := smallImage(t), t.TempDir()
	write := func(name string, contents []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, contents, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	empty := write("empty", nil)
	short := write("short", make([]byte, 1500))
	xfs := write("xfs", append([]byte("XFSB"), make([]byte, 8192)...))
	gz := write("gz", append([]byte("\x1f\x8b"), make([]byte, 8192)...))
	damaged := corrupt(t, image, func(p []byte) { binary.LittleEndian.PutUint32(p[1024+0x18:], 77) })
	unknown := corrupt(t, smallImage(t, "-O", "^metadata_csum"), func(p []byte) { p[1024+0x61] |= 0x08 })
	compressed := corrupt(t, smallImage(t, "-O", "^metadata_csum"), func(p []byte) { p[1024+0x60] |= 0x01 })
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{}, exitOK, ""},
		{[]string{"nonsense"}, exitUsage, "unknown command"},
		{[]string{"ls"}, exitUsage, "usage"},
		{[]string{"ls", "--nonsense", image}, exitUsage, "nonsense"},
		{[]string{"mount", image, dir, "-o", "nonsense=1"}, exitUsage, `"nonsense=1"`},

		{[]string{"mount", image, dir, "-o", "cache=many"}, exitUsage, "size"},
		{[]string{"mount", image, dir, "-o", "max_background=0"}, exitUsage, "1 to 65535"},
		{[]string{"mount", image, filepath.Join(dir, "missing")}, exitMount, "no such file"},
		{[]string{"mount", image, empty}, exitMount, "not a directory"},
		{[]string{"mount", xfs, dir}, exitMount, "XFS"},
		{[]string{"umount", dir}, exitMount, "is not mounted"},
		{[]string{"umount", "/proc"}, exitMount, "type proc"},
		{[]string{"ls", filepath.Join(dir, "missing")}, exitSystem, "no such file"},
		{[]string{"ls", dir}, exitSystem, "is a directory"},
		{[]string{"ls", "/dev/null"}, exitSystem, "character device"},
		{[]string{"ls", empty}, exitSystem, "is empty"},
		{[]string{"ls", short}, exitDamaged, "ends before"},
		{[]string{"ls", xfs}, exitDamaged, "XFS"},
		{[]string{"ls", gz}, exitDamaged, "gzip"},
		{[]string{"ls", damaged}, exitDamaged, "block size"},
		{[]string{"info", unknown}, exitOK, ""},
		{[]string{"ls", unknown}, exitUnsupported, "FEATURE_I11"},
		{[]string{"ls", compressed}, exitUnsupported, "compression"},
		{[]string{"mount", compressed, dir}, exitMount, "compression"},
		{[]string{"cat", image, "/missing"}, exitNotFound, "does not exist"},
		{[]string{"cat", image, "/hello/below"}, exitNotFound, "not a directory"},
		{[]string{"cat", image, "/dir"}, exitUsage, "is a directory"},
		{[]string{"ls", "--offset", "99999999999", image}, exitSystem, "not within the image"},
		{[]string{"ls", "--part", "1", image}, exitSystem, "partition table"},
	} {
		run := command
		if len(c.args) > 0 && c.args[0] == "mount" {
			run = varve // it starts a daemon
		}
		r := run(t, c.args...)
		if r.Code != c.code || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("varve %s: exit code %d, %q; expected %d, and %q in it", strings.Join(c.args, " "), r.Code,
				r.Stderr, c.code, c.says)
		}
		if c.code != exitOK && r.Stdout != "" {
			t.Errorf("varve %s fails, but prints %q on standard output", strings.Join(c.args, " "), r.Stdout)
		}
	}
	if r := must(t, "info", unknown); !strings.Contains(r.Stdout, "FEATURE_I11") ||
		!strings.Contains(r.Stdout, "cannot read it") {
		t.Errorf("info of an unsupported image prints %s", r.Stdout)
	}
}

// TestExitCode maps each family of errors, wrapped as they come.
func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, exitOK}, {errors.New("any"), exitSystem}, {usageError{errors.New("x")}, exitUsage},
		{errors.New(`unknown command "x" for "varve"`), exitUsage}, {&daemon.MountError{Err: ext4.ErrNotExist}, exitMount},
		{&daemon.Failure{Text: "x", Code: exitDamaged}, exitDamaged}, {daemon.ErrNoReport, exitInternal},
		{&metrics.AddressError{Err: errors.New("x")}, exitUsage}, {errLost, exitLost}, {context.Canceled, exitInterrupted},
		{ondisk.Corruptf("inode 7", "x"), exitDamaged}, {ext4.ErrNoKey, exitNoKey}, {ext4.ErrNotExist, exitNotFound},
		{ext4.ErrNotDir, exitNotFound}, {ext4.ErrLoop, exitNotFound}, {codedError{ext4.ErrNoKey, 77}, 77},
	} {
		err := c.err
		if err != nil && c.code != exitUsage {
			err = fmt.Errorf("outer: %w", err)
		}
		if got := exitCode(err); got != c.code {
			t.Errorf("%v: %d, expected %d", c.err, got, c.code)
		}
	}
}

// TestRun_Panic: a bug ends with its own exit code and a trace, not with a crash.
func TestRun_Panic(t *testing.T) {
	var stderr bytes.Buffer
	if code := run([]string{"varve", "version"}, panicking{}, &stderr); code != exitInternal ||
		!strings.Contains(stderr.String(), "a bug: on purpose") {
		t.Errorf("%d, %s", code, stderr.String())
	}
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("on purpose") }
