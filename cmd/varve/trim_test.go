package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// trimmed is what fstrim(8) says, without the name of the mount: how many bytes, or why not.
func trimmed(dir string, args ...string) string {
	return strings.ReplaceAll(strings.TrimSpace(outputOf("fstrim", append([]string{"-v", dir}, args...)...)), dir, "DIR")
}

// outputOf is what a program prints, whether it succeeds or not.
func outputOf(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return err.Error()
	}
	return string(out)
}

// TestTrim_Kernel: fstrim(8) trims as many bytes as on the kernel's ext4, leaves holes in the image, and files as they
// are.
func TestTrim_Kernel(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	oracle.Need(t, "fstrim")
	for _, form := range [][]string{
		{"-b", "4096"},
		{"-b", "1024"},
		{"-b", "1024", "-O", "^flex_bg,^uninit_bg", "-g", "1024"},
		{"-b", "1024", "-O", "bigalloc", "-C", "16384"},
	} {
		t.Run(fmt.Sprint(form), func(t *testing.T) {
			image := rwImage(t, "64M", form...)
			dir, unmount := oracle.MountKernel(t, image, "rw")
			for i := range 40 {
				name := filepath.Join(dir, fmt.Sprint("f", i))
				fatal(t, os.WriteFile(name, []byte(strings.Repeat(fmt.Sprint(i), 50000)), 0o644))
			}
			for i := range 20 {
				fatal(t, os.Remove(filepath.Join(dir, fmt.Sprint("f", 2*i))))
			}
			unmount()
			copied := oracle.Copy(t, image)
			fill(t, image)
			for _, ranges := range [][][]string{
				{{"-o", "70M"}, {"-l", "100"}, {"-m", "1G"}, {"-o", "5M", "-l", "10M"}, {}, {}},
				{{"-m", "1M"}, {}}, // since another mount nothing is known to be trimmed
			} {
				kernel, unmount := oracle.MountKernel(t, copied, "rw")
				mount, umount := mountImage(t, image, "--rw", "-o", "noatime")
				for _, r := range ranges {
					if got, want := trimmed(mount, r...), trimmed(kernel, r...); got != want {
						t.Errorf("fstrim %v of %v: %s, expected %s", r, ranges, got, want)
					}
				}
				oracle.Compare(t, "the kernel", oracle.Tree(t, kernel), "varve", oracle.Tree(t, mount))
				umount()
				unmount()
			}
			oracle.Clean(t, image)
			var st unix.Stat_t
			fatal(t, unix.Stat(image, &st))
			if st.Blocks*512 > 24<<20 {
				t.Errorf("the image still takes %d bytes", st.Blocks*512)
			}
		})
	}
}

// fill writes zeros into all holes of an image.
func fill(t *testing.T, image string) {
	t.Helper()
	data, err := os.ReadFile(image)
	fatal(t, err)
	fatal(t, os.WriteFile(image, data, 0o600))
}

// TestTrim_Refused: who may not trim, and where nothing can be trimmed.
func TestTrim_Refused(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	oracle.Need(t, "fstrim", "setpriv")
	image := rwImage(t, "16M")
	dir, umount := mountImage(t, image, "--rw", "-o", "noatime")
	weak := outputOf("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "fstrim", "-v", dir)
	if !strings.Contains(weak, "not permitted") {
		t.Errorf("without CAP_SYS_ADMIN: %s", weak)
	}
	umount()
	overlay := filepath.Join(t.TempDir(), "overlay")
	dir, umount = mountImage(t, image, "--overlay", overlay)
	if got := trimmed(dir); !strings.Contains(got, "not supported") {
		t.Errorf("on an overlay: %s", got)
	}
	umount()
	dir, _ = mountImage(t, image, "-o", "ro")
	if got := trimmed(dir); !strings.Contains(got, "Read-only") {
		t.Errorf("read-only: %s", got)
	}
}

// TestTrim_Device: on a block device free blocks are discarded, which a loop device turns into holes.
func TestTrim_Device(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	oracle.Need(t, "fstrim")
	image := rwImage(t, "16M")
	fill(t, image)
	device, detach := oracle.Loop(t, image)
	dir, umount := mountImage(t, device, "--rw")
	if got := trimmed(dir); !strings.Contains(got, "trimmed") || strings.Contains(got, "(0 bytes)") {
		t.Error(got)
	}
	umount()
	detach()
	oracle.Clean(t, image)
	var st unix.Stat_t
	fatal(t, unix.Stat(image, &st))
	if st.Blocks*512 > 8<<20 {
		t.Errorf("the image still takes %d bytes", st.Blocks*512)
	}
}
