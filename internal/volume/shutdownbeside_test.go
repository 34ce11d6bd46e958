package volume_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// TestShutdown_Beside shuts a file system down beside eight writers with fsync, checkpoints and trims, and beside its
// unmounting. From then on the image stays as it is; the next mount has what was acknowledged, and e2fsck finds
// nothing.
func TestShutdown_Beside(t *testing.T) {
	for how := ext4.ShutdownSync; how <= ext4.ShutdownCut; how++ {
		t.Run(fmt.Sprint("flags ", how), func(t *testing.T) {
			image := must[[]byte](t)(os.ReadFile(mkfs(t, "24M", "-t", "ext4", "-b", "1024", "-J", "size=1")))
			ram := blockcache.NewRAM(image)
			writers := make([]*appender, 8)
			for i := range writers {
				writers[i] = &appender{name: fmt.Sprint("w", i), rng: rand.New(rand.NewPCG(uint64(how), uint64(i)))}
			}
			for round := range 4 {
				w := must[*volume.Writable](t)(volume.OpenOn(ram, volume.WriteOptions{Commit: 5 * time.Millisecond}))
				var wg sync.WaitGroup
				for _, a := range writers {
					a.check(t, w, round)
					wg.Go(func() { a.run(w) })
				}
				wg.Go(func() { trimUntil(w) })
				wg.Go(func() {
					for w.Store.Checkpoint() == nil {
					}
				})
				time.Sleep(time.Duration(5+10*round) * time.Millisecond)
				if round == 3 {
					wg.Go(func() { _ = w.Close() })
				}
				if err := w.Shutdown(how); err != nil && round < 3 {
					t.Errorf("round %d: %v", round, err)
				}
				after := bytes.Clone(ram.Bytes())
				wg.Wait()
				if err := w.Close(); err != nil && round < 3 {
					t.Errorf("round %d, unmounting: %v", round, err)
				}
				if !bytes.Equal(after, ram.Bytes()) {
					t.Errorf("round %d: the image was written to after the shutdown", round)
				}
			}
			w := must[*volume.Writable](t)(volume.OpenOn(ram, volume.WriteOptions{}))
			for _, a := range writers {
				a.check(t, w, 4)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(path, ram.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
		})
	}
}
