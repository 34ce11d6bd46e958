package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/mutant"
)

// Share locks the image of a volume that a mount only reads: a mount that writes to it is refused, in either order. So
// is one of the kernel's that writes to it through a loop device. A Spec with NoLock is not checked.
func (v *Volume) Share(s Spec) error {
	if s.NoLock || mutant.Off(mutant.ImageShared) {
		return nil
	}
	for _, f := range v.files {
		if image, ok := f.(*blockcache.File); ok {
			if err := image.Share(); err != nil {
				return fmt.Errorf(
					"%s: %w: unmount it there first, or mount with no_lock, and what is read may be wrong",
					s.Image,
					err,
				)
			}
			break // the image comes first
		}
	}
	return refuseLoop(s, true)
}

// refuseLoop refuses an image that the kernel has mounted through a loop device: for writing, or at all where this
// mount writes.
func refuseLoop(s Spec, reading bool) error {
	if s.NoLock || mutant.Off(mutant.LoopMounted) {
		return nil
	}
	dir, writes := loopMount(s.Image)
	if dir == "" || reading && !writes {
		return nil
	}
	return fmt.Errorf(
		"%s: %w: the kernel has it mounted at %s, through a loop device: unmount it there first, or mount with no_lock",
		s.Image,
		ErrInUse,
		dir,
	)
}

// loopMount finds where the kernel has an image mounted through a loop device, and whether it may write to it (sysfs,
// Documentation/ABI, "backing_file").
func loopMount(image string) (dir string, writes bool) {
	own, err := os.Stat(image)
	if err != nil {
		return "", false
	}
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range backing {
		name, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if info, err := os.Stat(strings.TrimSuffix(string(name), "\n")); err != nil || !os.SameFile(own, info) {
			continue
		}
		loop := filepath.Dir(filepath.Dir(file))
		numbers, _ := filepath.Glob(filepath.Join(loop, "*", "dev")) // its partitions
		for _, n := range append(numbers, filepath.Join(loop, "dev")) {
			if at, rw := mountOf(n); at != "" && (dir == "" || rw) {
				dir, writes = at, rw
			}
		}
	}
	return dir, writes
}

// mountOf finds the mount of the block device whose number is in a file of sysfs.
func mountOf(file string) (dir string, writes bool) {
	number, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[2] != strings.TrimSpace(string(number)) {
			continue
		}
		options := strings.Split(fields[len(fields)-1], ",")
		return fields[4], options[0] == "rw"
	}
	return "", false
}
