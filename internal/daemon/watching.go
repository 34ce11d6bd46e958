package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/fuse"
	"github.com/varvefs/varve/internal/evidence"
	"github.com/varvefs/varve/internal/output"
)

// Watching is the first line of the answer to a request to watch a mount; a record a line follows it.
type Watching struct {
	SchemaVersion int    `json:"schema_version"`
	Image         string `json:"image"`
}

// tailSize is how many records the daemon keeps for a watcher that is slow.
const tailSize = 8192

// tapOperations hands the operations of a mount to a bus.
type tapOperations struct{ *evidence.Bus }

// Observe follows fuse.Observer.
func (t tapOperations) Observe(o fuse.Operation) {
	t.Publish(evidence.Record{Time: o.Began, Event: evidence.EventOperation, Seq: o.Commit,
		Operation: &evidence.Operation{Name: o.Name, Thread: o.Thread, UID: o.UID, Inode: uint32(o.Inode),
			Entry: o.Entry, Attribute: o.Attribute, Made: uint32(o.Made), To: uint32(o.To), ToEntry: o.ToEntry,
			Offset: o.Offset, Bytes: o.Bytes,
			Errno: o.Errno, Took: o.Took.Seconds()}})
}

// watch streams the records of a bus to a connection until its other end is closed, or ctx ends.
func watch(ctx context.Context, c net.Conn, bus *evidence.Bus, image string, w *ext4.Writable) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, c) // ends when the watcher does
		cancel()
	}()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	tail := evidence.NewTail(tailSize)
	defer bus.Attach(tail)()
	out := bufio.NewWriter(c)
	lines := json.NewEncoder(out)
	if lines.Encode(Watching{output.SchemaVersion, image}) != nil || out.Flush() != nil {
		return
	}
	names := newNames(w)
	var records []evidence.Record
	var err error
	for {
		if records, err = tail.Next(ctx, records[:0]); err != nil {
			return
		}
		if w.View(func(fs *ext4.FS) error { names.name(fs, records); return nil }) != nil {
			return
		}
		for i := range records {
			if lines.Encode(&records[i]) != nil {
				return
			}
		}
		if out.Flush() != nil {
			return
		}
	}
}

// Watch hands the records of the read-write mount on a directory to do as they come, until do returns an error, the
// mount ends, or ctx does: both give nil.
func Watch(ctx context.Context, dir string, begin func(Watching), do func(*evidence.Record) error) error {
	info, err := findOurs(dir)
	if err != nil {
		return err
	}
	if info.ReadOnly {
		return fmt.Errorf("%s is a read-only mount: only read-write mounts can be watched", info.Dir)
	}
	c, err := dialControl(info.Dev, int(info.Owner))
	if err != nil {
		return fmt.Errorf("%s: its daemon does not answer: %w", info.Dir, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	_ = c.SetDeadline(time.Now().Add(controlTime))
	_, _ = fmt.Fprintln(c, requestWatch)
	lines := json.NewDecoder(c)
	var head Watching
	if err := lines.Decode(&head); err != nil {
		return fmt.Errorf("%s: its daemon answers nothing: only the user who mounted, and root, may ask: %w",
			info.Dir, err)
	}
	if head.Image == "" || head.SchemaVersion != output.SchemaVersion {
		return fmt.Errorf("%s: its daemon is of another version of varve, which this one cannot watch", info.Dir)
	}
	_ = c.SetDeadline(time.Time{})
	begin(head)
	for {
		var r evidence.Record
		switch err := lines.Decode(&r); {
		case ctx.Err() != nil, errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", info.Dir, err)
		}
		if err := do(&r); err != nil {
			return err
		}
	}
}
