package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// isImage reports whether a file is an image with a superblock, if a damaged one, and not an overlay.
func isImage(spec volume.Spec, path string) bool {
	const least = disk.SuperblockOffset + disk.SuperblockSize
	if st, err := os.Stat(path); err != nil || st.Mode().IsRegular() && st.Size() < least {
		return false
	}
	spec.Image = path
	v, _, err := volume.OpenSuperblock(spec)
	if err != nil {
		return errors.Is(err, ondisk.ErrCorrupt) && !errors.Is(err, disk.ErrMagic)
	}
	v.Close()
	return true
}

// diffImages prints in which paths two images differ, from the first to the second.
func diffImages(ctx context.Context, out io.Writer, spec volume.Spec, other string, asJSON bool) error {
	before, err := openVolume(spec, spec.Image)
	if err != nil {
		return err
	}
	defer before.Close()
	after, err := openVolume(spec, other)
	if err != nil {
		return err
	}
	defer after.Close()
	found, end := changeLines(out, true)
	if asJSON {
		l, err := output.BeginList(out, "changes", output.Field{Name: "image", Value: spec.Image},
			output.Field{Name: "other_image", Value: other})
		if err != nil {
			return err
		}
		found, end = func(c change) error { return l.Add(c) }, l.End
	}
	c := &twoFS{ctx: ctx}
	d := &differ{visit: found, replaced: func(_, _ *ext4.Inode) bool { return false }, compare: c.compare}
	return errors.Join(d.run(before.FS, after.FS), errors.Join(c.failures...), ctx.Err(), end())
}

// twoFS compares two file systems by what their files are, whatever their inodes.
type twoFS struct {
	ctx      context.Context
	failures []error // the first of what could not be compared
	p, q     [64 << 10]byte
}

func (c *twoFS) failed(at *diffName, err error) {
	if len(c.failures) < maxFailures {
		c.failures = append(c.failures, fmt.Errorf("%s: %w", output.Quote(at.String()), err))
	}
}

// compare names in what two files of one type differ.
func (c *twoFS) compare(at *diffName, m, n *ext4.Inode) (kind string, what []string) {
	contents, err := c.contents(m, n)
	if err != nil {
		c.failed(at, err)
	}
	if contents != "" {
		kind, what = "changed", []string{contents}
	}
	what = append(what, attributesOf(m, n)...)
	same, err := sameXattrs(m, n)
	if err != nil {
		c.failed(at, err)
	} else if !same {
		what = append(what, "xattrs")
	}
	if !m.Mtime.Equal(n.Mtime) {
		what = append(what, "mtime")
	}
	if kind == "" && len(what) > 0 {
		kind = "attributes"
	}
	return kind, what
}

// contents names what of the contents differs, or nothing.
func (c *twoFS) contents(m, n *ext4.Inode) (string, error) {
	switch {
	case m.IsRegular() && m.Size != n.Size:
		return "contents", nil
	case m.IsRegular():
		same, err := c.sameBytes(m, n)
		if err != nil || same {
			return "", err
		}
		return "contents", nil
	case m.IsSymlink():
		a, err := m.Readlink()
		b, err2 := n.Readlink()
		if err = errors.Join(err, err2); err != nil || a == b {
			return "", err
		}
		return "target", nil
	case m.IsDevice():
		major, minor := m.Device()
		if x, y := n.Device(); x != major || y != minor {
			return "device", nil
		}
	}
	return "", nil
}

// sameBytes compares two files of one size. What is a hole in both is passed over.
func (c *twoFS) sameBytes(m, n *ext4.Inode) (bool, error) {
	p, q := c.p[:], c.q[:]
	for at, size := int64(0), int64(m.Size); at < size; {
		if err := c.ctx.Err(); err != nil {
			return false, err
		}
		next, err := nextData(at, m, n)
		if err != nil || next >= size {
			return err == nil, err
		}
		at = next
		k := int(min(int64(len(p)), size-at))
		_, err = m.ReadAt(p[:k], at)
		_, err2 := n.ReadAt(q[:k], at)
		if err = errors.Join(wholeRead(err), wholeRead(err2)); err != nil {
			return false, err
		}
		if !bytes.Equal(p[:k], q[:k]) {
			return false, nil
		}
		at += int64(k)
	}
	return true, nil
}

// wholeRead is an error of reading up to a file's end.
func wholeRead(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// nextData is the first offset from one on at which a file has data.
func nextData(at int64, files ...*ext4.Inode) (int64, error) {
	first := int64(1<<63 - 1)
	for _, n := range files {
		next, err := n.SeekData(at)
		if errors.Is(err, ext4.ErrNoData) {
			continue
		}
		if err != nil {
			return 0, err
		}
		first = min(first, next)
	}
	return first, nil
}

// sameXattrs compares the extended attributes.
func sameXattrs(m, n *ext4.Inode) (bool, error) {
	a, err := xattrsOf(m)
	b, err2 := xattrsOf(n)
	return slices.Equal(a, b), errors.Join(err, err2)
}

// xattrsOf are names and values, sorted.
func xattrsOf(n *ext4.Inode) ([]string, error) {
	attrs, err := n.Xattrs()
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range attrs {
		value, err := attrs[i].Value()
		if err != nil {
			return nil, err
		}
		out = append(out, attrs[i].Name+"\x00"+string(value))
	}
	slices.Sort(out)
	return out, nil
}
