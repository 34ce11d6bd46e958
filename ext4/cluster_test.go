package ext4

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestClusters_Edits changes a file by blocks, four of which are a cluster: blocks of one logical cluster lie in one
// cluster, which is the file's as long as any of them is mapped.
func TestClusters_Edits(t *testing.T) {
	for _, c := range []struct{ name, steps, extents string }{
		{"one block of a cluster", "w1+1", "1+1"},
		{"the rest of it", "w1+1 w2+2 w0+1", "0+4"},
		{"backwards", "w7+1 w6+1 w5+1 w4+1", "4+4"},
		{"over the end of a cluster", "w2+4", "2+4"},
		{"up to a cluster that the file has", "w6+1 w0+6", "0+7"},
		{"between two that it has", "w1+1 w10+1 w2+8", "1+10"},
		{"hole within a cluster", "w0+4 p1+2", "0+1 3+1"},
		{"and written again", "w0+4 p1+2 w1+1 s w2+1", "0+4"},
		{"hole from one into the next", "w0+8 p2+4", "0+2 6+2"},
		{"hole over a whole one", "w0+12 p3+6", "0+3 9+3"},
		{"hole up to the end", "w0+8 p1+7", "0+1"},
		{"one part after the other", "w0+4 p0+1 p3+1 p1+2 w8+1", "8+1"},
		{"cut within a cluster", "w0+8 t5", "0+5"},
		{"cut, and made longer", "w0+8 t5 s w6+1", "0+5 6+1"},
		{"cut to a part of unwritten blocks", "a0+8 w1+1 t2", "0+1u 1+1"},
		{"allocated around data", "w2+1 a0+6", "0+2u 2+1 3+3u"},
		{"zeros within a cluster", "w0+4 z1+2", "0+1 1+2u 3+1"},
		{"unwritten cut beside written", "a0+4 w0+2 p2+2", "0+2"},
		{"a tree's node", "w0+1 w2+1 w4+1 w6+1 w8+1 p1+6", "0+1 8+1"},
		{"scattered", "w0+1 w2+1 w4+1 w6+1 w8+1 w10+1 w12+1 p3+4", "0+1 2+1 8+1 10+1 12+1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "bigalloc")
			f := newFileModel(m, "file")
			f.steps(c.steps)
			got, _, nodes := m.tree(f.node)
			if s := showExtents(joined(got, m.super.ClusterBlocks)); s != c.extents {
				t.Fatalf("extents %s, expected %s", s, c.extents)
			}
			f.verify(nodes)
			m.check()
		})
	}
}

// joined are extents of which those that meet where a cluster ends are one, wherever the clusters lie.
func joined(list []disk.Extent, per uint32) (out []disk.Extent) {
	for _, e := range list {
		if k := len(out) - 1; k >= 0 && endOf(out[k]) == uint64(e.File) && uint32(e.File)%per == 0 &&
			out[k].Unwritten == e.Unwritten {
			out[k].Len += e.Len
			continue
		}
		out = append(out, e)
	}
	return out
}

// TestClusters_Everything makes what takes clusters beside files, and removes it: directories, attributes, long
// symlinks, nodes of trees. All that was free is free again.
func TestClusters_Everything(t *testing.T) {
	for _, form := range []string{"bigalloc", "bigalloc 1k", "bigalloc 64k"} {
		t.Run(form, func(t *testing.T) {
			m := openMem(t, form)
			m.mkfile(Root, "first", nil)
			m.check()
			before := ok(m.Stat())(t)
			dir := m.mkdir(Root, "dir")
			for i := range 200 {
				m.mkfile(dir, fmt.Sprintf("%s %d", strings.Repeat("long", 20), i), nil)
			}
			m.make(dir, "link", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("x/", 200)})
			f := newFileModel(m, "file")
			for i := range 40 {
				f.write(i*3*f.bs, f.bs)
			}
			value := fill(1, 700)
			is(t, "attribute", m.SetXattr(Cred{}, f.node, "user.a", value, 0, false), nil)
			m.check()
			if s := ok(m.Stat())(t); s.Free >= before.Free || (before.Free-s.Free)%uint64(m.super.ClusterBlocks) != 0 {
				t.Errorf("%d blocks are free, of %d before", s.Free, before.Free)
			}
			is(t, "attribute", m.RemoveXattr(Cred{}, f.node, "user.a"), nil)
			for i := range 200 {
				m.unlink(dir, fmt.Sprintf("%s %d", strings.Repeat("long", 20), i))
			}
			m.unlink(dir, "link")
			m.unlink(Root, "file")
			gone := ok(m.Rmdir(Cred{}, Root, "dir"))(t)
			is(t, "evict", m.Evict(gone.Node), nil)
			m.check()
			if s := ok(m.Stat())(t); s.Free != before.Free {
				t.Errorf("%d blocks are free, and were %d before", s.Free, before.Free)
			}
		})
	}
}

// TestClusters_Damaged is what mappings that clusters do not allow lead to: errors of the operations that meet them,
// and problems that both checkers see.
func TestClusters_Damaged(t *testing.T) {
	for _, c := range []struct{ name, field, value, what string }{
		{"at another place of its cluster", "block[5]", "2001", "at another place of its cluster"},
		{"one logical cluster in two", "block[8]", "2002", "lie in clusters"},
		{"a cluster of another file", "block[5]", "OTHER", "in use twice"},
		{"block pointers", "flags", "0", "block pointers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "bigalloc")
			bs := uint64(m.super.BlockSize)
			node := m.mkfile(Root, "file", fill(1, int(bs)))
			m.write(node, int64(2*bs), fill(2, int(bs)))
			other, _, _ := m.tree(m.mkfile(Root, "other", fill(3, 100)))
			path := m.check()
			value := strings.Replace(c.value, "OTHER", fmt.Sprint(uint64(other[0].Start)), 1)
			command := fmt.Sprintf("set_inode_field /file %s %s", c.field, value)
			if out, err := exec.Command("debugfs", "-w", "-R", command, path).CombinedOutput(); err != nil {
				t.Fatalf("debugfs: %v\n%s", err, out)
			}
			if exec.Command("e2fsck", "-fn", path).Run() == nil {
				t.Error("e2fsck sees nothing")
			}
			m = openMemWith(t, ok(os.ReadFile(path))(t), WriteOptions{})
			v := ok(m.sealed().Check(nil))(t)
			if text := fmt.Sprint(v.Problems); !strings.Contains(text, c.what) {
				t.Errorf("varve's own checker: %s, expected %q", text, c.what)
			}
			_, written := m.Write(Cred{}, node, int64(bs), fill(4, int(bs)), false)
			punched := m.Punch(Cred{}, node, 0, bs)
			if c.field == "block[5]" && c.value != "OTHER" || c.field == "flags" {
				if !errors.Is(written, ondisk.ErrCorrupt) {
					t.Errorf("write: %v", written)
				}
				if !errors.Is(punched, ondisk.ErrCorrupt) && !errors.Is(punched, ondisk.ErrUnsupported) {
					t.Errorf("punch: %v", punched)
				}
			}
		})
	}
}

// TestClusters_Refused: what is not written with bigalloc is refused by name.
func TestClusters_Refused(t *testing.T) {
	m := openMem(t, "bigalloc")
	for what, change := range map[string]func(*disk.Superblock){
		"without extents": func(s *disk.Superblock) { s.Incompat &^= disk.IncompatExtents },
		"at block 0":      func(s *disk.Superblock) { s.FirstDataBlock = 1 },
		"at the end":      func(s *disk.Superblock) { s.Blocks-- },
	} {
		s := *m.super
		change(&s)
		if err := CheckWritable(&s); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	is(t, "unchanged", CheckWritable(m.super), nil)
}
