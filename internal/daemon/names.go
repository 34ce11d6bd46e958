package daemon

import (
	"path"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/evidence"
)

// maxNames bounds the names that are kept.
const maxNames = 1 << 16

// names finds paths of inodes: those of directories in the file system, those of other files by the operations that
// were seen. It is for one goroutine.
type names struct {
	places map[uint32]place
	dirs   map[uint32]string // paths; empty where there is none
}

// place is a name in a directory.
type place struct {
	dir  uint32
	name string
}

func newNames() *names { return &names{places: map[uint32]place{}, dirs: map[uint32]string{}} }

// name puts paths into records, where they are known. The records are in the order of their answers.
func (n *names) name(fs *ext4.FS, records []evidence.Record) {
	for i := range records {
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
