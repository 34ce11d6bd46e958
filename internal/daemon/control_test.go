package daemon

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// openTemp is a folder for temporary files that all users may use, as /tmp.
func openTemp(t *testing.T) string {
	t.Helper()
	program.Path(t) // is not built into this folder
	dir := t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777 | os.ModeSticky} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", dir)
	t.Setenv("XDG_RUNTIME_DIR", "")
	return dir
}

// impostor answers on a socket, as a daemon would.
func impostor(t *testing.T, path string) error { return answerer(t, path, Stats{Image: "forged"}) }

// answerer gives an answer on a socket.
func answerer(t *testing.T, path string, answer any) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = json.NewEncoder(c).Encode(answer)
			c.Close()
		}
	}()
	return nil
}

// forgeries are the ways in which a stranger can get a socket of theirs to where root's daemon of a mount would have
// one.
var forgeries = []struct {
	name, says string
	prepare    func(t *testing.T, dir, socket string)
}{
	{"the stranger's folder", "belongs to user 65534", func(t *testing.T, dir, socket string) {
		program.AsUser(t, program.Stranger,
			func() error { return errors.Join(unix.Mkdir(dir, 0o700), impostor(t, socket)) })
	}},
	{"a link to the stranger's folder", "not a directory", func(t *testing.T, dir, socket string) {
		program.AsUser(t, program.Stranger, func() error {
			return errors.Join(unix.Mkdir(dir+"-elsewhere", 0o700), os.Symlink(dir+"-elsewhere", dir),
				impostor(t, socket))
		})
	}},
	{"a folder that is open to all", "mode 0777", func(t *testing.T, dir, socket string) {
		fatal(t, os.Mkdir(dir, 0o777))
		fatal(t, os.Chmod(dir, 0o777))
		program.AsUser(t, program.Stranger, func() error { return impostor(t, socket) })
	}},
	{"a folder that was open to all", "user 65534 answers", func(t *testing.T, dir, socket string) {
		fatal(t, os.Mkdir(dir, 0o777))
		fatal(t, os.Chmod(dir, 0o777))
		program.AsUser(t, program.Stranger, func() error { return impostor(t, socket) })
		fatal(t, os.Chmod(dir, 0o700))
	}},
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noDevice is a device number that no mount has.
var noDevice = unix.Mkdev(4000, 1)

// TestControl_Forged: varve stats believes the user who mounted and root only.
func TestControl_Forged(t *testing.T) {
	for _, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			dir := filepath.Join(openTemp(t), "varve-0")
			f.prepare(t, dir, filepath.Join(dir, controlName(noDevice)))
			m, err := ask(noDevice, 0)
			if err == nil || !strings.Contains(err.Error(), f.says) {
				t.Errorf("%+v, %v; expected an error that says %q", m, err, f.says)
			}
		})
	}
}

// TestControl_Prepared: a daemon takes no folder that another user has prepared, or may write to; then varve stats says
// so.
func TestControl_Prepared(t *testing.T) {
	oracle.NeedFUSE(t)
	temp := openTemp(t)
	t.Setenv("XDG_RUNTIME_DIR", temp)
	program.AsUser(t, program.Stranger, func() error { return unix.Mkdir(filepath.Join(temp, "varve"), 0o777) })
	dir, _ := program.Mount(t, program.Image(t, "16M"), "--rw")
	if left, err := os.ReadDir(filepath.Join(temp, "varve")); err != nil || len(left) != 0 {
		t.Errorf("the stranger's folder has %v, %v", left, err)
	}
	if out := program.MustRun(t, "stats", dir).Stdout; !strings.Contains(out,
		"policy merge") { // by the next best place
		t.Errorf("stats: %s", out)
	}
}

// TestControl_LongName: where the folder for temporary files has a name that is longer than a socket's address may be,
// varve stats works, too.
func TestControl_LongName(t *testing.T) {
	long := filepath.Join(openTemp(t), strings.Repeat("long", 50))
	fatal(t, os.Mkdir(long, 0o700))
	t.Setenv("XDG_RUNTIME_DIR", long)
	d, err := makePrivate()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.path != filepath.Join(long, "varve") {
		t.Errorf("the sockets are in %s", d.path)
	}
	fatal(t, impostor(t, d.at(controlName(noDevice))))
	if m, err := ask(noDevice, os.Getuid()); err != nil || m.Image != "forged" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestControl_OtherVersion: of an answer whose fields have other types, those that are known are returned with the
// error.
func TestControl_OtherVersion(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", openTemp(t))
	d, err := makePrivate()
	fatal(t, err)
	defer d.Close()
	fatal(t, answerer(t, d.at(controlName(noDevice)), map[string]any{"schema_version": 2, "image": "new.img",
		"store": map[string]any{"commits": "many", "aborts": 3}, "operations": 7}))
	m, err := ask(noDevice, os.Getuid())
	if !errors.Is(err, ErrOtherVersion) || m == nil || m.Image != "new.img" || m.Store.Aborts != 3 {
		t.Errorf("%+v, %v", m, err)
	}
}
