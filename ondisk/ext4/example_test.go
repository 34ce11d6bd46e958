package ext4_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"

	"github.com/varvefs/varve/ondisk/ext4"
)

// An image's superblock gives the places of all else: here of inode 2, the root directory.
func ExampleDecodeSuperblock() {
	f, err := os.Open("testdata/csum.img.gz")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		fmt.Println(err)
		return
	}
	image, err := io.ReadAll(z)
	if err != nil {
		fmt.Println(err)
		return
	}
	super, err := ext4.DecodeSuperblock(image[ext4.SuperblockOffset:])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %q: %d blocks of %d bytes\n", super.Kind(), super.Label, uint64(super.Blocks), super.BlockSize)

	group, nth, offset := super.InodeBlock(ext4.RootIno)
	n, at := super.DescBlock(group)
	desc, err := super.DecodeGroupDesc(group, image[super.BlockSize.Offset(n)+int64(at):])
	if err != nil {
		fmt.Println(err)
		return
	}
	slot := image[super.BlockSize.Offset(desc.InodeTable+nth)+int64(offset):][:super.InodeSize]
	var root ext4.Inode
	if err := super.DecodeInode(&root, ext4.RootIno, slot); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("the root has mode %o and %d links\n", root.Mode, root.Links)
	// Output:
	// ext4 "golden": 1024 blocks of 1024 bytes
	// the root has mode 40755 and 4 links
}
