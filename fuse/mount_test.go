package fuse

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
)

// TestOptions_Protocol: which options and capabilities the kernel is asked for.
func TestOptions_Protocol(t *testing.T) {
	const kill = gofuse.CAP_HANDLE_KILLPRIV_V2
	for name, c := range map[string]struct {
		o         Options
		readonly  bool
		with, not uint64
		options   string
	}{
		"read-only":       {Options{}, true, gofuse.CAP_NO_OPENDIR_SUPPORT, kill, "default_permissions"},
		"read-write":      {Options{}, false, kill, gofuse.CAP_WRITEBACK_CACHE, "default_permissions"},
		"writeback cache": {Options{Writeback: true}, false, kill | gofuse.CAP_WRITEBACK_CACHE, 0, "default_permissions"},
		"writeback cache of a mount that only reads": {Options{Writeback: true}, true, 0, gofuse.CAP_WRITEBACK_CACHE,
			"default_permissions"},
		"flags": {Options{Flags: MountFlags{true, true, true}}, false, 0, 0, "default_permissions suid dev noexec"},
	} {
		mo := c.o.protocol(c.readonly)
		if got := uint64(mo.ExtraCapabilities); got&c.with != c.with || got&c.not != 0 {
			t.Errorf("%s: capabilities %#x; expected %#x, and not %#x", name, got, c.with, c.not)
		}
		refusesWrites := mo.DirectMountFlags&unix.MS_RDONLY != 0 || slices.Contains(mo.Options, "ro")
		got := strings.Join(slices.DeleteFunc(slices.Clone(mo.Options), func(o string) bool { return o == "ro" }), " ")
		if got != c.options || refusesWrites != c.readonly || mo.MaxWrite != maxRead || !mo.EnableAcl {
			t.Errorf("%s: %q, read-only %v: %+v", name, got, refusesWrites, mo)
		}
	}
}

// TestOptions_Helper: fusermount3 gets a source whose commas do not end it, and no empty one.
func TestOptions_Helper(t *testing.T) {
	got := strings.Join(Options{Source: `a,b\c`, AllowOther: true}.helperOptions(), " ")
	if want := `subtype=varve max_read=524288 fsname=a\,b\\c allow_other`; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
	if got := (Options{}).helperOptions(); len(got) != 2 {
		t.Errorf("without options: %q", got)
	}
}

// TestExplain: an error of mounting has the place, and advice where there is some; it stays the same error.
func TestExplain(t *testing.T) {
	for cause, advice := range map[error]string{
		syscall.ENODEV: "modprobe fuse", syscall.EPERM: "SYS_ADMIN", syscall.EACCES: "fusermount3", syscall.EBUSY: "busy",
	} {
		err := explain(fmt.Errorf("mounting: %w", cause), "/place")
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "/place") || !strings.Contains(err.Error(), advice) {
			t.Errorf("%v: %v", cause, err)
		}
	}
}

// TestStatFs_Kernel: the counts of a mount that only reads are those of the kernel's ext4.
func TestStatFs_Kernel(t *testing.T) {
	oracle.NeedRoot(t)
	for _, mkfs := range [][]string{
		{"-t", "ext4"}, {"-t", "ext3", "-b", "1024"}, {"-t", "ext4", "-m", "20", "-N", "300"},
	} {
		image := oracle.NewImage(t, 24<<20, mkfs...)
		kernel, unmount := oracle.MountKernel(t, image, "ro")
		var want unix.Statfs_t
		if err := unix.Statfs(kernel, &want); err != nil {
			t.Fatal(err)
		}
		unmount()
		p, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		base, err := ext4.Open(blockcache.Memory(p), ext4.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w := newWire(t, newFront(base, blockcache.Memory(p), nil, nil), Options{}, true)
		got := decode[gofuse.StatfsOut](t, w.must(wireStatFs, uint64(1)))
		if int64(got.Bsize) != want.Bsize || got.Blocks != want.Blocks || got.Bfree != want.Bfree ||
			got.Bavail != want.Bavail || got.Files != want.Files || got.Ffree != want.Ffree ||
			int64(got.NameLen) != want.Namelen || int64(got.Frsize) != want.Frsize {
			t.Errorf("%v: %+v, and the kernel has %+v", mkfs, got, want)
		}
	}
}

// mounter mounts an image at a directory, read-only, with Options: args are all three. It says when it is ready, and
// unmounts when its input ends.
func mounter(args []string) error {
	image, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	base, err := ext4.Open(blockcache.Memory(image), ext4.Options{})
	if err != nil {
		return err
	}
	var o Options
	if err := json.Unmarshal([]byte(args[2]), &o); err != nil {
		return err
	}
	m, err := New(base, blockcache.Memory(image), nil, args[1], o)
	if err != nil {
		return err
	}
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		if err := m.Unmount(); err != nil {
			fmt.Println("unmount:", err)
		}
	}()
	fmt.Println("ready", m.Source())
	m.Serve()
	fmt.Println("gone")
	return nil
}

// mountRow is the row of the kernel's table of mounts for a directory; empty where nothing is mounted there.
func mountRow(t *testing.T, dir string) string {
	t.Helper()
	p, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(p)) {
		if f := strings.Fields(row); len(f) > 4 && f[4] == dir {
			return row
		}
	}
	return ""
}

// TestNew_Options mounts with options, in a process of its own, and looks at what the kernel says of the mount; it is
// gone when the process has unmounted it. With auto_unmount it is gone, too, when the process was killed.
func TestNew_Options(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	image := oracle.NewImage(t, 8<<20)
	for name, c := range map[string]struct {
		o         Options
		kill      bool
		with, not []string
	}{
		"defaults": {Options{Source: "an image"}, false, []string{"ro", "nosuid", "nodev"}, []string{"noexec"}},
		"flags": {Options{Flags: MountFlags{true, true, true}}, false, []string{"noexec"},
			[]string{"nosuid", "nodev"}},
		"allow_other":  {Options{AllowOther: true}, false, []string{"allow_other"}, nil},
		"auto_unmount": {Options{AutoUnmount: true, Source: "a,b"}, false, []string{"ro"}, []string{"noexec"}},
		"killed":       {Options{AutoUnmount: true}, true, []string{"ro"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			o, err := json.Marshal(c.o)
			if err != nil {
				t.Fatal(err)
			}
			p := play(t, "mounter", image, dir, string(o))
			p.expect("ready " + c.o.Source)
			row := mountRow(t, dir)
			f := strings.FieldsFunc(row, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' })
			for _, word := range c.with {
				if !slices.Contains(f, word) {
					t.Errorf("no %s in %s", word, row)
				}
			}
			for _, word := range c.not {
				if slices.Contains(f, word) {
					t.Errorf("%s in %s", word, row)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a lookup: %v", err)
			}
			if c.kill {
				_ = p.cmd.Process.Kill()
			} else {
				p.in.Close()
				p.expect("gone")
			}
			_ = p.cmd.Wait()
			for end := time.Now().Add(time.Minute); mountRow(t, dir) != ""; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the mount is left: %s", mountRow(t, dir))
				}
			}
		})
	}
}

// TestNew_Refused: a place that is none, and syncfs of a mount that only reads, are errors, and nothing is mounted.
func TestNew_Refused(t *testing.T) {
	oracle.NeedFUSE(t)
	image := blockcache.Memory(mustRead(t, oracle.NewImage(t, 8<<20)))
	base, err := ext4.Open(image, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := New(base, image, nil, filepath.Join(dir, "none"), Options{}); err == nil {
		t.Error("mounted where there is no directory")
	}
	if _, err := New(base, image, nil, dir, Options{SyncFS: true}); err == nil ||
		!strings.Contains(err.Error(), "syncfs is for read-write mounts") {
		t.Errorf("syncfs: %v", err)
	}
	if row := mountRow(t, dir); row != "" {
		t.Errorf("mounted: %s", row)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
