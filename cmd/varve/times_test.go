package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// setTimes sets times of new files in a directory to those at the limits of both sizes of inodes.
func setTimes(t *testing.T, dir string) {
	t.Helper()
	const last = 1<<34 - 1<<31 - 1 // of an inode with room for two more bits and the nanoseconds: 2446
	for i, sec := range []int64{
		0, 1, -1, 1<<31 - 2, 1<<31 - 1, 1 << 31, 1 << 33, -1 << 31, -1<<31 + 1, -1<<31 - 1, -1 << 40,
		last - 1, last, last + 1, 1 << 40,
	} {
		for _, nsec := range []int64{0, 1, 123456789, 999999999} {
			p := filepath.Join(dir, fmt.Sprint(i, "-", nsec))
			if err := os.WriteFile(p, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			times := []unix.Timespec{{Sec: sec, Nsec: nsec}, {Sec: -sec, Nsec: 999999999 - nsec}}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, times, 0); err != nil {
				t.Errorf("%d.%09d: %v", sec, nsec, err)
			}
		}
	}
}

// timesOf are the times of access and of modification of what is in a directory.
func timesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	paths, err := filepath.Glob(filepath.Join(dir, "*-*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(p)] = fmt.Sprint(st.Atim, st.Mtim)
	}
	return out
}

// TestRW_TimesAtLimits: times that an inode of 128 or of 256 bytes cannot have are cut as by the kernel, as they are
// set and when they are read from the image.
func TestRW_TimesAtLimits(t *testing.T) {
	oracle.NeedRoot(t)
	for _, size := range []string{"128", "256"} {
		t.Run(size, func(t *testing.T) {
			image, other := rwImage(t, "16M", "-I", size), rwImage(t, "16M", "-I", size)
			kernel, _ := oracle.MountKernel(t, other, "rw")
			dir, unmount := mountImage(t, image, "-o", "rw")
			setTimes(t, kernel)
			setTimes(t, dir)
			want := timesOf(t, kernel)
			compare := func(when, dir string) {
				t.Helper()
				for name, got := range timesOf(t, dir) {
					if got != want[name] {
						t.Errorf("%s, %s: %s, with the kernel %s", when, name, got, want[name])
					}
				}
			}
			compare("on the mount", dir)
			unmount()
			oracle.Clean(t, image)
			after, _ := oracle.MountKernel(t, image, "ro")
			compare("read by the kernel", after)
		})
	}
}
