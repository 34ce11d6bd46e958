package volume_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// slowReader holds a snapshot while writers overwrite more than there is memory for. When they wait for it, it ends. It
// returns what the writers got, and whom the store's statistics named meanwhile.
func slowReader(t testing.TB, w *volume.Writable) (named string, err error) {
	t.Helper()
	const size, writers = 1 << 20, 4
	var nodes []ext4.Node
	for i := range writers {
		nodes = append(nodes, mkfile(t, w, ext4.Root, fmt.Sprint("file", i), make([]byte, size)))
	}
	reading, release := make(chan struct{}), make(chan struct{})
	read := make(chan error, 1)
	go func() {
		read <- w.ViewNamed("a slow reader", func(fs *ext4.FS) error {
			close(reading)
			<-release
			return fs.CheckRoot()
		})
	}()
	<-reading
	results := make(chan error, writers)
	for _, n := range nodes {
		go func() {
			data := make([]byte, 64<<10)
			for at := int64(0); at < 3*size; at += int64(len(data)) {
				data[0] = byte(at >> 16)
				if _, err := w.Write(root, n, at%size, data, false); err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	for until := time.Now().Add(20 * time.Second); named != "a slow reader" && len(results) < writers &&
		time.Now().Before(until); time.Sleep(time.Millisecond) {
		named = w.Store.Stats().WaitingFor
	}
	time.Sleep(100 * time.Millisecond)
	if named != "" && len(results) == writers {
		t.Error("no writer waits any more, and the reader is not done")
	}
	close(release)
	errs := []error{<-read}
	for range writers {
		errs = append(errs, <-results)
	}
	return named, errors.Join(errs...)
}

// slowReaders are the forms of volumes in which the contents of files have versions.
var slowReaders = map[string]func(t testing.TB, path string) (*volume.Writable, error){
	"data=journal": func(_ testing.TB, path string) (*volume.Writable, error) {
		return volume.OpenWritable(volume.Spec{Image: path}, volume.WriteOptions{JournalData: true, Memory: 4 << 20})
	},
	"overlay": func(t testing.TB, path string) (*volume.Writable, error) {
		return volume.OpenOverlay(
			volume.Spec{Image: path},
			filepath.Join(t.TempDir(), "overlay"),
			volume.WriteOptions{JournalData: true, Memory: 4 << 20},
		)
	},
}

// TestSlowReader: a reader that takes long makes writers wait, and never fail, where contents have versions; statistics
// name it.
func TestSlowReader(t *testing.T) {
	for name, open := range slowReaders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := mkfs(t, "64M", "-t", "ext4")
			w, err := open(t, path)
			if err != nil {
				t.Fatal(err)
			}
			if named, err := slowReader(t, w); err != nil || named != "a slow reader" {
				t.Errorf("writers waited for %q, and got %v", named, err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
		})
	}
}
