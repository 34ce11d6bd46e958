package blockcache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestNamed: a file that loses its last name while it is open says so; one that is renamed, or never had a name, does
// not.
func TestNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	disk, err := OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	overlay := &Overlay{file: disk}
	all := map[string]func() error{"file": file.Named, "disk": disk.Named, "overlay": overlay.Named}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	for name, of := range all {
		if err := of(); err != nil {
			t.Errorf("%s that was renamed: %v", name, err)
		}
	}
	if err := os.Remove(path + ".moved"); err != nil {
		t.Fatal(err)
	}
	for name, of := range all {
		if err := of(); !errors.Is(err, ErrDeleted) {
			t.Errorf("%s that was deleted: %v", name, err)
		}
	}
	if again := (&Disk{file: disk.file, named: hasName(disk.file)}); again.Named() != nil {
		t.Errorf("one without a name from the beginning: %v", again.Named())
	}
}
