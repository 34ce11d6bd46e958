package ext4

import (
	"fmt"
	"strings"
)

// maxLinks is the number of symlinks that a path may lead through, as in the kernel.
const maxLinks = 40

// Resolve walks a path from the root. Symlinks on the way are followed within the image, an absolute target from its
// root; one at the end is followed if follow is set. ".." of the root is the root.
func (fs *FS) Resolve(path string, follow bool) (*Inode, error) {
	at, err := fs.Inode(RootIno)
	if err != nil {
		return nil, err
	}
	return fs.ResolveFrom(at, path, follow)
}

// ResolveFrom is Resolve from a directory.
func (fs *FS) ResolveFrom(at *Inode, path string, follow bool) (_ *Inode, err error) {
	rest := split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		next, err := at.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if !next.IsSymlink() || len(rest) == 0 && !follow {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return nil, fmt.Errorf("%s: %w", path, ErrLoop)
		}
		target, err := next.Readlink()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if strings.HasPrefix(target, "/") {
			if at, err = fs.Inode(RootIno); err != nil {
				return nil, err
			}
		}
		rest = append(split(target), rest...)
	}
	return at, nil
}

// split cuts a path into its names.
func split(path string) []string {
	var out []string
	for _, name := range strings.Split(path, "/") {
		if name != "" && name != "." {
			out = append(out, name)
		}
	}
	return out
}
