//go:build testhooks

package volume_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/failpoint"
	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/volume"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// failpoints are the stages of operations at which a process ends. Of an operation on files nothing is left before its
// commit; a change is there, whole, once the journal has its commit block. (With ordered data a truncate within a block
// writes its zeros before the commit, as the kernel does: so sizes here are whole blocks.)
var failpoints = []struct {
	operation string
	stages    []string
	do        func(*files) // the operation; nil: change and sync, whose parts the stages are
	durable   bool         // the stages lie behind the commit
	modes     []string     // all where nil
}{
	{"create", []string{"inode", "entry", "commit"}, func(f *files) { f.write("/new", 0, "new") }, false, nil},
	{"write", []string{"data", "inode", "commit"}, func(f *files) { f.write("/new", 0, "new") }, false, nil},
	{
		"mknod",
		[]string{"inode", "entry", "commit"},
		func(f *files) { f.create("/pipe", ext4.CreateOptions{Mode: disk.ModeFIFO | 0o600}) },
		false,
		nil,
	},
	{
		"mkdir",
		[]string{"inode", "entry", "parent", "commit"},
		func(f *files) { f.create("/d/new", ext4.CreateOptions{Mode: disk.ModeDir | 0o755}) },
		false,
		nil,
	},
	{"symlink", []string{"inode", "entry", "commit"}, func(f *files) {
		f.create("/link", ext4.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("far/", 30)})
	}, false, nil},
	{"tmpfile", []string{"inode", "commit"}, func(f *files) {
		_, f.err = f.Tmpfile(root, ext4.Root, ext4.CreateOptions{Mode: disk.ModeRegular | 0o600})
	}, false, nil},
	{
		"link",
		[]string{"inode", "entry", "commit"},
		func(f *files) { _, f.err = f.Link(root, f.at("/a"), f.at("/d"), "hard") },
		false,
		nil,
	},
	{"remove", []string{"entry", "inode", "commit"}, func(f *files) { f.unlink("/big") }, false, nil},
	{
		"rmdir",
		[]string{"entry", "inode", "commit"},
		func(f *files) { _, f.err = f.Rmdir(root, f.at("/d"), "empty") },
		false,
		nil,
	},
	{"evict", []string{"blocks", "inode", "commit"}, func(f *files) { f.unlink("/big") }, false, nil},
	{
		"rename",
		[]string{"target", "entry", "source", "commit"},
		func(f *files) { _, f.err = f.Rename(root, ext4.Root, "a", f.at("/d"), "b", 0) },
		false,
		nil,
	},
	{
		"rename",
		[]string{"parent"},
		func(f *files) { _, f.err = f.Rename(root, f.at("/d"), "empty", f.at("/e"), "moved", 0) },
		false,
		nil,
	},
	{"exchange", []string{"entry", "commit"}, func(f *files) {
		_, f.err = f.Rename(root, ext4.Root, "a", f.at("/d"), "b", ext4.RenameExchange)
	}, false, nil},
	{"truncate", []string{"blocks", "inode", "commit"}, func(f *files) { f.truncate("/big", 8192) }, false, nil},
	{"finish truncate", []string{"blocks", "commit"}, func(f *files) { f.truncate("/torn", 8192) }, false, nil},
	{
		"setattr",
		[]string{"commit"},
		func(f *files) { mode := uint16(0o600); _, f.err = f.SetAttr(root, f.at("/a"), ext4.Attr{Mode: &mode}) },
		false,
		nil,
	},
	{"xattr", []string{"inside", "outside", "commit"}, func(f *files) {
		f.err = f.SetXattr(root, f.at("/a"), "user.much", []byte(strings.Repeat("x", 900)), 0, false)
	}, false, nil},
	{
		"fallocate",
		[]string{"commit"},
		func(f *files) { f.err = f.Allocate(root, f.at("/a"), 0, 100_000, false) },
		false,
		nil,
	},

	{"epoch", []string{"sealed"}, nil, false, nil},
	// crash after WAL append before flush; after flush before the commit; with ordered data only
	{"journal", []string{"append", "flush"}, nil, false, modes[:1]},
	// an overlay's map does not have the block before the flush
	{"journal", []string{"commit block"}, nil, true, modes[:2]},
	{"journal", []string{"commit"}, nil, true, nil},
	// during checkpoint; after metadata write before the tail moves
	{"checkpoint", []string{"home", "homes", "flush", "tail"}, nil, true, nil},
	{"collection", []string{"chain"}, nil, true, nil},
	{"close", []string{"evicted", "homes", "journal"}, nil, true, nil},
}

// files are an open file system, and the first error of what was done with it.
type files struct {
	*volume.Writable
	err error
}

func (f *files) at(path string) (node ext4.Node) {
	err := f.View(func(fs *ext4.FS) error {
		n, err := fs.Resolve(path, false)
		if err == nil {
			node = ext4.NodeOf(n)
		}
		return err
	})
	f.err = errors.Join(f.err, err)
	return node
}

func (f *files) create(path string, c ext4.CreateOptions) ext4.Node {
	n, err := f.Create(root, f.at(filepath.Dir(path)), filepath.Base(path), c)
	f.err = errors.Join(f.err, err)
	return ext4.NodeOf(&n)
}

func (f *files) write(path string, offset int64, data string) {
	node := f.create(path, ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
	_, err := f.Write(root, node, offset, []byte(data), false)
	f.err = errors.Join(f.err, err)
}

func (f *files) unlink(path string) {
	r, err := f.Unlink(root, f.at(filepath.Dir(path)), filepath.Base(path))
	if err == nil {
		err = f.Evict(r.Node)
	}
	f.err = errors.Join(f.err, err)
}

func (f *files) truncate(path string, size uint64) {
	_, f.err = f.SetAttr(root, f.at(path), ext4.Attr{Size: &size})
}

// base makes the tree that every scenario begins with.
func (f *files) base() {
	f.write("/a", 0, "contents of a")
	for _, d := range []string{"/d", "/e", "/d/empty"} {
		f.create(d, ext4.CreateOptions{Mode: disk.ModeDir | 0o755})
	}
	f.write("/d/b", 0, "contents of b")
	f.write("/big", 0, strings.Repeat("varve ", 50_000))
	torn := f.create("/torn", ext4.CreateOptions{Mode: disk.ModeRegular | 0o644})
	for i := range 40 { // each block an extent of its own
		_, err := f.Write(root, torn, int64(i)*16384, []byte("torn"), false)
		f.err = errors.Join(f.err, err)
	}
}

// change is one change of everything, made durable, written home, and closed.
func (f *files) change() {
	f.write("/new", 0, "new")
	f.unlink("/d/b")
	f.truncate("/big", 4096)
	f.err = errors.Join(f.err, f.Sync(context.Background()))
}

// settle does what makes changes durable, and brings them home.
func (f *files) settle() error {
	if f.err != nil {
		return f.err
	}
	if err := f.Sync(context.Background()); err != nil {
		return err
	}
	if err := f.Store.Checkpoint(); err != nil {
		return err
	}
	f.Store.Collect()
	return f.Close()
}

// modes are how the image of a failpoint is written.
var modes = []string{"in place", "data=journal", "overlay"}

func openMode(image, mode string) (*files, error) {
	o := volume.WriteOptions{JournalData: mode == "data=journal"}
	var w *volume.Writable
	var err error
	if mode == "overlay" {
		w, err = volume.OpenOverlay(volume.Spec{Image: image}, image+".overlay", o)
	} else {
		w, err = volume.OpenWritable(volume.Spec{Image: image}, o)
	}
	return &files{Writable: w}, err
}

// dieAt has the process end, as by kill -9, when it has come behind a stage for the nth time.
func dieAt(operation, stage string, nth int) {
	failpoint.Set(func(o, s string) {
		if o != operation || s != stage {
			return
		}
		if nth--; nth == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Hour)
		}
	})
}

// TestFailpoint_Child is the process that ends. VARVE_FAILPOINT has the row, the stage, how often it is passed, the
// image and the mode.
func TestFailpoint_Child(t *testing.T) {
	arg := strings.Split(os.Getenv("VARVE_FAILPOINT"), "|")
	if len(arg) != 5 {
		return // it is no test of its own
	}
	row, err := strconv.Atoi(arg[0])
	if err != nil {
		t.Fatal(err)
	}
	nth, err := strconv.Atoi(arg[2])
	if err != nil {
		t.Fatal(err)
	}
	if row < 0 { // recovery, or a commit, of what an earlier child has left
		operation, stage, _ := strings.Cut(arg[1], "/")
		dieAt(operation, stage, nth)
		if operation == "commit" {
			_, err = volume.CommitOverlay(volume.Spec{Image: arg[3]}, arg[3]+".overlay", nil, nil)
		} else {
			_, err = openMode(arg[3], arg[4])
		}
		t.Fatalf("went on to the end: %v", err)
	}
	f, err := openMode(arg[3], arg[4])
	if err != nil {
		t.Fatal(err)
	}
	p := failpoints[row]
	if p.do == nil && p.durable && p.operation != "journal" {
		f.change()
		dieAt(p.operation, arg[1], nth)
		if p.operation == "collection" {
			f.overwriteUnderReader()
		}
	} else {
		dieAt(p.operation, arg[1], nth)
		if p.do == nil {
			f.change()
		} else {
			p.do(f)
		}
	}
	t.Fatalf("went on to the end: %v", f.settle())
}

// overwriteUnderReader changes a directory while a reader has an older snapshot of it, so that there is history to
// collect.
func (f *files) overwriteUnderReader() {
	held, let, left := make(chan bool), make(chan bool), make(chan bool)
	go func() {
		defer close(left)
		_ = f.View(func(fs *ext4.FS) error {
			_, err := fs.Resolve("/a", false)
			close(held)
			<-let
			return err
		})
	}()
	<-held
	for range 3 {
		mtime := time.Now()
		_, err := f.SetAttr(root, f.at("/a"), ext4.Attr{Mtime: &mtime, Explicit: true})
		f.err = errors.Join(f.err, err)
	}
	close(let)
	<-left
	f.Store.Collect()
}

// die runs a child until it ends by its own hand.
func die(t *testing.T, row int, stage string, nth int, image, mode string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestFailpoint_Child$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("VARVE_FAILPOINT=%d|%s|%d|%s|%s", row, stage, nth, image, mode))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || ctx.Err() != nil {
		t.Fatalf("the process did not end at %s: %v\n%s", stage, err, out)
	}
}

// tree is what is in a file system: type and mode, links, size and hash by path. Attributes of the user are in it, too.
type tree map[string]string

func treeOf(t *testing.T, fs *ext4.FS) tree {
	t.Helper()
	out := tree{}
	var walk func(path string, n *ext4.Inode)
	walk = func(path string, n *ext4.Inode) {
		h := sha256.New()
		if n.IsRegular() {
			p := make([]byte, n.Size)
			if _, err := n.ReadAt(p, 0); err != nil && n.Size > 0 {
				t.Fatalf("%s: %v", path, err)
			}
			h.Write(p)
		} else if n.IsSymlink() {
			target, err := n.Readlink()
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			h.Write([]byte(target))
		}
		if x, _ := n.Xattr("user.much"); x != nil {
			h.Write(x)
		}
		size := n.Size
		if n.IsDir() {
			size = 0
		}
		out[path] = fmt.Sprintf("%o %d links %d bytes %x", n.Mode, n.Links, size, h.Sum(nil)[:8])
		if !n.IsDir() {
			return
		}
		var names []string
		if err := n.ReadDir(0, func(e ext4.Dirent) bool { names = append(names, string(e.Name)); return true }); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, name := range names {
			if name == "." || name == ".." {
				continue
			}
			child := new(ext4.Inode)
			if err := n.LookupInto(child, name); err != nil {
				t.Fatalf("%s/%s: %v", path, name, err)
			}
			walk(path+"/"+name, child)
		}
	}
	n, err := fs.Resolve("/", false)
	if err != nil {
		t.Fatal(err)
	}
	walk("", n)
	return out
}

// read checks an image that is clean, and reads its tree.
func read(t *testing.T, image string) tree {
	t.Helper()
	oracle.Clean(t, image)
	v, err := volume.Open(volume.Spec{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if verdict, err := v.Check(nil); err != nil || !verdict.Clean() {
		t.Fatalf("varve's own checker: %v, %+v", err, verdict.Problems)
	}
	return treeOf(t, v.FS)
}

// recovered has varve recover what is left, and reads its tree: of a copy, so that the image can be looked at again.
func recovered(t *testing.T, image, mode string) tree {
	t.Helper()
	image = copyBoth(t, image)
	f, err := openMode(image, mode)
	if err != nil {
		t.Fatalf("recovery: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if mode == "overlay" {
		if _, err := volume.CommitOverlay(volume.Spec{Image: image}, image+".overlay", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	return read(t, image)
}

// copyBoth copies an image, and the overlay beside it.
func copyBoth(t *testing.T, image string) string {
	t.Helper()
	dir := t.TempDir()
	oracle.MustRun(t, "cp", "--sparse=always", "-p", image, dir)
	to := filepath.Join(dir, filepath.Base(image))
	if _, err := os.Stat(image + ".overlay"); err == nil {
		oracle.MustRun(t, "cp", "--sparse=always", "-p", image+".overlay", dir)
	}
	return to
}

// byOthers has e2fsck and the kernel recover copies, and reads what they make of it.
func byOthers(t *testing.T, image string, kernel bool) (trees []tree) {
	t.Helper()
	c := copyBoth(t, image)
	var exit *exec.ExitError
	if out, err := exec.Command("e2fsck", "-fy", c).CombinedOutput(); err != nil &&
		(!errors.As(err, &exit) || exit.ExitCode() > 1) {
		t.Fatalf("e2fsck -fy: %v\n%s", err, out)
	}
	trees = append(trees, read(t, c))
	if kernel {
		c := copyBoth(t, image)
		_, unmount := oracle.MountKernel(t, c, "rw")
		unmount()
		trees = append(trees, read(t, c))
	}
	return trees
}

func differences(a, b tree) string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(a)) {
		if a[path] != b[path] {
			out = append(out, fmt.Sprintf("%s: %q, and %q", path, a[path], b[path]))
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			out = append(out, fmt.Sprintf("%s: only %q", path, b[path]))
		}
	}
	return strings.Join(out, "; ")
}

// newBase makes an image with the base tree.
func newBase(t *testing.T) (image string, before tree) {
	t.Helper()
	image = mkfs(t, "16M", "-t", "ext4")
	f, err := openMode(image, "in place")
	if err != nil {
		t.Fatal(err)
	}
	f.base()
	if err := f.settle(); err != nil {
		t.Fatal(err)
	}
	return image, read(t, image)
}

// TestFailpoints ends a process at each stage of each operation, in each mode, and has varve, e2fsck and the kernel
// recover what is left: the tree is the one from before, or the one from after, as the stage says, and every check is
// clean.
func TestFailpoints(t *testing.T) {
	image, before := newBase(t)
	for row, p := range failpoints {
		for _, stage := range p.stages {
			among := modes
			if p.modes != nil {
				among = p.modes
			}
			for _, mode := range among {
				t.Run(p.operation+" "+stage+" "+mode, func(t *testing.T) {
					t.Parallel()
					after := outcome(t, image, row, mode)
					left := copyBoth(t, image)
					die(t, row, stage, 1, left, mode)
					want := before
					if p.durable {
						want = after
					}
					trees := []tree{recovered(t, left, mode)}
					if mode != "overlay" {
						trees = append(trees, byOthers(t, left, os.Geteuid() == 0)...)
					}
					for i, got := range trees {
						if d := differences(want, got); d != "" {
							t.Errorf("recovered by %s: %s", []string{"varve", "e2fsck", "the kernel"}[i], d)
						}
					}
				})
			}
		}
	}
}

// outcome is the tree after an operation that nothing cuts off.
func outcome(t *testing.T, image string, row int, mode string) tree {
	t.Helper()
	c := copyBoth(t, image)
	f, err := openMode(c, mode)
	if err != nil {
		t.Fatal(err)
	}
	if do := failpoints[row].do; do != nil {
		do(f)
	} else {
		f.change()
	}
	if err := f.settle(); err != nil {
		t.Fatal(err)
	}
	if mode == "overlay" {
		if _, err := volume.CommitOverlay(volume.Spec{Image: c}, c+".overlay", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	return read(t, c)
}

// rowOf is the first row of an operation.
func rowOf(operation string) int {
	for i, p := range failpoints {
		if p.operation == operation {
			return i
		}
	}
	return -1
}

// TestFailpoints_Recovery ends the process inside recovery, again and again, and lets it go on at last.
func TestFailpoints_Recovery(t *testing.T) {
	image, _ := newBase(t)
	row := rowOf("checkpoint")
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			after := outcome(t, image, row, mode)
			left := copyBoth(t, image)
			die(t, row, "home", 2, left, mode)
			for nth := 1; nth <= 3; nth++ {
				die(t, -1, "recovery/home", nth, left, mode)
			}
			stages := []string{"flush", "reset", "mounted", "orphans"}
			if mode == "overlay" {
				stages = []string{"mounted", "orphans"}
			}
			for _, stage := range stages {
				die(t, -1, "recovery/"+stage, 1, left, mode)
				if d := differences(after, recovered(t, left, mode)); d != "" {
					t.Errorf("after %s: %s", stage, d)
				}
			}
		})
	}
}

// TestFailpoints_Commit ends varve commit at each of its stages: it goes on where it was.
func TestFailpoints_Commit(t *testing.T) {
	image, _ := newBase(t)
	row := rowOf("checkpoint")
	after := outcome(t, image, row, "overlay")
	for _, stage := range []string{"settled", "noted", "block", "blocks", "flush", "done"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			left := copyBoth(t, image)
			die(t, row, "tail", 1, left, "overlay")
			die(t, -1, "commit/"+stage, 1, left, "overlay")
			if _, err := volume.CommitOverlay(volume.Spec{Image: left}, left+".overlay", nil, nil); err != nil {
				t.Fatal(err)
			}
			if d := differences(after, read(t, left)); d != "" {
				t.Error(d)
			}
		})
	}
}
