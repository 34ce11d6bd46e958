package oracle

import (
	"path/filepath"
	"testing"
)

// External makes an image whose journal is on another device, and that device, of the sizes that mke2fs takes. It needs
// root: mke2fs wants a block device for it.
func External(t testing.TB, size, journalSize string, mkfs ...string) (image, journal string) {
	t.Helper()
	NeedRoot(t)
	dir := t.TempDir()
	image, journal = filepath.Join(dir, "image"), filepath.Join(dir, "journal")
	block := "4096"
	for i, a := range mkfs {
		if a == "-b" {
			block = mkfs[i+1]
		}
	}
	MustRun(t, "mke2fs", "-q", "-F", "-O", "journal_dev", "-b", block, journal, journalSize)
	device, detach := Loop(t, journal)
	MustRun(t, "mke2fs", append(append([]string{"-q", "-F"}, mkfs...), "-J", "device="+device, image, size)...)
	detach()
	return image, journal
}

// CleanExternal is Clean for an image with an external journal.
func CleanExternal(t testing.TB, image, journal string) {
	t.Helper()
	MustRun(t, "e2fsck", "-fn", "-j", journal, image)
}
