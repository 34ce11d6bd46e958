package files

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/volume"
)

// zeroed has mke2fs write all of the inode tables: docs/readwrite.md, "Without a journal".
const zeroed = "nodiscard,lazy_itable_init=0"

// unloggedForms are forms of images without a journal.
var unloggedForms = []form{
	{"ext2", "4M", []string{"-t", "ext2", "-b", "1024"}, volume.WriteOptions{}, false},
	{"ext4", "4M", []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal", "-E", zeroed}, volume.WriteOptions{},
		false},
	{"ext2 64k", "8M", []string{"-t", "ext2", "-b", "65536"}, volume.WriteOptions{}, false},
	{"ext4 4k", "12M", []string{"-t", "ext4", "-b", "4096", "-O", "^has_journal", "-E", zeroed}, volume.WriteOptions{},
		false},
}

// unlogged makes an explorer of crash states that e2fsck repairs.
func (f form) unlogged(t testing.TB, image []byte, seed uint64) *Explorer {
	dir := t.TempDir()
	x := f.explorer(image, seed, dir)
	x.Stop = true
	x.Repair = func(img *Medium, m *Model, durable, now int) error {
		return repaired(filepath.Join(dir, "state"), img, m, durable, now)
	}
	return x
}

// TestCrash_Unlogged cuts workloads on images without a journal: e2fsck repairs each state, and every file that was
// made durable, and not changed since, is there with its contents.
func TestCrash_Unlogged(t *testing.T) {
	want := wanted("VARVE_CRASH_UNLOGGED", 120) / len(unloggedForms)
	base := uint64(wanted("VARVE_CRASH_SEED", int(time.Now().UnixNano()>>20)))
	for _, f := range unloggedForms {
		t.Run(f.name, func(t *testing.T) {
			image := f.image(t)
			x := f.unlogged(t, image, base)
			x.Limit = want
			for seed := base; x.States < want; seed++ {
				tr, m, err := f.record(image, seed, 60)
				if err == nil {
					err = x.Explore(image, tr, m, fmt.Sprintf("seed %d", seed))
				}
				if err != nil && !errors.Is(err, errEnough) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for _, e := range x.Failed {
					t.Fatalf("%s\nrepeat with: VARVE_CRASH_SEED=%d go test -run 'TestCrash_Unlogged/%s' ./stress/files", e, seed,
						f.name)
				}
			}
			t.Logf("%d states: %v", x.States, x.Classes)
		})
	}
}

// repaired has e2fsck repair a state, and looks for what was promised. Where the root's block is torn, e2fsck says that
// it must run once more (exit code 4).
func repaired(image string, img *Medium, m *Model, durable, now int) error {
	if err := writeFile(image, img); err != nil {
		return err
	}
	out, err := exec.Command("e2fsck", "-fy", image).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode()&4 != 0 {
		out, err = exec.Command("e2fsck", "-fy", image).CombinedOutput()
	}
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 3) {
		return fmt.Errorf("e2fsck -fy: %w\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput(); err != nil {
		return fmt.Errorf("e2fsck -fn after -fy: %w\n%s", err, out)
	}
	v, err := volume.Open(volume.Spec{Image: image})
	if err != nil {
		return err
	}
	defer v.Close()
	got, err := Tree(v.FS)
	if err != nil {
		return err
	}
	found, err := lostAndFound(v.FS)
	if err != nil {
		return err
	}
	for p, n := range m.States[durable] {
		if n.Kind == 'f' && m.untouched(p, durable, now) {
			quiet := m.quiet(p, durable, now)
			if !quiet && hasName(got, m.States[durable], n) {
				continue
			}
			if err := promised(got, found, p, n, quiet); err != nil {
				return fmt.Errorf("%w\nof operations up to %d, of %d; e2fsck said\n%s", err, durable, now, out)
			}
		}
	}
	return nil
}

// hasName reports whether a file is there by another one of its names: that in a directory which was being changed may
// be lost.
func hasName(got, durable State, n *Node) bool {
	for p, other := range durable {
		if g := got[p]; other.ID == n.ID && g != nil && g.Kind == 'f' && bytes.Equal(g.Data, n.Data) {
			return true
		}
	}
	return false
}

// promised looks for a file at its path, or, where its directories were being changed, in lost+found.
func promised(got State, found [][]byte, p string, n *Node, quiet bool) error {
	if g := got[p]; g != nil && g.Kind == 'f' && bytes.Equal(g.Data, n.Data) {
		return nil
	}
	if !quiet && slices.ContainsFunc(found, func(data []byte) bool { return bytes.Equal(data, n.Data) }) {
		return nil
	}
	if got[p] == nil {
		return fmt.Errorf("%s is gone", p)
	}
	return fmt.Errorf("%s differs at byte %d", p, firstDiff(got[p].Data, n.Data))
}

// untouched reports whether no operation after durable changed what a path is.
func (m *Model) untouched(p string, durable, now int) bool {
	want := m.States[durable][p]
	for k := durable + 1; k <= now; k++ {
		if n := m.States[k][p]; n == nil || n.ID != want.ID || n.Links != want.Links || !bytes.Equal(n.Data, want.Data) ||
			!maps.Equal(n.Xattrs, want.Xattrs) {
			return false
		}
	}
	return true
}

// quiet reports whether no operation after durable changed a directory on the way to a path.
func (m *Model) quiet(p string, durable, now int) bool {
	for p != "" {
		p = strings.TrimSuffix(path.Dir(p), "/")
		for k := durable + 1; k <= now; k++ {
			if !slices.Equal(m.States[k].names(p), m.States[durable].names(p)) {
				return false
			}
		}
	}
	return true
}

// names are the names in a directory.
func (s State) names(dir string) (out []string) {
	for _, p := range s.under(dir) {
		if strings.LastIndexByte(p, '/') == len(dir) {
			out = append(out, p)
		}
	}
	return out
}

// lostAndFound reads all files below lost+found.
func lostAndFound(fs *ext4.FS) (found [][]byte, err error) {
	dir, err := fs.Resolve("/lost+found", false)
	if err != nil {
		return nil, err
	}
	s := State{}
	if err := s.read(dir, "/lost+found"); err != nil {
		return nil, err
	}
	for _, n := range s {
		if n.Kind == 'f' {
			found = append(found, n.Data)
		}
	}
	return found, nil
}
