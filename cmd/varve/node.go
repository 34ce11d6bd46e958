package main

import (
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// node is how --json describes a file, directory or other node of an image.
type node struct {
	Path       string            `json:"path,omitempty"`
	Name       string            `json:"name"`
	Inode      uint32            `json:"inode"`
	Type       string            `json:"type"`
	Mode       string            `json:"mode"` // octal, permission bits
	UID        uint32            `json:"uid"`
	GID        uint32            `json:"gid"`
	Size       uint64            `json:"size_bytes"`
	Blocks     uint64            `json:"blocks_512"`
	Links      uint16            `json:"links"`
	Atime      time.Time         `json:"atime"`
	Mtime      time.Time         `json:"mtime"`
	Ctime      time.Time         `json:"ctime"`
	Crtime     *time.Time        `json:"crtime,omitempty"`
	Generation uint32            `json:"generation"`
	Flags      string            `json:"flags"` // hexadecimal
	ProjectID  uint32            `json:"project_id"`
	Device     string            `json:"device,omitempty"` // major:minor
	Target     *string           `json:"target,omitempty"`
	Xattrs     map[string][]byte `json:"xattrs,omitempty"` // values in base64
	Children   []*node           `json:"children,omitempty"`
	Error      string            `json:"error,omitempty"`

	err error // that Error is the text of
}

// damaged notes that part of the node cannot be read.
func (d *node) damaged(err error) { d.err, d.Error = err, err.Error() }

// types names the file types as find(1) -printf %y users know them, in words.
var types = map[uint16]string{
	disk.ModeRegular: "file", disk.ModeDir: "directory", disk.ModeSymlink: "symlink", disk.ModeChar: "character device",
	disk.ModeBlock: "block device", disk.ModeFIFO: "fifo", disk.ModeSocket: "socket",
}

// newNode describes an inode by one of its names.
func newNode(name string, n *ext4.Inode) *node {
	d := &node{
		Name: name, Inode: uint32(n.Ino), Type: types[n.Mode&disk.ModeType], Mode: fmt.Sprintf("%04o", n.Mode&0o7777),
		UID: n.UID, GID: n.GID, Size: n.StatSize(), Blocks: n.StatBlocks(), Links: n.Links, Atime: n.Atime.UTC(),
		Mtime: n.Mtime.UTC(), Ctime: n.Ctime.UTC(), Generation: n.Generation, Flags: fmt.Sprintf("0x%x", n.Flags),
		ProjectID: n.ProjectID,
	}
	if !n.Crtime.IsZero() {
		t := n.Crtime.UTC()
		d.Crtime = &t
	}
	if n.IsDevice() {
		major, minor := n.Device()
		d.Device = fmt.Sprintf("%d:%d", major, minor)
	}
	if n.IsSymlink() {
		target, err := n.Readlink()
		if err != nil {
			d.damaged(err)
		} else {
			d.Target = &target
		}
	}
	return d
}

// addXattrs reads the attributes, too.
func (d *node) addXattrs(n *ext4.Inode) {
	attrs, err := n.Xattrs()
	for i := range attrs {
		var value []byte
		if value, err = attrs[i].Value(); err != nil {
			break
		}
		if d.Xattrs == nil {
			d.Xattrs = map[string][]byte{}
		}
		d.Xattrs[attrs[i].Name] = value
	}
	if err != nil {
		d.damaged(err)
	}
}

// line describes the node as ls -l does.
func (d *node) line(n *ext4.Inode) string {
	size := strconv.FormatUint(d.Size, 10)
	if d.Device != "" {
		size = d.Device
	}
	name := output.Quote(d.Name)
	if d.Target != nil {
		name += " -> " + output.Quote(*d.Target)
	}
	return fmt.Sprintf("%s %3d %5d %5d %10s %s %s", modeString(n.Mode), d.Links, d.UID, d.GID, size,
		d.Mtime.Format("2006-01-02 15:04:05"), name)
}

// modeString is the mode as ls(1) prints it.
func modeString(mode uint16) string {
	kinds := map[uint16]byte{disk.ModeRegular: '-', disk.ModeDir: 'd', disk.ModeSymlink: 'l', disk.ModeChar: 'c',
		disk.ModeBlock: 'b', disk.ModeFIFO: 'p', disk.ModeSocket: 's'}
	out := []byte("?rwxrwxrwx")
	if k, ok := kinds[mode&disk.ModeType]; ok {
		out[0] = k
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			out[1+i] = '-'
		}
	}
	for _, s := range []struct {
		bit      uint16
		at       int
		set, off byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		if mode&s.bit != 0 {
			if out[s.at] == 'x' {
				out[s.at] = s.set
			} else {
				out[s.at] = s.off
			}
		}
	}
	return string(out)
}

// base is the name that a path is shown by.
func base(p string) string { return path.Base(path.Clean("/" + p)) }
