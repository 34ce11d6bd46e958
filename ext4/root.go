package ext4

import (
	"fmt"

	"github.com/varvefs/varve/ondisk"
)

// CheckRoot reads the root directory: without one nothing of a file system can be reached, and a mount of it would
// answer no request.
func (fs *FS) CheckRoot() error {
	var n Inode
	if err := fs.ReadInode(&n, RootIno); err != nil {
		return fmt.Errorf("the root directory cannot be read: %w; e2fsck may repair it", err)
	}
	if !n.IsDir() {
		return fmt.Errorf("%w; e2fsck may repair it", ondisk.Corruptf("root directory", "is no directory"))
	}
	return nil
}
