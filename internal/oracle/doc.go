// Package oracle is for tests: it makes images with mkfs.ext4, fills them through the kernel's ext4, and reads them by
// programs of others (the kernel, debugfs, e2fsck), to compare varve with.
package oracle
