package files

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/oracle"
)

// TestCrash_Random explores crash states of random workloads on each form of image.
func TestCrash_Random(t *testing.T) {
	want := wanted("VARVE_CRASH_FS_STATES", 700) / len(crashForms)
	base := uint64(wanted("VARVE_CRASH_SEED", int(time.Now().UnixNano()>>20)))
	for _, f := range crashForms {
		t.Run(f.name, func(t *testing.T) {
			image := f.image(t)
			x := f.explorer(image, base, t.TempDir())
			x.Fsck, x.Stop, x.Limit = wanted("VARVE_CRASH_FSCK", 10), true, want
			if os.Geteuid() == 0 && f.kernel() {
				x.Kernel, x.Mount = wanted("VARVE_CRASH_KERNEL", 100), func(path string) (State, error) {
					return kernelTree(t, path)
				}
			}
			for seed := base; x.States < want; seed++ {
				tr, m, err := f.record(image, seed, 60)
				if err == nil {
					err = x.Explore(f.before(image), tr, m, fmt.Sprintf("seed %d", seed))
				}
				if err != nil && !errors.Is(err, errEnough) {
					t.Fatalf("seed %d: %v\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_Random/%s' ./stress/files", seed,
						err, seed, f.name)
				}
				for _, e := range x.Failed {
					t.Fatalf("%s\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_Random/%s' ./stress/files", e, seed, f.name)
				}
			}
			fmt.Printf("%s: %d states, %d by e2fsck, %d by the kernel: %v\n", f.name, x.States, x.Judged, x.Mounted, x.Classes)
		})
	}
}

// kernelTree mounts an image with the kernel's ext4, which replays its journal, and reads its tree.
func kernelTree(t testing.TB, path string) (State, error) {
	dir, unmount := oracle.MountKernel(t, path, "rw")
	defer unmount()
	return DirTree(dir)
}
