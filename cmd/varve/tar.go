package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/posixacl"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func newTar() *cobra.Command {
	var spec volume.Spec
	var file string
	cmd := &cobra.Command{
		Use:   "tar IMAGE [PATH]",
		Short: "Write a directory of an image as a tar archive, without mounting it",
		Long: `Write a file, or a directory and all below it, as a tar archive (pax format: nanosecond times, extended
attributes and ACLs, hard links, device nodes; sockets are left out). Names are relative to PATH.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Image = args[0]
			return withInode(spec, args[0], pathArg(args), true, func(n *ext4.Inode) error {
				name := base(pathArg(args))
				if file == "-" {
					return writeTar(cmd, data(cmd), n, name)
				}
				return tarFile(cmd, spec, file, n, name)
			})
		},
	}
	imageFlags(cmd, &spec)
	cmd.Flags().StringVarP(&file, "output", "o", "-", "write to `FILE`")
	return cmd
}

// tarFile writes an archive to a file, which must be none of those that the image is read from.
func tarFile(cmd *cobra.Command, spec volume.Spec, file string, n *ext4.Inode, name string) (err error) {
	if err := spec.Spare(file); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return writeTar(cmd, f, n, name)
}

// writeTar archives n; a single file is archived by its name, a directory as ".".
func writeTar(cmd *cobra.Command, out io.Writer, n *ext4.Inode, name string) error {
	counted := &countingWriter{w: out}
	t := &tarWriter{cmd: cmd, out: counted, w: tar.NewWriter(counted), links: map[ext4.Ino]*place{}}
	root := "."
	switch {
	case !n.IsDir() && name == "/":
		return ondisk.Corruptf("the root directory", "is none, but a %s", newNode("", n).Type)
	case !n.IsDir():
		root = name
	}
	w := walker{
		ctx:   cmd.Context(),
		visit: t.add,
		fail:  func(p *place, err error) { fmt.Fprintf(cmd.ErrOrStderr(), "varve: %s: %v\n", p.quoted(), err) },
	}
	err := w.walk(root, n)
	if err != nil && len(w.failures) == 0 {
		return err // the archive itself could not be written
	}
	return errors.Join(err, t.w.Close(), errors.Join(t.skipped...))
}

type tarWriter struct {
	cmd   *cobra.Command
	out   *countingWriter // below w
	w     *tar.Writer
	links map[ext4.Ino]*place // the first name of each file with several

	skipped []error
}

func (t *tarWriter) add(at *place, n *ext4.Inode) error {
	h := &tar.Header{
		Name: at.String(), Mode: int64(n.Mode & 0o7777), Uid: int(n.UID), Gid: int(n.GID), ModTime: n.Mtime,
		AccessTime: n.Atime, ChangeTime: n.Ctime, Format: tar.FormatPAX, PAXRecords: map[string]string{},
	}
	if n.IsDir() {
		h.Name = strings.TrimSuffix(h.Name, "/") + "/"
	}
	if first, ok := t.links[n.Ino]; ok && !n.IsDir() {
		h.Typeflag, h.Linkname = tar.TypeLink, first.String()
		_, err := t.header(at, h)
		return err
	}
	switch n.Mode & disk.ModeType {
	case disk.ModeRegular:
		h.Typeflag, h.Size = tar.TypeReg, int64(n.Size)
	case disk.ModeDir:
		h.Typeflag = tar.TypeDir
	case disk.ModeSymlink:
		target, err := n.Readlink()
		if err != nil {
			return t.skip(at, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case disk.ModeChar:
		h.Typeflag = tar.TypeChar
	case disk.ModeBlock:
		h.Typeflag = tar.TypeBlock
	case disk.ModeFIFO:
		h.Typeflag = tar.TypeFifo
	case disk.ModeSocket:
		fmt.Fprintf(t.cmd.ErrOrStderr(), "varve: %s: a socket, which no archive can hold\n", at.quoted())
		return nil
	}
	if n.IsDevice() {
		major, minor := n.Device()
		h.Devmajor, h.Devminor = int64(major), int64(minor)
	}
	attrs, err := n.Xattrs()
	for i := range attrs {
		var value []byte
		if value, err = attrs[i].Value(); err != nil {
			break
		}
		if record, ok := posixacl.Records[attrs[i].Name]; ok {
			h.PAXRecords[record], err = posixacl.Text(value)
		} else {
			h.PAXRecords["SCHILY.xattr."+attrs[i].Name] = string(value)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return t.skip(at, err)
	}
	if n.Links > 1 && !n.IsDir() {
		t.links[n.Ino] = at
	}
	if n.IsRegular() {
		return t.contents(at, h, n)
	}
	if ok, err := t.header(at, h); !ok {
		delete(t.links, n.Ino)
		return err
	}
	return nil
}

// contents archives a file. Unreadable parts are filled with zeros, because the header has promised the size; such
// files are reported.
func (t *tarWriter) contents(at *place, h *tar.Header, n *ext4.Inode) error {
	// The first piece is read before the header is written: a file that cannot be read at all is left out.
	if _, err := n.ReadAt(make([]byte, min(n.Size, 1)), 0); err != nil && !errors.Is(err, io.EOF) {
		delete(t.links, n.Ino)
		return t.skip(at, err)
	}
	if ok, err := t.header(at, h); !ok {
		delete(t.links, n.Ino)
		return err
	}
	counted := &countingWriter{w: t.w}
	err := copyContents(t.cmd, counted, n)
	if err == nil || counted.failed {
		return err
	}
	if e := t.cmd.Context().Err(); e != nil {
		return e
	}
	if _, e := io.CopyN(t.w, zeroReader{}, h.Size-counted.n); e != nil {
		return e
	}
	return t.skip(at, fmt.Errorf("zeros from byte %d on: %w", counted.n, err))
}

// skip reports a file that is not, or not wholly, in the archive.
func (t *tarWriter) skip(at *place, err error) error {
	fmt.Fprintf(t.cmd.ErrOrStderr(), "varve: %s: %v\n", at.quoted(), err)
	if len(t.skipped) < maxFailures {
		t.skipped = append(t.skipped, err)
	}
	return nil
}

// header writes a header. One that no archive can hold, such as a path of more than a megabyte, is skipped: then ok is
// false without an error.
func (t *tarWriter) header(at *place, h *tar.Header) (ok bool, err error) {
	err = t.w.WriteHeader(h)
	if err != nil && !t.out.failed {
		return false, t.skip(at, err)
	}
	return err == nil, err
}

// countingWriter counts what was written, and remembers whether writing failed.
type countingWriter struct {
	w      io.Writer
	n      int64
	failed bool
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.failed = c.failed || err != nil
	return n, err
}

// zeroReader is an endless file of zeros.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
