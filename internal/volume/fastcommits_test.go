package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
)

// fastForms are the images that the kernel makes fast commits on.
var fastForms = map[string][]string{
	"4k":          {"-O", "fast_commit"},
	"1k":          {"-b", "1024", "-O", "fast_commit"},
	"no csum":     {"-b", "1024", "-O", "fast_commit,^metadata_csum,^64bit"},
	"bigalloc":    {"-O", "fast_commit,bigalloc", "-C", "16384"},
	"orphan_file": {"-O", "fast_commit,orphan_file"},
}

// rounds is how many rounds a test makes: few, or those of VARVE_FAST_ROUNDS.
func rounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("VARVE_FAST_ROUNDS")); err == nil {
		return n
	}
	return few
}

// fastWork does what the kernel logs as fast commits, in a directory that a whole transaction has.
type fastWork struct {
	t    *testing.T
	rng  *rand.Rand
	dir  string
	made int
}

func (f *fastWork) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fastWork) name() string { f.made++; return filepath.Join(f.dir, fmt.Sprintf("f%d", f.made)) }

// prepare makes files, and has them in whole transactions.
func (f *fastWork) prepare() (names []string) {
	for i := range 12 {
		p := f.name()
		f.must(os.WriteFile(p, bytes.Repeat([]byte{byte('a' + i)}, 1000+f.rng.IntN(60000)), 0o644))
		names = append(names, p)
	}
	f.must(os.Mkdir(filepath.Join(f.dir, "sub"), 0o755))
	f.must(os.WriteFile(filepath.Join(f.dir, "sub", "inner"), []byte("inner"), 0o600))
	d, err := os.Open(f.dir)
	f.must(err)
	f.must(unix.Syncfs(int(d.Fd())))
	f.must(d.Close())
	return names
}

// fsync makes a file's changes durable.
func (f *fastWork) fsync(name string) {
	d, err := os.OpenFile(name, os.O_RDWR, 0)
	f.must(err)
	f.must(d.Sync())
	f.must(d.Close())
}

func (f *fastWork) write(name string, at int64, n int) {
	d, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	f.must(err)
	_, err = d.WriteAt(bytes.Repeat([]byte{byte('A' + f.rng.IntN(26))}, n), at)
	f.must(err)
	f.must(d.Sync())
	f.must(d.Close())
}

// step changes one of the files, or makes one.
func (f *fastWork) step(names []string) []string {
	i := f.rng.IntN(len(names))
	p := names[i]
	switch f.rng.IntN(10) {
	case 0:
		to := f.name()
		f.must(os.Rename(p, to))
		names[i] = to
		f.fsync(to)
	case 1:
		to := f.name()
		f.must(os.Link(p, to))
		names = append(names, to)
		f.fsync(to)
	case 2:
		f.must(os.Remove(p))
		names[i] = names[0]
		names = names[1:]
		f.fsync(names[0])
	case 3:
		f.must(os.Rename(p, names[(i+1)%len(names)])) // over another one
		names = append(names[:i], names[i+1:]...)
		f.fsync(names[i%len(names)])
	case 4:
		f.must(os.Truncate(p, int64(f.rng.IntN(30000))))
		f.fsync(p)
	case 5:
		f.must(os.Chmod(p, os.FileMode(f.rng.IntN(0o1000))))
		f.must(os.Chown(p, f.rng.IntN(70000), f.rng.IntN(70000)))
		f.fsync(p)
	case 6:
		d, err := os.OpenFile(p, os.O_RDWR, 0)
		f.must(err)
		f.must(unix.Fallocate(int(d.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
			int64(f.rng.IntN(5))*4096, 8192))
		f.must(unix.Fallocate(int(d.Fd()), 0, int64(f.rng.IntN(20))*4096, 20000))
		f.must(d.Close())
		f.fsync(p)
	case 7:
		to := f.name()
		f.must(os.Mkdir(to, 0o755))
		f.write(filepath.Join(to, "inner"), 0, 5000)
		if f.rng.IntN(3) == 0 {
			f.must(os.Remove(filepath.Join(to, "inner")))
			f.must(os.Remove(to))
		}
		f.must(unix.Mkfifo(f.name(), 0o600))
		f.must(os.Symlink("short", f.name()))
		f.fsync(p)
	case 8:
		f.write(p, int64(f.rng.IntN(200000)), 1+f.rng.IntN(9000))
	default:
		to := f.name()
		f.write(to, int64(f.rng.IntN(3))*30000, 1+f.rng.IntN(40000))
		names = append(names, to)
	}
	return names
}

// fastImage is an image of a form that a mounted kernel has left with fast commits.
func fastImage(t *testing.T, mkfs []string, seed uint64, steps int) string {
	t.Helper()
	image := oracle.NewImage(t, 12<<20, mkfs...)
	dir, unmount := oracle.MountKernel(t, image, "commit=300")
	defer unmount()
	f := &fastWork{t: t, rng: rand.New(rand.NewPCG(seed, 7)), dir: dir}
	names := f.prepare()
	for range steps {
		names = f.step(names)
	}
	for range 20 {
		// a copy beside writes of the kernel's own may be one that it cannot recover
		if dirty := oracle.Copy(t, image); hasFast(t, dirty) && oracle.Mountable(t, oracle.Copy(t, dirty)) {
			return dirty
		}
		f.write(names[0], 0, 5000) // the last step made a whole transaction of all
	}
	t.Fatal("the kernel made no fast commits")
	return ""
}

// hasFast reports whether there are fast commits to recover.
func hasFast(t *testing.T, image string) bool {
	t.Helper()
	d, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fs, err := ext4.Open(d, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fs.TakeFastCommits() != nil
}

// inFast forgets what fast commits do not say of directories; how many links those have, the kernel recovers wrong, by
// e2fsck. blocks says that blocks count.
func inFast(m oracle.Manifest, blocks bool) oracle.Manifest {
	for path, n := range m {
		if !blocks {
			n.Blocks = 0
			m[path] = n
		}
		if n.Mode&unix.S_IFMT == unix.S_IFDIR {
			n.Mtime, n.Ctime, n.Size, n.Blocks, n.Links = "", "", 0, 0, 0
			m[path] = n
		}
	}
	return m
}

// viewOf reads the tree of an image without a mount, and has the judges look at it.
func viewOf(t *testing.T, image string, blocks bool) oracle.Manifest {
	t.Helper()
	oracle.Clean(t, image)
	clean(t, image)
	v, err := volume.Open(volume.Spec{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return inFast(oracle.View(t, v.FS), blocks)
}

// TestFastCommits_Kernel recovers what the kernel left with fast commits, in place and in an overlay, and compares the
// tree with that of the kernel's own recovery.
func TestFastCommits_Kernel(t *testing.T) {
	oracle.NeedRoot(t)
	for _, name := range oracle.Share(0, 2, slices.Sorted(maps.Keys(fastForms))) {
		mkfs := fastForms[name]
		t.Run(name, func(t *testing.T) {
			blocks := name != "bigalloc" // the kernel recovers a wrong st_blocks there, by e2fsck
			t.Parallel()
			for round := range rounds(1) {
				seed := uint64(time.Now().UnixNano())
				t.Logf("seed %d", seed)
				dirty := fastImage(t, mkfs, seed, 16+20*round)
				recovered := oracle.Copy(t, dirty)
				dir, unmount := oracle.MountKernel(t, recovered, "")
				want := inFast(oracle.Tree(t, dir), blocks)
				unmount()

				inPlace := oracle.Copy(t, dirty)
				w := open(t, inPlace, volume.WriteOptions{})
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				oracle.Compare(t, "kernel", want, "varve", viewOf(t, inPlace, blocks))

				over, file := oracle.Copy(t, dirty), filepath.Join(t.TempDir(), "overlay")
				w, err := volume.OpenOverlay(volume.Spec{Image: over}, file, volume.WriteOptions{})
				if err != nil {
					t.Fatal(err)
				}
				mkfile(t, w, ext4.Root, "later", []byte("later"))
				if _, err := w.Unlink(root, ext4.Root, "later"); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := volume.CommitOverlay(volume.Spec{Image: over}, file, nil, nil); err != nil {
					t.Fatal(err)
				}
				oracle.Compare(t, "kernel", want, "overlay", viewOf(t, over, blocks))
			}
		})
	}
}

// cutDevice is what a device has after a crash before an event: what was flushed, and of the rest what keep says.
func cutDevice(image []byte, events []blockcache.Event, at int, keep func() bool) []byte {
	out := bytes.Clone(image)
	for k, e := range events[:at] {
		durable := slices.ContainsFunc(events[k:at], func(f blockcache.Event) bool { return f.Covers(e) })
		if e.Data != nil && (durable || keep()) {
			out = e.Apply(out, func(int) bool { return durable || keep() })
		}
	}
	return out
}

// TestFastCommits_Crashes cuts the recovery of fast commits at each of its writes, in place and in an overlay. The next
// recovery comes to the same tree, the kernel's and e2fsck's, too.
func TestFastCommits_Crashes(t *testing.T) {
	oracle.NeedRoot(t)
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("VARVE_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("seed %d: VARVE_SEED repeats it", seed)
	image, err := os.ReadFile(fastImage(t, fastForms["1k"], seed, 20))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*fastCuts{
		"in place": {before: image, judges: 4, open: func(d blockcache.Writable) (*volume.Writable, error) {
			return volume.OpenOn(d, volume.WriteOptions{Commit: time.Hour})
		}},
		"overlay": {open: func(d blockcache.Writable) (*volume.Writable, error) {
			return volume.OpenOverlayOn(d, blockcache.Memory(image), volume.WriteOptions{Commit: time.Hour})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.some = rounds(0) == 0
			c.rng = rand.New(rand.NewPCG(seed, 9))
			if err := c.run(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// fastCuts cuts a recovery of fast commits.
type fastCuts struct {
	before []byte
	open   func(blockcache.Writable) (*volume.Writable, error)
	rng    *rand.Rand
	judges int  // how many states, about, the kernel and e2fsck recover
	some   bool // one event of four is cut at
}

// run returns the first difference between a second recovery and the first.
func (c *fastCuts) run(t *testing.T) error {
	tr := &blockcache.Trace{}
	want := liveTree(t, blockcache.Record(blockcache.NewRAM(bytes.Clone(c.before)), tr, 0), c.open)
	var theirs oracle.Manifest
	if c.judges > 0 {
		image := filepath.Join(t.TempDir(), "before")
		if err := os.WriteFile(image, c.before, 0o600); err != nil {
			t.Fatal(err)
		}
		theirs = repaired(t, image)
	}
	events := tr.Events()
	for at, e := range events {
		if e.Flush() || c.some && c.rng.IntN(4) > 0 {
			continue
		}
		for _, keep := range []func() bool{
			func() bool { return true }, func() bool { return false }, func() bool { return c.rng.IntN(2) == 0 },
		} {
			state := cutDevice(c.before, events, at, keep)
			got := liveTree(t, blockcache.NewRAM(bytes.Clone(state)), c.open)
			if !maps.Equal(want, got) {
				return fmt.Errorf("after a crash at event %d of %d: %v\nexpected %v", at, len(events), got, want)
			}
			if c.rng.IntN(len(events)) < c.judges {
				judgeCut(t, state, want, theirs)
			}
		}
	}
	return nil
}

// liveTree recovers a device and reads its tree.
func liveTree(
	t *testing.T,
	d blockcache.Writable,
	open func(blockcache.Writable) (*volume.Writable, error),
) (m oracle.Manifest) {
	t.Helper()
	w, err := open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abandon() }()
	if err := w.View(func(fs *ext4.FS) error {
		m = inFast(oracle.View(t, fs), true)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

// judgeCut has e2fsck and the kernel recover a state. What e2fsck makes of some fast commits that remove ranges is not
// what the kernel makes of them; theirs is the tree that it recovers from the image before the cuts.
func judgeCut(t *testing.T, state []byte, want, theirs oracle.Manifest) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(image, state, 0o600); err != nil {
		t.Fatal(err)
	}
	dir, unmount := oracle.MountKernel(t, oracle.Copy(t, image), "")
	oracle.Compare(t, "varve", want, "kernel", inFast(oracle.Tree(t, dir), true))
	unmount()
	got, expected := repaired(t, image), maps.Clone(want)
	for path, n := range got {
		if n == theirs[path] {
			expected[path] = n
		}
	}
	maps.DeleteFunc(expected, func(path string, _ oracle.Node) bool { return !exists(got, path) && !exists(theirs, path) })
	oracle.Compare(t, "varve", expected, "e2fsck", got)
}

func exists(m oracle.Manifest, path string) bool { _, ok := m[path]; return ok }

// repaired is the tree of an image that e2fsck recovers.
func repaired(t *testing.T, image string) oracle.Manifest {
	t.Helper()
	if out, err := exec.Command("e2fsck", "-fy", image).CombinedOutput(); exitCode(err) > 1 {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	got := viewOf(t, image, true)
	maps.DeleteFunc(got, func(path string, _ oracle.Node) bool { // it frees nothing that lost its last name
		return strings.HasPrefix(path, "lost+found/")
	})
	return got
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return 255
	}
	return 0
}

// TestFastCommits_Stale crashes after fast commits were overtaken by a whole transaction. e2fsck 1.47 recovers nothing
// where it finds such ones.
func TestFastCommits_Stale(t *testing.T) {
	oracle.NeedRoot(t)
	stale := staleImage(t)
	if out, err := crashAndCheck(t, stale); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// staleImage has fast commits and, behind the log's end, a whole transaction that has their changes.
func staleImage(t *testing.T) string {
	image := oracle.NewImage(t, 8<<20, fastForms["1k"]...)
	dir, unmount := oracle.MountKernel(t, image, "commit=300")
	defer unmount()
	f := &fastWork{t: t, rng: rand.New(rand.NewPCG(1, 7)), dir: dir}
	names := f.prepare()
	f.write(names[0], 0, 5000)
	f.must(os.WriteFile(filepath.Join(dir, "whole"), []byte("whole"), 0o644))
	d, err := os.Open(dir)
	f.must(err)
	defer d.Close()
	f.must(unix.Syncfs(int(d.Fd())))
	return oracle.Copy(t, image)
}

// crashAndCheck writes a file durably, crashes, and has e2fsck recover it.
func crashAndCheck(t *testing.T, image string) (string, error) {
	image = oracle.Copy(t, image)
	w := open(t, image, volume.WriteOptions{})
	mkfile(t, w, ext4.Root, "durable", []byte("durable"))
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("e2fsck", "-fy", image).CombinedOutput()
	if exitCode(err) > 1 {
		return string(out), err
	}
	if v, err := volume.Open(volume.Spec{Image: image}); err != nil {
		return string(out), err
	} else {
		defer v.Close()
		_, err = v.FS.Resolve("durable", false)
		return string(out), err
	}
}
