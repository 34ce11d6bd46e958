// Package oracle is for tests: it makes images with mkfs.ext4, fills them through the kernel's ext4, and reads them by
// means that nobody of this project wrote (the kernel, debugfs, e2fsck), so that what varve shows can be compared.
package oracle
