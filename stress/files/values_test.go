package files

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// values gives files attributes in inodes of their own: shared ones, replaced ones, and more in a file that is removed
// than one transaction frees.
func values(w *Workload) error {
	w.closed = false // some files are removed while they are open: orphans with values
	unit := 3 * int(w.w.Superblock().BlockSize)
	for i := range 3 {
		p := fmt.Sprintf("/f%d", i)
		steps := []func() error{func() error { return w.Create(p, 'f', "") }}
		for k := range 1 + 5*i {
			steps = append(steps, func() error {
				return w.SetXattr(p, fmt.Sprintf("user.%d", k), strings.Repeat(fmt.Sprint(k%6), unit+k%6))
			})
		}
		steps = append(steps,
			func() error { return w.Sync("") },
			func() error { return w.SetXattr(p, "user.0", strings.Repeat("r", unit)) },
			func() error { return w.SetXattr(p, "user.1", "") },
			func() error { return w.SetXattr(p, "user.0", "short") },
			func() error { return w.Write(p, 0, w.content(3000)) },
			func() error { return w.Sync("") },
			func() error { return w.SetXattr(p, "user.0", strings.Repeat("0", unit)) },
		)
		if i%2 == 0 {
			steps = append(steps, func() error { return w.Remove(p) }, func() error { return w.Sync("") })
		}
		for _, step := range steps {
			if err := ignoreFull(step()); err != nil {
				return err
			}
		}
	}
	for _, p := range w.Model.Now().paths("f") {
		if err := w.Remove(p); err != nil {
			return err
		}
	}
	return w.Sync("")
}

// TestCrash_Values explores crash states of changes of attributes whose values lie in inodes of their own. No state has
// a value that nothing refers to, or a wrong count of references, to e2fsck and to the kernel.
func TestCrash_Values(t *testing.T) {
	i := slices.IndexFunc(crashForms, func(f form) bool { return f.name == "ea_inode" })
	variants := [][]string{{"-O", "quota"}, nil, {"-I", "128"}, {"-O", "^extent,^64bit,orphan_file"}}
	if wanted("VARVE_CRASH_FS_STATES", 0) == 0 {
		variants = variants[:2]
	}
	for _, more := range variants {
		f := crashForms[i]
		f.mkfs = append(slices.Clone(f.mkfs), more...)
		t.Run(strings.Join(more, " "), func(t *testing.T) {
			image := f.image(t)
			for seed := range uint64(wanted("VARVE_CRASH_FS_STATES", 0)/10000 + 1) {
				x := f.explorer(image, seed, t.TempDir())
				x.Fsck, x.Stop = 10, true
				if os.Geteuid() == 0 && !slices.Contains(more, "quota") { // few kernels know quotas
					x.Kernel, x.Mount = 60, func(path string) (State, error) { return kernelTree(t, path) }
				}
				tr, m, err := f.script(image, seed, values)
				if err != nil {
					t.Fatal(err)
				}
				err = x.Explore(f.before(image), tr, m, fmt.Sprintf("seed %d", seed))
				if err != nil && !errors.Is(err, errEnough) {
					t.Fatal(err)
				}
				for _, e := range x.Failed {
					t.Fatal(e)
				}
				t.Logf("seed %d: %d states, %d by e2fsck, %d by the kernel", seed, x.States, x.Judged, x.Mounted)
			}
		})
	}
}
