package ext4

import (
	"bytes"
	"fmt"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/mutant"
	"github.com/varvefs/varve/merge"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Label is the file system's name, as of now.
func (fs *FS) Label() (string, error) {
	if !fs.view.changing() {
		return fs.super.Label, nil
	}
	size := uint32(fs.super.BlockSize)
	p, err := fs.block(block.Number(disk.SuperblockOffset / size))
	if err != nil {
		return "", err
	}
	return disk.LabelOf(p[disk.SuperblockOffset%size:]), nil
}

// SetLabel names the file system, in its superblock and all copies, by one transaction.
func (w *Writable) SetLabel(cred Cred, label string) error {
	if len(label) > disk.LabelSize || bytes.IndexByte([]byte(label), 0) >= 0 {
		return fmt.Errorf("%w: a label of %d bytes, expected at most %d without a zero", ErrInvalid, len(label),
			disk.LabelSize)
	}
	s := w.super
	return w.do(opSetattr, cred, func(o *op) error {
		if err := o.editSuper(func(p []byte) { disk.PutLabel(p, label) }); err != nil {
			return err
		}
		for g := disk.Group(1); g < s.Groups(); g++ {
			if !s.HasSuper(g) || mutant.Off(mutant.LabelCopies) {
				continue
			}
			// the sealer knows the first superblock only
			err := o.edit(s.GroupFirst(g), kindSuper, 0, merge.Reapply(func(p []byte) error {
				disk.PutLabel(p, label)
				s.SealSuperblock(p)
				return nil
			}))
			if err != nil {
				return err
			}
		}
		return nil
	})
}
