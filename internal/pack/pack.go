// Package pack makes an image with a file system out of a folder or a tar archive, without root and without a mount.
//
// mkfs.ext4 makes the empty file system, and ext4.Writable fills it. It is filled without a journal, so that nothing is
// written twice; a crash leaves no image, as that gets its name when it is whole. The journal is made last.
package pack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/importer"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Options say what an image is made of, and how.
type Options struct {
	Out    string
	Source string   // a folder, or an archive, which may be compressed; "-" for an archive from standard input
	Size   int64    // of the image in bytes; 0: what the contents need
	Mkfs   []string // further arguments of mkfs.ext4
	Label  string
	UUID   string
	Force  bool    // replace an image that exists
	UID    *uint32 // the owner of all, in place of the source's
	GID    *uint32

	// The image's bytes depend on the source, these options, and the versions of varve and mkfs.ext4 alone: not on the
	// clock, which says Epoch or else the source's newest time, nor on random numbers or times of access.
	Reproducible bool
	Epoch        time.Time // of reproducible images: newer times become this one; zero: none does

	Skipped  func(name string)      // called for each socket
	Progress func(done, all uint64) // bytes of contents
}

// Result is what was made.
type Result struct {
	Files, Directories int64
	Bytes              int64 // of contents, without holes
	Size               int64 // of the image in bytes
	UUID               string
}

// Run makes an image.
func Run(ctx context.Context, o Options) (r Result, err error) {
	if info, err := os.Lstat(o.Out); err == nil && !o.Force {
		return r, fmt.Errorf("%s: %w: name another file, or replace it with --force", o.Out, os.ErrExist)
	} else if err == nil && !info.Mode().IsRegular() {
		return r, fmt.Errorf("%s: %w, and no file: a file alone is replaced", o.Out, os.ErrExist)
	}
	once, err := readOnce(o.Source)
	if err != nil {
		return r, err
	}
	if once && (o.Size == 0 || o.Reproducible) {
		return r, errors.New("standard input and pipes are read once: a size is needed, " +
			"and the image cannot be reproducible")
	}
	p := &packer{Options: o, ctx: ctx}
	if !once {
		if err := p.each(p.need.add); err != nil {
			return r, err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(o.Out), ".varve-pack-*")
	if err != nil {
		return r, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	p.image = f.Name()
	if err := p.make(); err != nil {
		return r, err
	}
	r, err = p.fill()
	if err == nil {
		err = p.addJournal()
	}
	if err == nil {
		err = finish(f, o.Out)
	}
	if p.super != nil {
		r.Size, r.UUID = p.size, disk.FormatUUID(p.super.UUID)
	}
	return r, err
}

// readOnce reports that a source has its contents only once.
func readOnce(source string) (bool, error) {
	if source == "-" {
		return true, nil
	}
	info, err := os.Stat(source)
	if err != nil {
		return false, err
	}
	return info.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) != 0, nil
}

// finish gives the whole image its permissions and its name.
func finish(f *os.File, name string) error {
	mask := unix.Umask(0)
	unix.Umask(mask)
	if err := f.Chmod(os.FileMode(0o666 &^ mask)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// packer makes one image.
type packer struct {
	Options
	ctx     context.Context
	need    need
	image   string
	size    int64
	super   *disk.Superblock // of the empty file system, with its journal
	journal bool             // it is made in the end
}

// each calls fn for each entry of the source, in its order.
func (p *packer) each(fn func(context.Context, importer.Entry) error) error {
	take := func(ctx context.Context, e importer.Entry) error { return fn(ctx, p.settled(e)) }
	if p.Source == "-" {
		return importer.EachTar(p.ctx, importer.Interruptible(p.ctx, os.Stdin), take)
	}
	info, err := os.Stat(p.Source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return importer.EachFile(p.ctx, p.Source, "", p.Skipped, take)
	}
	f, err := importer.Open(p.ctx, p.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	return importer.EachTar(p.ctx, importer.Interruptible(p.ctx, f), take)
}

// settled is an entry with what a reproducible image has.
func (p *packer) settled(e importer.Entry) importer.Entry {
	if p.UID != nil {
		e.UID = *p.UID
	}
	if p.GID != nil {
		e.GID = *p.GID
	}
	if p.Reproducible {
		if !p.Epoch.IsZero() && e.Mtime.After(p.Epoch) {
			e.Mtime = p.Epoch
		}
		e.Atime = e.Mtime
	}
	return e
}

// now is the clock of a reproducible image.
func (p *packer) now() time.Time {
	switch {
	case !p.Epoch.IsZero():
		return p.Epoch
	case p.need.newest.Unix() > 0:
		return p.need.newest
	}
	return time.Unix(1, 0)
}

// memory bounds what waits to be written, in bytes. A flush ends each share of it, and none is needed here before the
// last.
const memory = 512 << 20

// fill copies the source into the empty file system.
func (p *packer) fill() (Result, error) {
	options := volume.WriteOptions{Memory: memory, Commit: time.Hour}
	if p.Reproducible {
		options.Now = p.now
		next := uint32(0)
		options.Generation = func() uint32 { next++; return next }
	}
	w, err := volume.OpenWritable(volume.Spec{Image: p.image}, options)
	if err != nil {
		return Result{}, err
	}
	progress := func(done int64) {
		if p.Progress != nil {
			p.Progress(uint64(done), p.need.bytes)
		}
	}
	im := importer.New(w.Writable, ext4.Root, importer.Options{Progress: progress})
	if err = p.each(im.Add); err == nil {
		err = im.Finish(p.ctx)
	}
	err = errors.Join(err, w.Close())
	if errors.Is(err, ext4.ErrNoSpace) {
		err = fmt.Errorf("%w in %d bytes: give the image a larger size", err, p.size)
	}
	return Result{Files: im.Files, Directories: im.Directories, Bytes: im.Bytes}, err
}

// run runs a program of e2fsprogs.
func (p *packer) run(name string, args ...string) error {
	cmd := exec.CommandContext(p.ctx, lookPath(name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if p.Reproducible {
		cmd.Env = append(cmd.Env, fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", p.now().Unix()))
	}
	out, err := cmd.CombinedOutput()
	if p.ctx.Err() != nil {
		return p.ctx.Err() // which has killed it
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is needed, of e2fsprogs: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lookPath finds a program where only root may have it in the path.
func lookPath(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/sbin", "/usr/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name
}
