package ext4

import (
	"errors"
	"io"
	iofs "io/fs"
	"path"
	"slices"
	"strings"
	"time"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// IOFS is an FS as the standard library's io/fs sees one: FS, ReadDirFS, ReadFileFS, StatFS, SubFS and ReadLinkFS. Its
// files are io.ReaderAt and io.Seeker as well. Symlinks on a path are followed within the image. The Sys of a FileInfo
// is the *Inode.
type IOFS struct {
	fs   *FS
	root string // "" or a path without a slash at its ends
}

var (
	_ iofs.ReadDirFS  = IOFS{}
	_ iofs.ReadFileFS = IOFS{}
	_ iofs.StatFS     = IOFS{}
	_ iofs.SubFS      = IOFS{}
	_ iofs.ReadLinkFS = IOFS{}
	_ io.ReaderAt     = (*file)(nil)
	_ io.Seeker       = (*file)(nil)
)

// IOFS returns the file system as an io/fs one.
func (fs *FS) IOFS() IOFS { return IOFS{fs: fs} }

// resolve checks and walks a name.
func (v IOFS) resolve(op, name string, follow bool) (*Inode, error) {
	if !iofs.ValidPath(name) {
		return nil, &iofs.PathError{Op: op, Path: name, Err: iofs.ErrInvalid}
	}
	n, err := v.fs.Resolve(path.Join(v.root, name), follow)
	if err != nil {
		return nil, &iofs.PathError{Op: op, Path: name, Err: standard(err)}
	}
	return n, nil
}

// standard wraps our errors so that errors.Is finds those of io/fs in them.
func standard(err error) error {
	switch {
	case errors.Is(err, ErrNotExist), errors.Is(err, ErrNotDir), errors.Is(err, ErrTooLong):
		return both{err, iofs.ErrNotExist}
	case errors.Is(err, ErrNoKey):
		return both{err, iofs.ErrPermission}
	}
	return err
}

// both is an error that is another one, too.
type both struct {
	error
	also error
}

// Unwrap gives errors.Is both.
func (b both) Unwrap() []error { return []error{b.error, b.also} }

// Open opens a file or directory.
func (v IOFS) Open(name string) (iofs.File, error) {
	n, err := v.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	info := fileInfo{path.Base(name), n}
	if n.IsDir() {
		return &dir{info: info}, nil
	}
	return &file{info: info}, nil
}

// Stat describes a file, Lstat one that may be a symlink.
func (v IOFS) Stat(name string) (iofs.FileInfo, error)  { return v.stat("stat", name, true) }
func (v IOFS) Lstat(name string) (iofs.FileInfo, error) { return v.stat("lstat", name, false) }

func (v IOFS) stat(op, name string, follow bool) (iofs.FileInfo, error) {
	n, err := v.resolve(op, name, follow)
	if err != nil {
		return nil, err
	}
	return fileInfo{path.Base(name), n}, nil
}

// ReadLink returns a symlink's target.
func (v IOFS) ReadLink(name string) (string, error) {
	n, err := v.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	if !n.IsSymlink() {
		return "", &iofs.PathError{Op: "readlink", Path: name, Err: iofs.ErrInvalid}
	}
	target, err := n.Readlink()
	if err != nil {
		return "", &iofs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadDir lists a directory in the order of its names.
func (v IOFS) ReadDir(name string) ([]iofs.DirEntry, error) {
	n, err := v.resolve("readdir", name, true)
	if err != nil {
		return nil, err
	}
	entries, err := n.entries()
	if err != nil {
		err = &iofs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return entries, err
}

// ReadFile reads a whole file.
func (v IOFS) ReadFile(name string) ([]byte, error) {
	f, err := v.Open(name)
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(f) // grows as it reads: a lying size costs nothing
	if err != nil {
		return nil, &iofs.PathError{Op: "read", Path: name, Err: err}
	}
	return p, nil
}

// Sub is the view of one directory.
func (v IOFS) Sub(name string) (iofs.FS, error) {
	n, err := v.resolve("sub", name, true)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &iofs.PathError{Op: "sub", Path: name, Err: standard(ErrNotDir)}
	}
	if name == "." {
		return v, nil
	}
	return IOFS{v.fs, path.Join(v.root, name)}, nil
}

// entries reads a whole directory, sorted by name.
func (n *Inode) entries() ([]iofs.DirEntry, error) {
	var out []iofs.DirEntry
	err := n.ReadDir(0, func(e Dirent) bool {
		if name := string(e.Name); name != "." && name != ".." {
			out = append(out, &dirEntry{name: name, ino: e.Ino, typ: e.Type, dir: n})
		}
		return true
	})
	slices.SortFunc(out, func(a, b iofs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, err
}

// dirEntry is a name in a directory. Its inode is read when Info, or a Type that the entry does not hold, asks for it.
type dirEntry struct {
	name string
	ino  Ino
	typ  uint8
	dir  *Inode
}

func (e *dirEntry) Name() string { return e.name }
func (e *dirEntry) IsDir() bool  { return e.Type().IsDir() }
func (e *dirEntry) String() string {
	return iofs.FormatDirEntry(e)
}

func (e *dirEntry) Type() iofs.FileMode {
	if int(e.typ) < len(entryModes) && e.typ != disk.FileTypeUnknown {
		return entryModes[e.typ]
	}
	info, err := e.Info()
	if err != nil {
		return iofs.ModeIrregular
	}
	return info.Mode().Type()
}

func (e *dirEntry) Info() (iofs.FileInfo, error) {
	n, err := e.dir.Child(e.name, e.ino)
	if err != nil {
		return nil, err
	}
	return fileInfo{e.name, n}, nil
}

var entryModes = [...]iofs.FileMode{
	disk.FileTypeRegular: 0, disk.FileTypeDir: iofs.ModeDir, disk.FileTypeChar: iofs.ModeDevice | iofs.ModeCharDevice,
	disk.FileTypeBlock: iofs.ModeDevice, disk.FileTypeFIFO: iofs.ModeNamedPipe, disk.FileTypeSocket: iofs.ModeSocket,
	disk.FileTypeSymlink: iofs.ModeSymlink,
}

// fileInfo is an inode by one of its names.
type fileInfo struct {
	name string
	n    *Inode
}

func (i fileInfo) Name() string        { return i.name }
func (i fileInfo) Size() int64         { return int64(i.n.StatSize()) }
func (i fileInfo) Mode() iofs.FileMode { return FileMode(i.n.Mode) }
func (i fileInfo) ModTime() time.Time  { return i.n.Mtime }
func (i fileInfo) IsDir() bool         { return i.n.IsDir() }
func (i fileInfo) Sys() any            { return i.n }
func (i fileInfo) Type() iofs.FileMode { return i.Mode().Type() }
func (i fileInfo) String() string      { return iofs.FormatFileInfo(i) }

// FileMode turns the mode of stat(2) into that of io/fs.
func FileMode(mode uint16) iofs.FileMode {
	out := iofs.FileMode(mode & 0o777)
	switch mode & disk.ModeType {
	case disk.ModeDir:
		out |= iofs.ModeDir
	case disk.ModeSymlink:
		out |= iofs.ModeSymlink
	case disk.ModeChar:
		out |= iofs.ModeDevice | iofs.ModeCharDevice
	case disk.ModeBlock:
		out |= iofs.ModeDevice
	case disk.ModeFIFO:
		out |= iofs.ModeNamedPipe
	case disk.ModeSocket:
		out |= iofs.ModeSocket
	}
	for bit, m := range map[uint16]iofs.FileMode{
		0o4000: iofs.ModeSetuid, 0o2000: iofs.ModeSetgid, 0o1000: iofs.ModeSticky,
	} {
		if mode&bit != 0 {
			out |= m
		}
	}
	return out
}

// file is an open file.
type file struct {
	info   fileInfo
	offset int64
	closed bool
}

func (f *file) err(op string, err error) error {
	return &iofs.PathError{Op: op, Path: f.info.name, Err: err}
}

func (f *file) Stat() (iofs.FileInfo, error) { return f.info, nil }

func (f *file) Close() error {
	if f.closed {
		return f.err("close", iofs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.offset)
	f.offset += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	switch {
	case f.closed:
		return 0, f.err("read", iofs.ErrClosed)
	case offset < 0:
		return 0, f.err("read", iofs.ErrInvalid)
	case !f.info.n.IsRegular():
		return 0, f.err("read", iofs.ErrInvalid)
	}
	n, err := f.info.n.ReadAt(p, offset)
	if err != nil && err != io.EOF {
		err = f.err("read", standard(err))
	}
	return n, err
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.info.Size()
	}
	if offset < 0 || f.closed {
		return 0, f.err("seek", iofs.ErrInvalid)
	}
	f.offset = offset
	return offset, nil
}

// dir is an open directory.
type dir struct {
	info    fileInfo
	entries []iofs.DirEntry
	read    bool
	closed  bool
}

func (d *dir) Stat() (iofs.FileInfo, error) { return d.info, nil }

func (d *dir) Close() error {
	if d.closed {
		return &iofs.PathError{Op: "close", Path: d.info.name, Err: iofs.ErrClosed}
	}
	d.closed = true
	return nil
}

func (d *dir) Read([]byte) (int, error) {
	return 0, &iofs.PathError{Op: "read", Path: d.info.name, Err: errors.New("is a directory")}
}

func (d *dir) ReadDir(n int) ([]iofs.DirEntry, error) {
	if d.closed {
		return nil, &iofs.PathError{Op: "readdir", Path: d.info.name, Err: iofs.ErrClosed}
	}
	var err error
	if !d.read {
		d.read = true
		d.entries, err = d.info.n.entries()
	}
	if n <= 0 || err != nil {
		out := d.entries
		d.entries = nil
		return out, err
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	out := d.entries[:min(n, len(d.entries))]
	d.entries = d.entries[len(out):]
	return out, nil
}
