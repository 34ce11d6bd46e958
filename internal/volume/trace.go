package volume

import (
	"bufio"
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/block"
)

// trace writes down which metadata blocks are asked for, in order: a file of 64-bit little-endian numbers, to replay
// through caches (make bench-cache).
type trace struct {
	below ext4.Blocks

	mu   sync.Mutex // guards the rest
	file *os.File
	w    *bufio.Writer
}

func newTrace(s Spec, below ext4.Blocks) (*trace, error) {
	if err := s.Spare(s.Trace); err != nil {
		return nil, err
	}
	f, err := os.Create(s.Trace)
	if err != nil {
		return nil, err
	}
	return &trace{below: below, file: f, w: bufio.NewWriter(f)}, nil
}

// ReadBlock notes the block and passes the request on.
func (t *trace) ReadBlock(n block.Number) ([]byte, error) {
	t.mu.Lock()
	_, err := t.w.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return t.below.ReadBlock(n)
}

// Close writes out the buffered rest.
func (t *trace) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.w.Flush(), t.file.Close())
}
