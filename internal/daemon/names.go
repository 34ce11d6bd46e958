package daemon

import (
	"path"
	"slices"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/evidence"
)

// maxNames bounds the names that are kept.
const maxNames = 1 << 16

// names finds paths of inodes: those of directories in the file system, those of other files by the operations that
// were seen. It is for one goroutine.
type names struct {
	blocks describer
	places map[uint32]place
	dirs   map[uint32]string // paths; empty where there is none
}

// place is a name in a directory.
type place struct {
	dir  uint32
	name string
}

// describer names blocks.
type describer interface {
	Describe(block.Number) string
	DescribeRange(n block.Number, off, length uint32) []string
}

func newNames(blocks describer) *names {
	return &names{blocks: blocks, places: map[uint32]place{}, dirs: map[uint32]string{}}
}

// describe says what the block of a conflict is, and the ranges in words.
func (n *names) describe(r *evidence.Record) {
	if r.Block == nil {
		return
	}
	r.What = n.blocks.Describe(block.Number(*r.Block))
	for _, at := range r.Ranges {
		for _, field := range n.blocks.DescribeRange(block.Number(*r.Block), at[0], at[1]) {
			if !slices.Contains(r.Fields, field) {
				r.Fields = append(r.Fields, field)
			}
		}
	}
}

// name puts paths into records, where they are known, and what their blocks are. The records are in the order of their
// answers.
func (n *names) name(fs *ext4.FS, records []evidence.Record) {
	for i := range records {
		n.describe(&records[i])
		if records[i].Operation == nil {
			continue
		}
		own := *records[i].Operation // others have the record, too
		o := &own
		records[i].Operation = o
		if len(n.places) >= maxNames || len(n.dirs) >= maxNames {
			clear(n.places)
			clear(n.dirs)
		}
		n.learn(o)
		switch {
		case o.Entry == "":
			o.Path = n.path(fs, o.Inode)
		default:
			o.Path = n.entry(fs, o.Inode, o.Entry)
		}
		switch {
		case o.To == 0:
		case o.ToEntry == "":
			o.ToPath = n.path(fs, o.To)
		default:
			o.ToPath = n.entry(fs, o.To, o.ToEntry)
		}
		if o.Name == "rename" || o.Name == "rmdir" {
			clear(n.dirs)
		}
	}
}

// learn keeps what an operation says of names.
func (n *names) learn(o *evidence.Operation) {
	if o.Errno != 0 {
		return
	}
	switch {
	case o.Made != 0:
		n.places[o.Made] = place{o.Inode, o.Entry}
		delete(n.dirs, o.Made)
	case o.Name == "rename":
		for ino, at := range n.places {
			if at == (place{o.Inode, o.Entry}) {
				n.places[ino] = place{o.To, o.ToEntry}
			}
		}
	}
}

// entry is the path of a name in a directory, or nothing.
func (n *names) entry(fs *ext4.FS, dir uint32, name string) string {
	if at := n.directory(fs, dir); at != "" {
		return path.Join(at, name)
	}
	return ""
}

// path is a path of an inode, or nothing.
func (n *names) path(fs *ext4.FS, ino uint32) string {
	if at, ok := n.places[ino]; ok {
		return n.entry(fs, at.dir, at.name)
	}
	return n.directory(fs, ino)
}

// directory is the path of a directory, or nothing.
func (n *names) directory(fs *ext4.FS, ino uint32) string {
	at, ok := n.dirs[ino]
	if !ok {
		at, _ = fs.PathOf(ext4.Ino(ino)) // empty where it fails
		n.dirs[ino] = at
	}
	return at
}
