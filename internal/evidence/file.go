package evidence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// eventsPerSecond is the rate of a ledger in a file.
const eventsPerSecond = 20_000

// Limits bound the files of a ledger. Where they are zero a file has at most 64 MiB, and there are 4 of them.
type Limits struct {
	Bytes int64 // of one file
	Files int   // the one that is written to, and older ones: FILE.1 is the newest of those
}

func (l Limits) defaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 64 << 20
	}
	if l.Files <= 0 {
		l.Files = 4
	}
	return l
}

// File is a ledger that is appended to a file. A full file is renamed, and a new one begun.
type File struct {
	*Ledger
	file *rotated
}

// Append begins a ledger at the end of a file, and creates the file if there is none.
func Append(path string, l Limits) (*File, error) {
	r := &rotated{path: path, Limits: l.defaults()}
	if err := r.open(); err != nil {
		return nil, err
	}
	return &File{NewLedger(r, eventsPerSecond), r}, nil
}

// Close writes the events that the ledger holds, and closes the file.
func (f *File) Close() error { return errors.Join(f.Ledger.Close(), f.file.now.Close()) }

// rotated is a file that makes room for itself. Each Write has whole lines.
type rotated struct {
	Limits
	path string
	now  *os.File
	size int64
}

// open opens the file for appending. A line that a killed process has left half is ended: it would spoil the next one.
func (r *rotated) open() error {
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	r.now, r.size = f, info.Size()
	last := []byte{'\n'}
	if info.Mode().IsRegular() && r.size > 0 {
		if _, err = f.ReadAt(last, r.size-1); err == nil && last[0] != '\n' {
			_, err = f.WriteString("\n")
			r.size++
		}
	}
	return err
}

func (r *rotated) Write(p []byte) (int, error) {
	if r.size > 0 && r.size+int64(len(p)) > r.Bytes {
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := r.now.Write(p)
	r.size += int64(n)
	return n, err
}

// rotate renames the files, each to the next number; the oldest goes. A ledger that is no regular file is left alone.
func (r *rotated) rotate() error {
	if info, err := r.now.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	if err := r.now.Close(); err != nil {
		return err
	}
	if r.Files == 1 {
		if err := os.Remove(r.path); err != nil {
			return err
		}
		return r.open()
	}
	for n := r.Files - 1; n > 0; n-- {
		if err := os.Rename(older(r.path, n-1), older(r.path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return r.open()
}

// older is the name of a file of a ledger: 0 is the one that is written to.
func older(path string, n int) string {
	if n == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, n)
}

// Older are the files of a ledger that were renamed, oldest first.
func Older(path string) (files []string) {
	for n := 1; ; n++ {
		if _, err := os.Lstat(older(path, n)); err != nil {
			return files
		}
		files = append([]string{older(path, n)}, files...)
	}
}

// OpenAll reads the older files of a ledger, oldest first, and then its newest one.
func OpenAll(path string, newest io.ReadCloser) (io.ReadCloser, error) {
	all := &chain{Closer: newest}
	var parts []io.Reader
	for _, name := range Older(path) {
		f, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all.older = append(all.older, f)
		parts = append(parts, f)
	}
	all.Reader = io.MultiReader(append(parts, newest)...)
	return all, nil
}

// chain is several files that are read one after the other.
type chain struct {
	io.Reader
	io.Closer // the newest
	older     []*os.File
}

func (c *chain) Close() error {
	errs := []error{c.Closer.Close()}
	for _, f := range c.older {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
