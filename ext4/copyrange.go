package ext4

import (
	"context"
	"errors"
	"io"
)

// copyChunk is how many bytes CopyRange copies in one transaction, and maxCopy in one call.
const (
	copyChunk = 512 << 10
	maxCopy   = 64 << 20
)

// Range is a place in a file: of the node, from a byte on.
type Range struct {
	Node   Node
	Offset int64
}

// CopyRange copies up to length bytes from one file to another, or within one. It returns how many: fewer with an
// error, at the end of the source, or at the bound of one call. A context that ends stops it behind the chunk under way
// with the context's error; the first chunk is copied always, so that a copy that is repeated makes progress. Each
// chunk is read from a snapshot and written in a transaction of its own.
func (w *Writable) CopyRange(ctx context.Context, cred Cred, from, to Range, length uint64) (done int64, err error) {
	limit := int64(min(length, maxCopy))
	buf := make([]byte, min(limit, copyChunk))
	for done < limit && err == nil {
		if err = ctx.Err(); err != nil && done > 0 {
			break
		}
		var got, put int
		if got, err = w.readNode(from.Node, buf[:min(limit-done, copyChunk)], from.Offset+done); err != nil ||
			got == 0 {
			break
		}
		clear := ClearPrivileges(cred.UID != 0) // as with fallocate: the request does not say who has CAP_FSETID
		put, err = w.Write(cred, to.Node, to.Offset+done, buf[:got], clear)
		done += int64(put)
	}
	return done, err
}

// readNode reads the contents of a node from a snapshot. At the end of the file it returns 0.
func (w *Writable) readNode(node Node, p []byte, offset int64) (got int, err error) {
	err = w.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, node); err != nil {
			return err
		}
		got, err = n.ReadAt(p, offset)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	})
	return got, err
}
