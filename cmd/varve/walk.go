package main

import (
	"context"
	"errors"
	"path"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/ondisk"
)

// walker visits a tree in the order of its names. Damage does not stop it: what cannot be read is reported to fail,
// and the rest is visited. A directory that was visited before, which only a damaged image has, is an error, too, so
// that a walk ends.
type walker struct {
	ctx   context.Context
	visit func(path string, depth int, n *ext4.Inode) error // an error ends the walk
	fail  func(path string, err error)

	seen     map[ext4.Ino]bool
	failures []error
}

// walk visits n and all below it.
func (w *walker) walk(p string, n *ext4.Inode) error {
	w.seen = map[ext4.Ino]bool{}
	if err := w.step(p, 0, n); err != nil {
		return err
	}
	return errors.Join(w.failures...)
}

// maxFailures bounds the errors that are kept; all are reported.
const maxFailures = 16

func (w *walker) failed(p string, err error) {
	if len(w.failures) < maxFailures {
		w.failures = append(w.failures, err)
	}
	w.fail(p, err)
}

func (w *walker) step(p string, depth int, n *ext4.Inode) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if n.IsDir() {
		if w.seen[n.Ino] {
			w.failed(p, ondisk.Corruptf(p, "directory %d has a second name", n.Ino))
			return nil
		}
		w.seen[n.Ino] = true
	}
	if err := w.visit(p, depth, n); err != nil {
		return err
	}
	if !n.IsDir() {
		return nil
	}
	entries, err := readDir(n)
	for _, e := range entries {
		if e.name == "." || e.name == ".." {
			continue
		}
		at := path.Join(p, e.name)
		child, err := n.Child(e.name, e.ino)
		if err != nil {
			w.failed(at, err)
			continue
		}
		if err := w.step(at, depth+1, child); err != nil {
			return err
		}
	}
	if err != nil {
		w.failed(p, err)
	}
	return nil
}
