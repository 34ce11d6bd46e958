package main

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/ondisk"
)

// place is a name in a tree that is walked. Each has its own name and its directory, so that what is kept of a tree
// grows with the tree, and not with the lengths of its paths.
type place struct {
	up    *place // nil for the top
	name  string // of the top: its path
	depth int
}

// String is the path. It is made anew by each call.
func (p *place) String() string {
	if p.up == nil {
		return p.name
	}
	n, top := 0, p
	for ; top.up != nil; top = top.up {
		n += len(top.name) + 1
	}
	prefix := path.Clean(top.name)
	switch prefix {
	case ".":
		prefix = ""
		n--
	case "/":
		prefix = ""
	}
	b := make([]byte, len(prefix)+n)
	copy(b, prefix)
	for q, end := p, len(b); q.up != nil; q = q.up {
		end -= len(q.name)
		copy(b[end:], q.name)
		if end > 0 {
			end--
			b[end] = '/'
		}
	}
	return string(b)
}

// quoted is the path for messages: of a very long one its end.
func (p *place) quoted() string {
	const most = 4096
	n, cut := 0, p
	for ; cut.up != nil && n < most; cut = cut.up {
		n += len(cut.name) + 1
	}
	if cut.up == nil {
		return output.Quote(p.String())
	}
	tail := []string{}
	for q := p; q != cut; q = q.up {
		tail = append(tail, q.name)
	}
	for i, j := 0, len(tail)-1; i < j; i, j = i+1, j-1 {
		tail[i], tail[j] = tail[j], tail[i]
	}
	return output.Quote(".../" + strings.Join(tail, "/"))
}

// walker visits a tree in the order of its names. Damage does not stop it: what cannot be read is reported to fail,
// and the rest is visited. A directory that was visited before, which only a damaged image has, is an error, too, so
// that a walk ends. A tree of any depth takes no more stack than a flat one.
type walker struct {
	ctx   context.Context
	visit func(p *place, n *ext4.Inode) error // an error ends the walk
	leave func(p *place) error                // called for a directory when all below it was visited; may be nil
	fail  func(p *place, err error)
	level int // directories so deep are not read; 0: all are

	seen     map[ext4.Ino]bool
	failures []error
	open     []openDir
}

// openDir is a directory that is being walked.
type openDir struct {
	at      *place
	n       *ext4.Inode
	entries []entry // that are left
	err     error   // of reading it
}

// walk visits n and all below it.
func (w *walker) walk(top string, n *ext4.Inode) error {
	w.seen = map[ext4.Ino]bool{}
	if err := w.enter(&place{name: top}, n); err != nil {
		return err
	}
	for len(w.open) > 0 {
		if err := w.step(&w.open[len(w.open)-1]); err != nil {
			return err
		}
	}
	return errors.Join(w.failures...)
}

// maxFailures bounds the errors that are kept; all are reported.
const maxFailures = 16

func (w *walker) failed(p *place, err error) {
	if len(w.failures) < maxFailures {
		w.failures = append(w.failures, err)
	}
	w.fail(p, err)
}

// enter visits a node, and opens it if it is a directory.
func (w *walker) enter(p *place, n *ext4.Inode) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if n.IsDir() {
		if w.seen[n.Ino] {
			w.failed(p, ondisk.Corruptf(p.quoted(), "directory %d has a second name", n.Ino))
			return nil
		}
		w.seen[n.Ino] = true
	}
	if err := w.visit(p, n); err != nil || !n.IsDir() {
		return err
	}
	d := openDir{at: p, n: n}
	if w.level == 0 || p.depth < w.level {
		d.entries, d.err = readDir(n)
	}
	w.open = append(w.open, d)
	return nil
}

// step goes on with the innermost open directory: with its next name, or by leaving it.
func (w *walker) step(d *openDir) error {
	if len(d.entries) == 0 {
		at, err := d.at, d.err
		*d = openDir{}
		w.open = w.open[:len(w.open)-1]
		if err != nil {
			w.failed(at, err)
		}
		if w.leave != nil {
			return w.leave(at)
		}
		return nil
	}
	e := d.entries[0]
	d.entries = d.entries[1:]
	if e.name == "." || e.name == ".." {
		return nil
	}
	at := &place{up: d.at, name: e.name, depth: d.at.depth + 1}
	child, err := d.n.Child(e.name, e.ino)
	if err != nil {
		w.failed(at, err)
		return nil
	}
	return w.enter(at, child)
}
