package ext4_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
)

// exampleImage is a small image made by mkfs.ext4, unpacked into memory.
func exampleImage() blockcache.Memory {
	f, err := os.Open("../ondisk/ext4/testdata/csum.img.gz")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		log.Fatal(err)
	}
	image, err := io.ReadAll(z)
	if err != nil {
		log.Fatal(err)
	}
	return image
}

// Open takes any io.ReaderAt: an *os.File, a block device, or bytes in memory.
func ExampleOpen() {
	fsys, err := ext4.Open(exampleImage(), ext4.Options{})
	if err != nil {
		log.Fatal(err)
	}
	n, err := fsys.Resolve("/link", false)
	if err != nil {
		log.Fatal(err)
	}
	target, err := n.Readlink()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(fsys.Superblock().Label, "has a symlink to", target)
	_, err = fsys.Resolve("/no/such/file", true)
	fmt.Println(errors.Is(err, ext4.ErrNotExist))
	// Output:
	// golden has a symlink to target
	// true
}

// IOFS is the file system for everything that takes an io/fs one.
func ExampleFS_IOFS() {
	fsys, err := ext4.Open(exampleImage(), ext4.Options{})
	if err != nil {
		log.Fatal(err)
	}
	contents, err := fs.ReadFile(fsys.IOFS(), "file")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", contents)
	names, err := fs.Glob(fsys.IOFS(), "indexed/1*")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(names), "names begin with 1")
	// Output:
	// file
	// 11 names begin with 1
}

// Map and SeekData find where a file's data is, without reading it.
func ExampleInode_Map() {
	fsys, err := ext4.Open(exampleImage(), ext4.Options{})
	if err != nil {
		log.Fatal(err)
	}
	n, err := fsys.Resolve("extents", true)
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range []ext4.FileBlock{0, 1, 2} {
		run, err := n.Map(b)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(b, run.Kind == ext4.Data, run.Len)
	}
	// Output:
	// 0 true 1
	// 1 false 1
	// 2 true 1
}

// An extended attribute is read by the name that getxattr(2) knows.
func ExampleInode_Xattr() {
	fsys, err := ext4.Open(exampleImage(), ext4.Options{})
	if err != nil {
		log.Fatal(err)
	}
	n, err := fsys.Resolve("extents", true)
	if err != nil {
		log.Fatal(err)
	}
	value, err := n.Xattr("user.small")
	fmt.Printf("%s %v\n", value, err)
	// Output: small <nil>
}

// A Writable needs a store below it: package volume gives it one, over any device. Each call is a transaction.
func ExampleWritable() {
	w, err := volume.OpenOn(blockcache.NewRAM(exampleImage()), volume.WriteOptions{})
	if err != nil {
		log.Fatal(err)
	}
	alice := ext4.Cred{UID: 1000, GID: 1000}
	n, err := w.Create(alice, ext4.Root, "hello", ext4.CreateOptions{Mode: 0o100644, Umask: 0o022})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := w.Write(alice, ext4.NodeOf(&n), 0, []byte("hello, ext4\n"), true); err != nil {
		log.Fatal(err)
	}
	_, err = w.Rename(alice, ext4.Root, "hello", ext4.Root, "file", ext4.RenameNoReplace)
	fmt.Println(errors.Is(err, ext4.ErrExists))
	err = w.View(func(fsys *ext4.FS) error {
		contents, err := fsys.IOFS().ReadFile("hello")
		fmt.Printf("%s", contents)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil { // all is durable
		log.Fatal(err)
	}
	// Output:
	// true
	// hello, ext4
}
