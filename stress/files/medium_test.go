package files

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/varvefs/varve/blockcache"
)

// TestMedium does random writes on media and their copies, and compares each with bytes that are not shared: contents,
// and sums, which are equal where the contents are.
func TestMedium(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	start := make([]byte, 5*leafSize+100)
	for i := range start {
		start[i] = byte(rng.Uint32())
	}
	media, plain := []*Medium{NewMedium(start), NewMedium(nil)}, [][]byte{bytes.Clone(start), nil}
	for range 2000 {
		i := rng.IntN(len(media))
		if rng.IntN(8) == 0 {
			to := rng.IntN(12)
			if to >= len(media) {
				media, plain = append(media, nil), append(plain, nil)
				to = len(media) - 1
			}
			media[to], plain[to] = media[i].Clone(), bytes.Clone(plain[i])
			continue
		}
		e := blockcache.Event{Offset: rng.Int64N(7 * leafSize), Data: make([]byte, 1+rng.IntN(2*leafSize))}
		for k := range e.Data {
			e.Data[k] = byte(rng.Uint32())
		}
		bits := rng.Uint64()
		keep := func(k int) bool { return bits>>k&1 == 1 }
		media[i].Apply(e, keep)
		plain[i] = e.Apply(plain[i], keep)
	}
	for i, m := range media {
		got := make([]byte, len(plain[i])+1)
		n, err := m.ReadAt(got, 0)
		if !errors.Is(err, io.EOF) || m.Size() != int64(len(plain[i])) || !bytes.Equal(got[:n], plain[i]) {
			t.Errorf("medium %d of %d bytes: %d read, %v; want %d bytes", i, m.Size(), n, err, len(plain[i]))
		}
		for j, o := range media {
			if got, want := m.Sum() == o.Sum(), bytes.Equal(plain[i], plain[j]); got != want {
				t.Errorf("media %d and %d: sums equal %v, contents equal %v", i, j, got, want)
			}
		}
	}
}
