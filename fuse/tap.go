package fuse

import (
	"sync"
	"sync/atomic"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/varvefs/varve/ext4"
)

// Operation is a request of the kernel's that was answered. Numbers of inodes are 0 where they do not apply.
type Operation struct {
	Name          string // create, write, chmod, ...
	Thread        uint32 // that asked; 0: the kernel itself
	UID           uint32
	Inode         ext4.Ino // of the file; or of the directory of Entry
	Entry         string   // a name in the directory
	Made          ext4.Ino // the inode of Entry, where the answer has it
	To            ext4.Ino // the other directory of a rename, or that of a link
	ToEntry       string
	Attribute     string // its name
	Offset, Bytes uint64
	Errno         uint32
	Began         time.Time
	Took          time.Duration
	Commit        uint64 // the last commit that it made; 0: none
}

// Observer takes operations when they are answered, on the way of the answer: it must return at once.
type Observer interface {
	// Listening reports whether operations are wanted now. No others are observed.
	Listening() bool
	Observe(Operation)
}

// tap is a front whose operations are observed. While the observer does not listen it costs an atomic load.
type tap struct {
	gofuse.RawFileSystem
	observer Observer
	underway *underway
}

// underway are the observed operations that are not answered yet, by the number of their request.
type underway struct {
	sync.Map
	n atomic.Int64 // how many there are: a look into the map allocates
}

// committed is what a change calls with its commit; nil where the request is not observed.
func (u *underway) committed(request uint64) func(uint64) {
	if u == nil || u.n.Load() == 0 {
		return nil
	}
	v, ok := u.Load(request)
	if !ok {
		return nil
	}
	return func(commit uint64) { v.(*Operation).Commit = commit }
}

// begin begins an operation; nil: it is not observed.
func (t *tap) begin(name string, h *gofuse.InHeader) *Operation {
	if !t.observer.Listening() {
		return nil
	}
	o := &Operation{Name: name, Thread: h.Pid, UID: h.Uid, Inode: node(h.NodeId).Ino(), Began: time.Now()}
	t.underway.n.Add(1)
	t.underway.Store(h.Unique, o)
	return o
}

// end hands an operation to the observer.
func (t *tap) end(o *Operation, h *gofuse.InHeader, status gofuse.Status) gofuse.Status {
	if o == nil {
		return status
	}
	t.underway.Delete(h.Unique)
	t.underway.n.Add(-1)
	o.Took = time.Since(o.Began)
	if status > 0 {
		o.Errno = uint32(status)
	}
	t.observer.Observe(*o)
	return status
}

// attribute is the name of the attribute that an operation is about.
func (o *Operation) attribute(name string) {
	if o != nil {
		o.Attribute = name
	}
}

// named is an operation on a name in a directory.
func (o *Operation) named(name string) {
	if o != nil {
		o.Entry = name
	}
}

// to is the second directory and name of an operation.
func (o *Operation) to(dir uint64, name string) {
	if o != nil {
		o.To, o.ToEntry = node(dir).Ino(), name
	}
}

// span is the part of a file that an operation is about.
func (o *Operation) span(offset, bytes uint64) {
	if o != nil {
		o.Offset, o.Bytes = offset, bytes
	}
}

// made is the inode that the answer has.
func (o *Operation) made(out *gofuse.EntryOut, status gofuse.Status) {
	if o != nil && status.Ok() && out.NodeId != 0 {
		o.Made = node(out.NodeId).Ino()
	}
}

// writableTap is the tap of a read-write mount.
type writableTap struct {
	tap
	to *writable
}

func (t *writableTap) listen(n notifier) { t.to.listen(n) }

func (t *writableTap) syncAll() gofuse.Status {
	var h gofuse.InHeader
	o := t.begin("syncfs", &h)
	return t.end(o, &h, t.to.syncAll())
}

// tapped puts a tap before a front, if there is an observer.
func tapped(front gofuse.RawFileSystem, observer Observer) gofuse.RawFileSystem {
	if observer == nil {
		return front
	}
	t := tap{front, observer, new(underway)}
	if w, ok := front.(*writable); ok {
		w.underway = t.underway
		return &writableTap{t, w}
	}
	return &t
}
