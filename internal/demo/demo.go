// Package demo shows varve on an image of known contents: it mounts the image and verifies every byte, writes to it,
// kills the mount, and recovers.
package demo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/volume"
)

// Demo is one run.
type Demo struct {
	Program string    // varve
	Dir     string    // a folder for the image, its source and the mount point
	Out     io.Writer // the report

	files, dirs, links int
	bytes              int64
}

func (d *Demo) path(name string) string { return filepath.Join(d.Dir, name) }

// say prints a step with the time that it took.
func (d *Demo) say(since time.Time, format string, args ...any) {
	_, _ = fmt.Fprintf(d.Out, "%8.1f ms  %s\n", float64(time.Since(since).Microseconds())/1000,
		fmt.Sprintf(format, args...))
}

// Run runs the demo. Without /dev/fuse it reads the image by the library alone, and reports what it left out.
func (d *Demo) Run() error {
	began := time.Now()
	if err := d.makeImage(); err != nil {
		return err
	}
	before, err := hashOf(d.path("image"))
	if err != nil {
		return err
	}
	if err := os.Mkdir(d.path("mnt"), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		_, _ = fmt.Fprintf(d.Out, "SKIP the mount: %v\n", err)
	} else if err := d.mountAndVerify(); err != nil {
		return err
	}
	if err := d.withoutMount(); err != nil {
		return err
	}
	start := time.Now()
	after, err := hashOf(d.path("image"))
	if err != nil {
		return err
	}
	if !bytes.Equal(after, before) {
		return fmt.Errorf("the image changed: SHA-256 %x, before %x", after, before)
	}
	d.say(start, "the image is as it was: SHA-256 %x...", after[:8])
	if _, err := os.Stat("/dev/fuse"); err == nil {
		if err := d.writeAndKill(); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(d.Out,
		"done in %.1f s: %d files with %d bytes in %d directories, every byte as it was written\n",
		time.Since(began).Seconds(), d.files, d.bytes, d.dirs)
	return nil
}

// makeImage fills a folder with files of known contents, and has mkfs.ext4 put it into an image.
func (d *Demo) makeImage() error {
	start := time.Now()
	r := rand.New(rand.NewPCG(2026, 1))
	for i := range 40 {
		sub := filepath.Join(d.path("source"), fmt.Sprintf("year-%d", i/10), fmt.Sprintf("layer-%d", i))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		for j := range 50 {
			p := make([]byte, r.IntN(30000))
			for k := range p {
				p[k] = byte(r.Uint32())
			}
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("sample-%d", j)), p, 0o644); err != nil {
				return err
			}
		}
		if err := os.Symlink("sample-0", filepath.Join(sub, "first")); err != nil {
			return err
		}
	}
	d.say(start, "wrote 2,000 files into a folder")
	start = time.Now()
	f, err := os.Create(d.path("image"))
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(256<<20), f.Close()); err != nil {
		return err
	}
	mkfs := exec.Command("mkfs.ext4", "-q", "-F", "-L", "demo", "-d", d.path("source"), d.path("image"))
	mkfs.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin")
	if out, err := mkfs.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4 (of Debian's package e2fsprogs): %w\n%s", err, out)
	}
	d.say(start, "mkfs.ext4 -d made an image of 256 MiB with them")
	return nil
}

// mountAndVerify mounts the image in a process of its own, compares the tree with the folder, and unmounts.
func (d *Demo) mountAndVerify() (err error) {
	start := time.Now()
	if out, err := exec.Command(d.Program, "mount", d.path("image"), d.path("mnt")).CombinedOutput(); err != nil {
		return &daemon.MountError{Err: fmt.Errorf("%w: %s", err, out)}
	}
	d.say(start, "varve mount: it answers")
	mounted := true
	unmount := func() error {
		if !mounted {
			return nil
		}
		mounted = false
		out, err := exec.Command(d.Program, "umount", d.path("mnt")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("varve umount: %w: %s", err, out)
		}
		return nil
	}
	defer func() { err = errors.Join(err, unmount()) }()
	start = time.Now()
	if err := d.compareTrees(); err != nil {
		return err
	}
	d.say(start, "walked it: %d files, %d directories, %d symlinks; all %d bytes are right", d.files, d.dirs, d.links,
		d.bytes)
	start = time.Now()
	if err := os.WriteFile(filepath.Join(d.path("mnt"), "new"), nil, 0o644); err == nil {
		return errors.New("the mount let a file be written")
	}
	d.say(start, "a write is refused: the mount is read-only")
	start = time.Now()
	if err := unmount(); err != nil {
		return err
	}
	d.say(start, "varve umount: the daemon is gone")
	return nil
}

// compareTrees compares the mount with the folder that the image was made from.
func (d *Demo) compareTrees() error {
	seen := 0
	err := filepath.WalkDir(d.path("mnt"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(d.path("mnt"), path)
		if err != nil || rel == "lost+found" {
			return err
		}
		seen++
		return d.compare(e, path, filepath.Join(d.path("source"), rel))
	})
	if err != nil {
		return err
	}
	want := 0
	err = filepath.WalkDir(d.path("source"), func(_ string, _ fs.DirEntry, err error) error {
		want++
		return err
	})
	if err == nil && want != seen {
		err = fmt.Errorf("the mount shows %d names, the folder has %d", seen, want)
	}
	return err
}

func (d *Demo) compare(e fs.DirEntry, got, want string) error {
	switch {
	case e.IsDir():
		d.dirs++
		return nil
	case e.Type()&fs.ModeSymlink != 0:
		d.links++
		a, errA := os.Readlink(got)
		b, errB := os.Readlink(want)
		if err := errors.Join(errA, errB); err != nil || a != b {
			return fmt.Errorf("%s leads to %q, expected %q (%v)", got, a, b, err)
		}
		return nil
	}
	d.files++
	a, errA := os.ReadFile(got)
	b, errB := os.ReadFile(want)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if string(a) != string(b) {
		return fmt.Errorf("%s differs from what was written", got)
	}
	d.bytes += int64(len(a))
	return nil
}

// withoutMount reads one file through the library.
func (d *Demo) withoutMount() error {
	start := time.Now()
	v, err := volume.Open(volume.Spec{Image: d.path("image")})
	if err != nil {
		return err
	}
	defer v.Close()
	name := "year-3/layer-39/first"
	got, err := v.IOFS().ReadFile(name)
	if err != nil {
		return err
	}
	want, err := os.ReadFile(filepath.Join(d.path("source"), name))
	if err != nil {
		return err
	}
	if string(got) != string(want) {
		return fmt.Errorf("%s differs from what was written", name)
	}
	d.say(start, "read %s without a mount, as varve cat does: %d bytes", name, len(got))
	return nil
}

func hashOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
