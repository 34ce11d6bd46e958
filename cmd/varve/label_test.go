package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
)

// askLabel has perl(1) get the label of a file system by ioctl, or set it where there is one more argument: the answer
// is the label, or the error. The user is root, or root without CAP_SYS_ADMIN.
func askLabel(t *testing.T, user, dir string, set ...string) string {
	t.Helper()
	const program = `open(F, "<", $ARGV[0]) or die; my $b = @ARGV > 1 ? $ARGV[1] : "";
		$b .= "\0" x (256 - length $b);
		ioctl(F, @ARGV > 1 ? 0x41009432 : 0x81009431, $b) or do { print "error $!"; exit };
		print @ARGV > 1 ? "set" : unpack("Z*", $b)`
	args := append([]string{"perl", "-e", program, dir}, set...)
	if user != "root" {
		args = append([]string{"setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"}, args...)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestLabel_Kernel: the label of a mount is returned and set as by the kernel's ext4, in all copies of the superblock.
func TestLabel_Kernel(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	oracle.Need(t, "perl", "setpriv", "dumpe2fs")
	image := rwImage(t, "64M", "-b", "1024", "-L", "before")
	other := oracle.Copy(t, image)
	const longest = "sixteen bytes..."
	steps := func(dir string) (out []string) {
		ask := func(user string, set ...string) { out = append(out, askLabel(t, user, dir, set...)) }
		ask("weak")
		ask("weak", "mine")
		ask("root", longest+"x")
		ask("root", longest)
		ask("weak")
		ask("root", "")
		ask("root")
		ask("root", "after")
		return out
	}
	kernel, unmount := oracle.MountKernel(t, other, "rw")
	want := steps(kernel)
	unmount()
	dir, umount := mountImage(t, image, "--rw")
	got := steps(dir)
	umount()
	if g, w := strings.Join(got, "|"), strings.Join(want, "|"); g != w {
		t.Errorf("%s, expected %s", g, w)
	}
	oracle.Clean(t, image)
	for _, at := range []string{"1", "8193", "24577"} {
		out := oracle.MustRun(t, "dumpe2fs", "-h", "-o", "superblock="+at, "-o", "blocksize=1024", image)
		if !strings.Contains(out, "after") {
			t.Errorf("the superblock in block %s has another label:\n%s", at, out)
		}
	}
	kernel, _ = oracle.MountKernel(t, other, "ro")
	dir, _ = mountImage(t, image, "-o", "ro")
	for _, user := range []string{"root", "weak"} {
		if g, w := askLabel(t, user, dir, "x"), askLabel(t, user, kernel, "x"); g != w {
			t.Errorf("%s sets a label on a read-only mount: %s, expected %s", user, g, w)
		}
	}
	if g := askLabel(t, "weak", dir); g != "after" {
		t.Errorf("the label is %q", g)
	}
}
