package mvcc

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// codec is how the bytes of a delta are packed.
type codec uint8

const (
	plain codec = iota
	packS2
	packZstd
)

// maxDelta bounds what a packed delta may unpack to: a block, and a range for each second byte of it.
const maxDelta = 1 << 20

// zstdCoder is shared: EncodeAll and DecodeAll may be called concurrently.
var zstdCoder = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	e, err1 := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	d, err2 := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDelta))
	if err1 != nil || err2 != nil {
		panic(fmt.Sprint("mvcc: zstd options: ", err1, err2))
	}
	return e, d
})

func (c codec) unpack(b []byte) ([]byte, error) {
	switch c {
	case packS2:
		return s2.Decode(nil, b)
	case packZstd:
		_, d := zstdCoder()
		return d.DecodeAll(b, nil)
	}
	return b, nil
}

// pack packs plain bytes, or reports that it does not pay: at least an eighth must go.
func (c codec) pack(b []byte) ([]byte, bool) {
	var out []byte
	switch c {
	case packS2:
		out = s2.Encode(nil, b)
	case packZstd:
		e, _ := zstdCoder()
		out = e.EncodeAll(b, nil)
	}
	if len(out) > len(b)-len(b)/8 {
		return nil, false
	}
	return append(make([]byte, 0, len(out)), out...), true
}
