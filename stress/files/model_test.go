package files

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/oracle"
)

// TestModel does many random operations on each form of image and compares the whole tree with the model's, as it is
// and after a remount; then e2fsck looks.
func TestModel(t *testing.T) {
	steps := wanted("VARVE_MODEL_STEPS", 500)
	seed := uint64(wanted("VARVE_MODEL_SEED", int(time.Now().UnixNano()>>20)))
	for _, f := range slices.Concat(crashForms, largeForms) {
		t.Run(f.name, func(t *testing.T) {
			image := f.image(t)
			ram, open := f.device(image)
			w, err := NewWorkload(ram, open, f.opts, seed, nil)
			if err != nil {
				t.Fatal(err)
			}
			again := fmt.Sprintf("repeat with: VARVE_MODEL_SEED=%d VARVE_MODEL_STEPS=%d "+
				"go test -run 'TestModel/%s' ./stress/files", seed, steps, f.name)
			compare := func() {
				t.Helper()
				got, err := LiveTree(w.w)
				if err == nil {
					err = Same(w.Model.Now(), got)
				}
				if err != nil {
					t.Fatalf("after %v: %v\n%s", w.Did[max(0, len(w.Did)-wanted("VARVE_MODEL_LAST", 6)):], err, again)
				}
			}
			for i := range steps {
				if err := w.Step(); err != nil {
					t.Fatalf("after %v: %v\n%s", w.Did[max(0, len(w.Did)-wanted("VARVE_MODEL_LAST", 6)):], err, again)
				}
				if i%wanted("VARVE_MODEL_EVERY", 50) == 0 {
					compare()
				}
				w.Model.States = w.Model.States[len(w.Model.States)-1:]
			}
			if err := w.Remount(); err != nil {
				t.Fatal(err)
			}
			compare()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "image")
			closed := blockcache.Device(ram)
			if x := f.explorer(image, seed, ""); x.Image != nil {
				if closed, err = x.Image(NewMedium(ram.Bytes())); err != nil {
					t.Fatal(err)
				}
			}
			if err := writeFile(path, closed); err != nil {
				t.Fatal(err)
			}
			oracle.Clean(t, path)
		})
	}
}
