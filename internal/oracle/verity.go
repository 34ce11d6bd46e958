package oracle

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/ext4"
)

// Verity puts a file under verity into an image, at its root: fsverity(1) computes the Merkle tree and the descriptor,
// debugfs writes them behind the contents, as the kernel lays them out. options are those of fsverity digest. It gives
// the digest that fsverity printed, and the size of the file with its tree and descriptor.
func Verity(t testing.TB, image, name string, contents []byte, options ...string) (digest string, whole int) {
	t.Helper()
	Need(t, "fsverity", "debugfs", "tune2fs")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fatal(os.WriteFile(at("contents"), contents, 0o644))
	args := append([]string{"digest", "--compact", "--out-merkle-tree=" + at("tree"),
		"--out-descriptor=" + at("descriptor")}, options...)
	digest = strings.TrimSpace(MustRun(t, "fsverity", append(args, at("contents"))...))
	tree, err := os.ReadFile(at("tree"))
	fatal(err)
	descriptor, err := os.ReadFile(at("descriptor"))
	fatal(err)
	fileBlock := blockSize(t, image)
	up := func(n, to int) int { return (n + to - 1) / to * to }
	p := make([]byte, up(len(contents), 1<<16))
	copy(p, contents)
	p = append(p, tree...)
	p = append(p, make([]byte, up(len(p), fileBlock)-len(p))...)
	end := up(len(p)+len(descriptor)+4, fileBlock)
	p = append(p, descriptor...)
	p = append(p, make([]byte, end-len(p))...)
	binary.LittleEndian.PutUint32(p[end-4:], uint32(len(descriptor)))
	fatal(os.WriteFile(at("whole"), p, 0o644))
	fatal(os.WriteFile(at("script"), fmt.Appendf(nil,
		"write %s %s\nset_inode_field %s size %d\nset_inode_field %s flags 0x180000\n",
		at("whole"), name, name, len(contents), name), 0o644))
	MustRun(t, "debugfs", "-w", "-f", at("script"), image)
	return digest, len(p)
}

func blockSize(t testing.TB, image string) int {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	super, err := ext4.ReadSuperblock(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	return int(super.BlockSize)
}
