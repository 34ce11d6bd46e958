package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// rwMode is a form of image and a way to mount it read-write.
type rwMode struct {
	name    string
	mkfs    []string
	options string
	rare    bool // fio and dbench run in make soak-fs only
}

var rwModes = []rwMode{
	{"default", nil, "rw", false},
	{"data=journal, 1k" + syncfsOption(), []string{"-b", "1024"}, "rw,data=journal" + syncfsOption(), false},
	{"writeback cache", nil, "rw,writeback_cache", false},
	{"no_open, ea_inode", []string{"-O", "ea_inode"}, "rw,no_open", true},
	{"overlay without journal", []string{"-O", "^has_journal"}, "overlay=OVERLAY", false},
	{"no checksums, strict", []string{"-O", "^metadata_csum", "-b", "1024"}, "rw,policy=strict", true},
	{"overlay 1k wait writeback", []string{"-b", "1024"}, "overlay=OVERLAY,policy=wait,writeback_cache", true},
	{"64k blocks", []string{"-b", "65536"}, "rw", true},
	{"no journal, 1k", []string{"-O", "^has_journal", "-b", "1024"}, "rw", true},
	{"bigalloc, 1k", []string{"-O", "bigalloc", "-b", "1024", "-C", "16384"}, "rw", false},
	{"quotas", []string{"-O", "quota,project"}, "rw", false},
	{"data=journal, no checksums, adaptive", []string{"-O", "^metadata_csum"}, "rw,data=journal,policy=adaptive", false},
}

// kernelMkfs are the options for an image to compare with: most kernels mount no blocks of more than a page, and not
// all have quotas.
func (m rwMode) kernelMkfs() []string {
	if slices.Contains(m.mkfs, "65536") || slices.Contains(m.mkfs, "quota,project") {
		return nil
	}
	return m.mkfs
}

// syncfsOption is the option syncfs, where it can be had: it has a server of requests of its own.
func syncfsOption() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil || os.Geteuid() != 0 ||
		olderThan(unix.ByteSliceToString(u.Release[:]), 6, 18) {
		return ""
	}
	return ",syncfs"
}

// olderThan reports whether a release of the kernel is older than a version.
func olderThan(release string, major, minor int) bool {
	var a, b int
	_, err := fmt.Sscanf(release, "%d.%d", &a, &b)
	return err != nil || a < major || a == major && b < minor
}

// modes are the day's share of rwModes, or, with VARVE_RW_ALL=1, every combination of where changes go, cache, policy,
// block size and checksums: 96. Under the race detector, which makes them slow, there is one mode a day.
func modes() []rwMode {
	switch {
	case program.Race && os.Getenv("VARVE_RACE_ALL") != "1":
		return oracle.Share(0, 4, rwModes[:4])
	case program.Race: // the others run the same code
		return rwModes[:4]
	case os.Getenv("VARVE_RW_ALL") != "1":
		return oracle.Share(1, 3, rwModes)
	}
	all := []rwMode{{}}
	cross := func(choices ...rwMode) {
		var out []rwMode
		for _, m := range all {
			for _, c := range choices {
				out = append(
					out,
					rwMode{
						name:    strings.TrimPrefix(m.name+" "+c.name, " "),
						mkfs:    slices.Concat(m.mkfs, c.mkfs),
						options: strings.TrimPrefix(m.options+","+c.options, ","),
					},
				)
			}
		}
		all = out
	}
	for _, choices := range [][]rwMode{
		{{name: "ordered", options: "rw"}, {name: "journalled", options: "rw,data=journal"},
			{name: "overlay", options: "overlay=OVERLAY"}},
		{{name: "write-through", options: "async"}, {name: "writeback", options: "writeback_cache"}},
		{{name: "merge", options: "policy=merge"}, {name: "strict", options: "policy=strict"},
			{name: "wait", options: "policy=wait"}, {name: "adaptive", options: "policy=adaptive"}},
		{{name: "1k", mkfs: []string{"-b", "1024"}, options: "async"},
			{name: "4k", mkfs: []string{"-b", "4096"}, options: "async"}},
		{{name: "checksums", options: "async"},
			{name: "no checksums", mkfs: []string{"-O", "^metadata_csum"}, options: "async"}},
	} {
		cross(choices...)
	}
	return all
}

// mount mounts an image. Unmounting commits an overlay to the image.
func (m rwMode) mount(t *testing.T, image string) (dir string, unmount func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "overlay")
	dir, umount := mountImage(t, image, "-o", strings.Replace(m.options, "OVERLAY", file, 1))
	return dir, func() {
		umount()
		if strings.HasPrefix(m.options, "overlay") {
			must(t, "commit", image, file)
		}
	}
}

// inMode mounts an image, runs a test on it, unmounts, and has e2fsck look.
func inMode(t *testing.T, m rwMode, size string, run func(t *testing.T, dir string)) {
	t.Helper()
	image := rwImage(t, size, m.mkfs...)
	dir, unmount := m.mount(t, image)
	run(t, dir)
	unmount()
	oracle.Clean(t, image)
}

// TestRW_Posix runs go-fuse's POSIX tests in each mode.
func TestRW_Posix(t *testing.T) {
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			inMode(t, m, "128M", func(t *testing.T, dir string) {
				for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
					if name == "FcntlFlockLocksFile" {
						continue // expects locks of one process to conflict: they do on no local file system (fcntl(2))
					}
					t.Run(name, func(t *testing.T) {
						d := filepath.Join(dir, name)
						if err := os.Mkdir(d, 0o755); err != nil {
							t.Fatal(err)
						}
						posixtest.All[name](t, d)
					})
				}
			})
		})
	}
}

// TestRW_Tools does with a mount what people do: unpack, copy, link, remove, compare.
func TestRW_Tools(t *testing.T) {
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			source := t.TempDir()
			oracle.Fill(t, source, oracle.Filling{Wide: 300})
			kernel, _ := oracle.MountKernel(t, rwImage(t, "128M", m.kernelMkfs()...), "rw")
			image := rwImage(t, "128M", m.mkfs...)
			dir, unmount := m.mount(t, image)
			for _, to := range []string{kernel, dir} {
				oracle.MustRun(t, "cp", "-a", source+"/.", to)
			}
			want := shapeless(oracle.Tree(t, kernel))
			oracle.Compare(t, "the kernel", want, "the mount", shapeless(oracle.Tree(t, dir)), "times", "blocks")
			unmount()
			oracle.Clean(t, image)
			var after string
			if slices.Equal(m.kernelMkfs(), m.mkfs) {
				after, _ = oracle.MountKernel(t, image, "ro")
			} else {
				after, _ = mountImage(t, image)
			}
			oracle.Compare(t, "the kernel", want, "read again, on the image", shapeless(oracle.Tree(t, after)), "times",
				"blocks")
		})
	}
}

// shapeless leaves the sizes of directories out: where names are split over blocks depends on a random number of each
// image.
func shapeless(m oracle.Manifest) oracle.Manifest {
	for p, n := range m {
		if n.Mode&unix.S_IFMT == unix.S_IFDIR {
			n.Size = 0
			m[p] = n
		}
	}
	return m
}

// TestRW_Exerciser is an fsx: random reads, writes, truncates, punches, mapped writes and reopenings of one file, each
// checked against a copy in memory.
func TestRW_Exerciser(t *testing.T) {
	steps := 1000
	if n, err := strconv.Atoi(os.Getenv("VARVE_FSX_STEPS")); err == nil {
		steps = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("VARVE_FSX_SEED"), 10, 64); err == nil {
		seed = n
	}
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			inMode(t, m, "128M", func(t *testing.T, dir string) {
				x := &exerciser{rng: rand.New(rand.NewPCG(seed, 1)), path: filepath.Join(dir, "file")}
				for i := range steps {
					if err := x.step(); err != nil {
						t.Fatalf(
							"step %d: %v\nlast: %v\nrepeat with: VARVE_FSX_SEED=%d VARVE_FSX_STEPS=%d "+
								"go test -run 'TestRW_Exerciser/%s' ./cmd/varve",
							i,
							err,
							x.did[max(0, len(x.did)-8):],
							seed,
							steps,
							m.name,
						)
					}
				}
				x.file.Close()
			})
		})
	}
}

// exerciser is a file and what it must hold.
type exerciser struct {
	rng  *rand.Rand
	path string
	file *os.File
	want []byte
	did  []string
}

const exerciserMax = 300 << 10

func (x *exerciser) note(format string, args ...any) {
	x.did = append(x.did, fmt.Sprintf(format, args...))
}

func (x *exerciser) step() (err error) {
	r := x.rng
	if x.file == nil || r.IntN(60) == 0 {
		if x.file != nil {
			x.file.Close()
		}
		x.note("open")
		if x.file, err = os.OpenFile(x.path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
			return err
		}
	}
	off, n := r.IntN(exerciserMax), 1+r.IntN(40<<10)
	n = min(n, exerciserMax-off)
	switch k := r.IntN(100); {
	case k < 35:
		x.note("write %d at %d", n, off)
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		x.grow(off + n)
		copy(x.want[off:], p)
		_, err = x.file.WriteAt(p, int64(off))
	case k < 45:
		x.note("truncate to %d", off)
		if off < len(x.want) {
			x.want = x.want[:off:off]
		} else {
			x.grow(off)
		}
		err = x.file.Truncate(int64(off))
	case k < 53:
		x.note("punch %d at %d", n, off)
		x.clear(off, n)
		err = unix.Fallocate(int(x.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	case k < 58:
		x.note("zero %d at %d", n, off)
		x.clear(off, n)
		err = unix.Fallocate(int(x.file.Fd()), unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	case k < 62:
		x.note("allocate %d at %d", n, off)
		x.grow(off + n)
		err = unix.Fallocate(int(x.file.Fd()), 0, int64(off), int64(n))
	case k < 72:
		err = x.mapped(off, n)
	case k < 76:
		err = x.copyRange(off, n)
	case k < 80:
		x.note("sync")
		err = x.file.Sync()
	default:
		return x.read(off, n)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", x.did[len(x.did)-1], err)
	}
	if info, err := x.file.Stat(); err != nil || info.Size() != int64(len(x.want)) {
		return fmt.Errorf("after %s: size %d, expected %d: %v", x.did[len(x.did)-1], info.Size(), len(x.want), err)
	}
	return nil
}

func (x *exerciser) grow(n int) {
	if n > len(x.want) {
		x.want = append(x.want, make([]byte, n-len(x.want))...)
	}
}

func (x *exerciser) clear(off, n int) {
	if off < len(x.want) {
		clear(x.want[off:min(off+n, len(x.want))])
	}
}

func (x *exerciser) read(off, n int) error {
	x.note("read %d at %d", n, off)
	p := make([]byte, n)
	got, err := x.file.ReadAt(p, int64(off))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var want []byte
	if off < len(x.want) {
		want = x.want[off:min(off+n, len(x.want))]
	}
	if !bytes.Equal(p[:got], want) {
		for i := range min(got, len(want)) {
			if p[i] != want[i] {
				return fmt.Errorf("byte %d is 0x%02x, expected 0x%02x", off+i, p[i], want[i])
			}
		}
		return fmt.Errorf("read %d bytes at %d, expected %d", got, off, len(want))
	}
	return nil
}

// mapped writes through a shared mapping.
func (x *exerciser) mapped(off, n int) error {
	x.note("map %d at %d", n, off)
	if off >= len(x.want) {
		return nil
	}
	n = min(n, len(x.want)-off)
	start := off &^ 4095
	p, err := unix.Mmap(int(x.file.Fd()), int64(start), off-start+n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := range n {
		if p[off-start+i] != x.want[off+i] {
			err = fmt.Errorf("mapped byte %d is 0x%02x, expected 0x%02x", off+i, p[off-start+i], x.want[off+i])
			break
		}
		v := byte(x.rng.Uint32())
		p[off-start+i], x.want[off+i] = v, v
	}
	return errors.Join(err, unix.Munmap(p))
}

// copyRange copies a part of the file onto another one.
func (x *exerciser) copyRange(from, n int) error {
	to := x.rng.IntN(exerciserMax)
	n = min(n, exerciserMax-to, len(x.want)-from)
	if n <= 0 || to < from+n && from < to+n {
		return nil
	}
	x.note("copy %d from %d to %d", n, from, to)
	for done := 0; done < n; {
		a, b := int64(from+done), int64(to+done)
		k, err := unix.CopyFileRange(int(x.file.Fd()), &a, int(x.file.Fd()), &b, n-done, 0)
		if err != nil || k == 0 {
			return fmt.Errorf("%d of %d: %w", done, n, err)
		}
		done += k
	}
	x.grow(to + n)
	copy(x.want[to:to+n], x.want[from:from+n])
	return nil
}

// TestRW_Stressors runs fio with verification and dbench on a mount, and, for VARVE_STRESS_SECONDS a stressor (make
// soak-fs), stress-ng's file-system class.
func TestRW_Stressors(t *testing.T) {
	seconds, size := os.Getenv("VARVE_STRESS_SECONDS"), "64m"
	oracle.Need(t, "fio", "dbench")
	if seconds != "" {
		oracle.Need(t, "stress-ng")
	} else {
		size = "8m"
	}
	for _, m := range modes() {
		if seconds == "" && m.rare {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			inMode(t, m, "2G", func(t *testing.T, dir string) {
				work := filepath.Join(dir, "stress")
				if err := os.Mkdir(work, 0o777); err != nil {
					t.Fatal(err)
				}
				oracle.MustRun(t, "fio", "--name=v", "--directory="+work, "--rw=randrw", "--bsrange=512-64k",
					"--size="+size, "--numjobs=4", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
					"--verify_state_save=0", "--fsync=50")
				oracle.MustRun(t, "dbench", "-D", work, "-t", cmp.Or(seconds, "1"), "-c",
					"/usr/share/dbench/client.txt", "8")
				if seconds == "" {
					return
				}
				out := oracle.MustRun(t, "stress-ng", "--temp-path", work, "--timeout", seconds+"s", "--verify",
					"--seq", "1", "--class", "filesystem", "-x", "quota,fanotify,sync-file,bind-mount,umount,binderfs")
				if strings.Contains(out, "fail:") {
					t.Errorf("stress-ng:\n%s", out)
				}
			})
		})
	}
}
