package importer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// plain is an archive without its compression.
type plain struct {
	io.Reader
	compressed bool
	close      func()
}

func (p plain) Close() {
	if p.close != nil {
		p.close()
	}
}

// verify reads what is behind an archive's end, up to the checksum of what was read.
func (p plain) verify(ctx context.Context) error {
	if !p.compressed {
		return nil
	}
	_, err := io.Copy(io.Discard, contentsReader{ctx, p.Reader})
	if errors.Is(err, gzip.ErrHeader) {
		return nil // padding, or another file, behind a whole one
	}
	return err
}

// decompress reads through the compression that the first bytes say.
func decompress(r io.Reader) (plain, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return plain{}, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return plain{}, fmt.Errorf("the archive: %w", err)
		}
		return plain{Reader: z, compressed: true}, nil
	case bytes.HasPrefix(magic, []byte("BZh")):
		return plain{Reader: bzip2.NewReader(b), compressed: true}, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return plain{}, fmt.Errorf("the archive: %w", err)
		}
		return plain{Reader: z, compressed: true, close: z.Close}, nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X'}):
		return plain{}, errors.New("the archive is compressed with xz: pipe it through xz -dc")
	}
	return plain{Reader: b}, nil
}
