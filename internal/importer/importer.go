package importer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Entry is one name of a tree.
type Entry struct {
	Path         string // below the importer's top, parts separated by slashes
	Mode         uint16 // type and permissions, with setuid, setgid and sticky
	UID, GID     uint32
	Major, Minor uint32 // of a device
	Target       string // of a symlink
	Link         string // the path of an earlier entry that is the same file; all else is ignored then
	Atime, Mtime time.Time
	Xattrs       []Xattr
	Size         uint64 // of a regular file
	Sparse       bool   // it has holes
	// Contents calls write for each piece of a regular file that is no hole, in ascending order.
	Contents func(write func(p []byte, at int64) error) error
}

// Xattr is an extended attribute, by its full name, in the form of setxattr(2).
type Xattr struct {
	Name  string
	Value []byte
}

// Options say how entries are taken.
type Options struct {
	Atomic  bool    // a file appears at once, and replaces another at once
	Replace bool    // an entry may take the place of another file: otherwise that is ErrExists
	Follow  bool    // a symlink in the place of a directory is followed, within the file system
	UID     *uint32 // the owner of all, in place of the entries'
	GID     *uint32

	Progress func(bytes int64) // called with all that was written so far; may be nil
}

// Importer copies entries below one directory.
type Importer struct {
	Files, Directories int64 // made so far
	Bytes              int64 // written so far, without holes

	fs   *ext4.Writable
	opts Options
	top  ext4.Node
	dirs map[string]ext4.Node // by cleaned path
	made []madeDir            // directories that Finish completes
}

// madeDir is a directory, and what it gets in the end.
type madeDir struct {
	node  ext4.Node
	entry Entry
}

// New makes an importer into a directory of a file system.
func New(fs *ext4.Writable, top ext4.Node, opts Options) *Importer {
	return &Importer{fs: fs, opts: opts, top: top, dirs: map[string]ext4.Node{"": top}}
}

// root is who makes names and may use reserved blocks: the owner of an image is its root.
var root = ext4.Cred{}

// Add copies one entry. Directories that its path leads through and that are not there are made with mode 0755.
func (im *Importer) Add(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if im.opts.UID != nil {
		e.UID = *im.opts.UID
	}
	if im.opts.GID != nil {
		e.GID = *im.opts.GID
	}
	path, err := clean(e.Path)
	if err == nil {
		err = im.add(path, e)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", output.Quote(e.Path), err)
	}
	return nil
}

func (im *Importer) add(path string, e Entry) error {
	if e.Link != "" {
		return im.link(path, e.Link)
	}
	if e.Mode&disk.ModeType == disk.ModeDir {
		return im.directory(path, e)
	}
	parent, name, err := im.parent(path)
	if err != nil {
		return err
	}
	atOnce := im.opts.Atomic && e.Mode&disk.ModeType == disk.ModeRegular
	if err := im.clear(parent, name, atOnce); err != nil {
		return err
	}
	im.Files++
	if atOnce {
		return im.fileAtOnce(parent, name, e)
	}
	n, err := im.fs.Create(ext4.Cred{UID: e.UID, GID: e.GID}, parent, name, create(e))
	if err != nil {
		return err
	}
	if err := im.contents(ext4.NodeOf(&n), e); err != nil {
		return err
	}
	return im.attributes(&n, e)
}

func create(e Entry) ext4.CreateOptions {
	return ext4.CreateOptions{Mode: e.Mode, Major: e.Major, Minor: e.Minor, Target: e.Target}
}

// clean is a path without empty parts and ".". A path with ".." is refused.
func clean(path string) (string, error) {
	var parts []string
	for _, part := range strings.Split(path, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", fmt.Errorf("a path with \"..\": %w", ext4.ErrInvalid)
		default:
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/"), nil
}

// split cuts a path before its last name.
func split(path string) (up, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// parent is the directory of a path, which is made where it is not there, and the path's last name.
func (im *Importer) parent(path string) (ext4.Node, string, error) {
	up, name := split(path)
	if name == "" {
		return 0, "", fmt.Errorf("the top is a directory: %w", ext4.ErrExists)
	}
	node, err := im.openDir(up, true)
	return node, name, err
}

// openDir is the directory of a path. With create set, missing directories on the way are made.
func (im *Importer) openDir(path string, create bool) (ext4.Node, error) {
	if node, ok := im.dirs[path]; ok {
		return node, nil
	}
	up, name := split(path)
	parent, err := im.openDir(up, create)
	if err != nil {
		return 0, err
	}
	at, err := im.lookup(parent, name, true)
	switch {
	case errors.Is(err, ext4.ErrNotExist) && create:
		at.node, err = im.mkdir(parent, name, root, 0o755)
	case err == nil && !at.dir:
		err = fmt.Errorf("%s: %w", output.Quote(path), ext4.ErrNotDir)
	}
	if err == nil {
		im.dirs[path] = at.node
	}
	return at.node, err
}

func (im *Importer) mkdir(parent ext4.Node, name string, owner ext4.Cred, mode uint16) (ext4.Node, error) {
	n, err := im.fs.Create(owner, parent, name, ext4.CreateOptions{Mode: disk.ModeDir | mode})
	if err == nil {
		im.Directories++
	}
	return ext4.NodeOf(&n), err
}

// found is what a name leads to.
type found struct {
	node    ext4.Node
	dir     bool
	symlink bool
}

// lookup finds a name. A symlink is followed where that is asked for, and allowed.
func (im *Importer) lookup(parent ext4.Node, name string, follow bool) (at found, err error) {
	err = im.fs.View(func(fs *ext4.FS) error {
		var up ext4.Inode
		if err := fs.ReadNode(&up, parent); err != nil {
			return err
		}
		n, err := up.Lookup(name)
		if err == nil && n.IsSymlink() && follow && im.opts.Follow {
			n, err = fs.ResolveFrom(&up, name, true)
		}
		if err == nil {
			at = found{ext4.NodeOf(n), n.IsDir(), n.IsSymlink()}
		}
		return err
	})
	return at, err
}

// clear makes a name free for an entry, unless that replaces the file there at once.
func (im *Importer) clear(parent ext4.Node, name string, atOnce bool) error {
	at, err := im.lookup(parent, name, false)
	switch {
	case errors.Is(err, ext4.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !im.opts.Replace:
		return ext4.ErrExists
	}
	if at.dir || at.symlink { // paths that led through it lead elsewhere now
		im.dirs = map[string]ext4.Node{"": im.top}
	}
	switch {
	case at.dir:
		return im.fs.EvictRemoved(im.fs.Rmdir(root, parent, name))
	case atOnce:
		return nil
	}
	return im.unlink(parent, name)
}

func (im *Importer) unlink(parent ext4.Node, name string) error {
	return im.fs.EvictRemoved(im.fs.Unlink(root, parent, name))
}

// fileAtOnce makes a file without a name, fills it, and gives it its name.
func (im *Importer) fileAtOnce(parent ext4.Node, name string, e Entry) error {
	n, err := im.fs.Tmpfile(ext4.Cred{UID: e.UID, GID: e.GID}, parent, create(e))
	if err != nil {
		return err
	}
	node := ext4.NodeOf(&n)
	if err = im.contents(node, e); err == nil {
		err = im.attributes(&n, e)
	}
	if err == nil {
		_, err = im.fs.Link(root, node, parent, name)
	}
	if errors.Is(err, ext4.ErrExists) && im.opts.Replace {
		err = im.replace(node, parent, name)
	}
	if err != nil {
		return errors.Join(err, im.fs.Evict(node))
	}
	return nil
}

// replace gives a file another one's name, by way of a name that nothing has.
func (im *Importer) replace(node, parent ext4.Node, name string) error {
	between := fmt.Sprintf(".varve-%016x", rand.Uint64())
	if _, err := im.fs.Link(root, node, parent, between); err != nil {
		return err
	}
	err := im.fs.EvictRemoved(im.fs.Rename(root, parent, between, parent, name, 0))
	if err != nil {
		err = errors.Join(err, im.unlink(parent, between))
	}
	return err
}

// contents fills a regular file.
func (im *Importer) contents(node ext4.Node, e Entry) error {
	if e.Mode&disk.ModeType != disk.ModeRegular || e.Contents == nil {
		return nil
	}
	end := int64(0)
	err := e.Contents(func(p []byte, at int64) error {
		n, err := im.fs.Write(root, node, at, p, false)
		im.Bytes += int64(n)
		if im.opts.Progress != nil {
			im.opts.Progress(im.Bytes)
		}
		end = max(end, at+int64(n))
		return err
	})
	if err == nil && uint64(end) < e.Size {
		_, err = im.fs.SetAttr(root, node, ext4.Attr{Size: &e.Size})
	}
	return err
}

// link gives an earlier entry's file another name.
func (im *Importer) link(path, earlier string) error {
	earlier, err := clean(earlier)
	if err != nil {
		return err
	}
	up, name := split(earlier)
	parent, err := im.openDir(up, false)
	var first found
	if err == nil {
		first, err = im.lookup(parent, name, false)
	}
	if err != nil {
		return fmt.Errorf("link to %s: %w", output.Quote(earlier), err)
	}
	if parent, name, err = im.parent(path); err != nil {
		return err
	}
	if other, err := im.lookup(parent, name, false); err == nil && other == first {
		return nil
	}
	if err := im.clear(parent, name, im.opts.Atomic); err != nil {
		return err
	}
	_, err = im.fs.Link(root, first.node, parent, name)
	if errors.Is(err, ext4.ErrExists) && im.opts.Replace {
		return im.replace(first.node, parent, name)
	}
	return err
}

// directory makes a directory, or takes the one that is there. It gets its attributes in the end.
func (im *Importer) directory(path string, e Entry) error {
	node, known := im.dirs[path]
	if !known {
		parent, name, err := im.parent(path)
		if err != nil {
			return err
		}
		at, err := im.lookup(parent, name, true)
		if err == nil && !at.dir {
			if err = im.clear(parent, name, false); err == nil {
				err = ext4.ErrNotExist
			}
		}
		if errors.Is(err, ext4.ErrNotExist) {
			at.node, err = im.mkdir(parent, name, ext4.Cred{UID: e.UID, GID: e.GID}, 0o700)
		}
		if err != nil {
			return err
		}
		node = at.node
		im.dirs[path] = node
	}
	e.Path = path
	im.made = append(im.made, madeDir{node, e})
	return nil
}

// Finish gives the directories that were entries their attributes and times.
func (im *Importer) Finish(ctx context.Context) error {
	for _, d := range im.made {
		if err := ctx.Err(); err != nil {
			return err
		}
		var n ext4.Inode
		err := im.fs.View(func(fs *ext4.FS) error { return fs.ReadNode(&n, d.node) })
		if errors.Is(err, ext4.ErrStale) {
			continue // a later entry took its place
		}
		if err == nil {
			err = im.attributes(&n, d.entry)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", output.Quote(d.entry.Path), err)
		}
	}
	im.made = nil
	return nil
}

// attributes gives an inode what making it did not: owner, extended attributes, mode and times, in the order in which
// one does not undo the other.
func (im *Importer) attributes(n *ext4.Inode, e Entry) error {
	node := ext4.NodeOf(n)
	if n.UID != e.UID || n.GID != e.GID {
		if _, err := im.fs.SetAttr(root, node, ext4.Attr{UID: &e.UID, GID: &e.GID}); err != nil {
			return err
		}
	}
	for _, x := range e.Xattrs {
		if err := im.fs.SetXattr(root, node, x.Name, x.Value, 0, false); err != nil {
			return fmt.Errorf("attribute %s: %w", output.Quote(x.Name), err)
		}
	}
	a := ext4.Attr{Explicit: true}
	if !n.IsSymlink() {
		mode := e.Mode & 0o7777
		a.Mode = &mode
	}
	if !e.Mtime.IsZero() {
		a.Mtime, a.Atime = &e.Mtime, &e.Atime
		if e.Atime.IsZero() {
			a.Atime = &e.Mtime
		}
	}
	_, err := im.fs.SetAttr(root, node, a)
	return err
}
