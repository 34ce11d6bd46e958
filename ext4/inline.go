package ext4

import (
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// inlineParts are the two places of inline data: the 60 bytes of Block, and the value of the attribute system.data
// (ext4 doc, "Inline Data").
func (n *Inode) inlineParts() (head, tail []byte, err error) {
	attrs, err := disk.DecodeInodeXattrs(n.Ino, n.XattrArea)
	if err != nil {
		return nil, nil, err
	}
	for i := range attrs {
		if attrs[i].IsInlineData() {
			return n.Block, attrs[i].Value, nil
		}
	}
	return n.Block, nil, nil
}

// inlineSegments is Segments for a file whose contents lie in its inode. The caller has cut size to the file's.
func (n *Inode) inlineSegments(dst []Segment, offset, size int) ([]Segment, error) {
	head, tail, err := n.inlineParts()
	if err != nil {
		return dst, err
	}
	if n.Size > uint64(len(head)+len(tail)) {
		return dst, ondisk.Corruptf(
			n.where(),
			"size is %d bytes, but only %d are stored inline",
			n.Size,
			len(head)+len(tail),
		)
	}
	if offset < len(head) {
		p := head[offset:min(len(head), offset+size)]
		dst = append(dst, Segment{Len: len(p), Image: -1, Bytes: p})
		offset += len(p)
		size -= len(p)
	}
	if size > 0 {
		p := tail[offset-len(head):][:size]
		dst = append(dst, Segment{Len: len(p), Image: -1, Bytes: p})
	}
	return dst, nil
}
