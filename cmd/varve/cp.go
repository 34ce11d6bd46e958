package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func newCp() *cobra.Command {
	var spec volume.Spec
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cp IMAGE PATH DEST",
		Short: "Copy a file or directory out of an image, without mounting it",
		Long: `Copy PATH and all below it, as cp -a does: with modes, times, hard links, symlinks and holes; as root also
with owners, device nodes and extended attributes; for other users without setuid and setgid of other users' files. If
DEST is a directory the copy goes into it (the contents of / do so, too).
Existing files are not overwritten.`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withInode(spec, args[0], args[1], false, func(n *ext4.Inode) error {
				c := &copier{cmd: cmd, root: os.Geteuid() == 0, links: map[ext4.Ino]string{}}
				err := c.copyTree(n, args[1], args[2])
				if asJSON {
					err = errors.Join(output.WriteJSON(cmd.OutOrStdout(), c.summary()), err)
				}
				return err
			})
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was copied as JSON")
	return cmd
}

// copier copies one tree out of an image.
type copier struct {
	cmd   *cobra.Command
	root  bool
	links map[ext4.Ino]string // where the first name of each file with several was copied to
	dirs  []copiedDir

	files, bytes int64
	skipped      []error
}

// copiedDir is a directory whose times and mode are set when all in it was copied.
type copiedDir struct {
	path string
	n    *ext4.Inode
}

func (c *copier) summary() map[string]any {
	return map[string]any{
		"schema_version": output.SchemaVersion,
		"files":          c.files,
		"directories":    len(c.dirs),
		"bytes":          c.bytes,
		"failed":         len(c.skipped),
	}
}

func (c *copier) copyTree(n *ext4.Inode, path, dest string) error {
	if info, err := os.Stat(dest); err == nil && info.IsDir() && base(path) != "/" {
		dest = filepath.Join(dest, base(path))
	}
	w := walker{
		ctx: c.cmd.Context(),
		visit: func(p *place, n *ext4.Inode) error {
			to := filepath.Join(dest, p.String())
			if err := c.copy(n, to); err != nil {
				if e := c.cmd.Context().Err(); e != nil {
					return e
				}
				if n.IsDir() {
					return fmt.Errorf("%s: %w", to, err) // nothing below it can be copied either
				}
				c.skip(to, err)
			}
			return nil
		},
		fail: func(p *place, err error) { c.skip(p.String(), err) },
	}
	err := w.walk(".", n)
	if err != nil && len(w.failures) == 0 {
		return err
	}
	for i := len(c.dirs) - 1; i >= 0; i-- {
		d := c.dirs[i]
		if err := c.finish(d.path, d.n); err != nil {
			c.skip(d.path, err)
		}
	}
	return errors.Join(c.skipped...)
}

func (c *copier) skip(path string, err error) {
	fmt.Fprintf(c.cmd.ErrOrStderr(), "varve: %s: %v\n", output.Quote(path), err)
	if len(c.skipped) < maxFailures {
		c.skipped = append(c.skipped, err)
	}
}

// copy copies one node.
func (c *copier) copy(n *ext4.Inode, to string) error {
	if n.IsDir() {
		err := os.Mkdir(to, 0o700)
		if info, e := os.Lstat(to); errors.Is(err, os.ErrExist) && e == nil && info.IsDir() {
			err = nil
		}
		if err == nil {
			c.dirs = append(c.dirs, copiedDir{to, n})
		}
		return err
	}
	if first, ok := c.links[n.Ino]; ok {
		return os.Link(first, to)
	}
	var err error
	switch {
	case n.IsRegular():
		err = c.file(n, to)
	case n.IsSymlink():
		var target string
		if target, err = n.Readlink(); err == nil {
			err = os.Symlink(target, to)
		}
	default:
		dev := uint64(0)
		if n.IsDevice() {
			dev = unix.Mkdev(n.Device())
		}
		err = unix.Mknod(to, uint32(n.Mode&disk.ModeType)|0o600, int(dev))
	}
	if err != nil {
		return err
	}
	c.files++
	if n.Links > 1 {
		c.links[n.Ino] = to
	}
	return c.finish(to, n)
}

// file copies a file's contents, and leaves holes where the image has them.
func (c *copier) file(n *ext4.Inode, to string) (err error) {
	if _, err := n.ReadAt(make([]byte, min(n.Size, 1)), 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(int64(n.Size)); err != nil {
		return err
	}
	for at := int64(0); ; {
		start, err := n.SeekData(at)
		if errors.Is(err, ext4.ErrNoData) {
			return nil
		}
		if err != nil {
			return err
		}
		if at, err = n.SeekHole(start); err != nil {
			return err
		}
		if err := c.piece(f, n, start, at); err != nil {
			return err
		}
	}
}

// piece copies the bytes from start up to end.
func (c *copier) piece(f *os.File, n *ext4.Inode, start, end int64) error {
	buf := make([]byte, min(copyChunk, end-start))
	for start < end {
		if err := c.cmd.Context().Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), end-start)]
		if _, err := n.ReadAt(p, start); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := f.WriteAt(p, start); err != nil {
			return err
		}
		start += int64(len(p))
		c.bytes += int64(len(p))
	}
	return nil
}

// finish sets what creating a node did not: owner, attributes, mode and times, in the order in which one does not
// undo the other.
func (c *copier) finish(to string, n *ext4.Inode) error {
	if c.root {
		if err := os.Lchown(to, int(n.UID), int(n.GID)); err != nil {
			return err
		}
		attrs, err := n.Xattrs()
		for i := range attrs {
			var value []byte
			if value, err = attrs[i].Value(); err == nil {
				err = unix.Lsetxattr(to, attrs[i].Name, value, 0)
			}
			if err != nil {
				return fmt.Errorf("attribute %s: %w", attrs[i].Name, err)
			}
		}
		if err != nil {
			return err
		}
	}
	if !n.IsSymlink() {
		if err := unix.Chmod(to, c.mode(n)); err != nil {
			return err
		}
	}
	times := []unix.Timespec{timespec(n.Atime), timespec(n.Mtime)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW)
}

// mode is the mode of a copy. One that does not get the owner and group of its original gets no setuid and setgid
// either, as with cp -a: otherwise a program of another user's in an image would run with the rights of the user who
// copies it.
func (c *copier) mode(n *ext4.Inode) uint32 {
	mode := uint32(n.Mode & 0o7777)
	if !c.root && (int(n.UID) != os.Geteuid() || int(n.GID) != os.Getegid()) {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return mode
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}
