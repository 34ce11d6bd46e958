package jbd2_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"

	"github.com/varvefs/varve/ondisk/jbd2"
)

// A log is a chain of transactions: descriptors, each with the blocks that it names behind it, and a commit.
func ExampleDecodeSuperblock() {
	f, err := os.Open("testdata/log.gz")
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
	log, err := io.ReadAll(z)
	if err != nil {
		fmt.Println(err)
		return
	}
	super, err := jbd2.DecodeSuperblock(log)
	if err != nil {
		fmt.Println(err)
		return
	}
	size, at := int(super.BlockSize), int(super.Start)
	for at < len(log)/size {
		p := log[at*size:][:size]
		h, ok := jbd2.DecodeHeader(p)
		if !ok {
			break // the end of the log
		}
		at++
		switch h.Type {
		case jbd2.TypeDescriptor:
			tags, err := super.DecodeDescriptor(h.Sequence, p)
			if err != nil {
				fmt.Println(err)
				return
			}
			at += len(tags)
			fmt.Printf("transaction %d: %d blocks\n", h.Sequence, len(tags))
		case jbd2.TypeCommit:
			fmt.Printf("transaction %d: commit\n", h.Sequence)
		}
	}
	// Output:
	// transaction 2: 10 blocks
	// transaction 2: commit
	// transaction 3: commit
	// transaction 4: 9 blocks
	// transaction 4: commit
	// transaction 5: commit
}
