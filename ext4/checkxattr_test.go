package ext4

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestCheck_Values breaks an image with a value in an inode of its own in several ways. varve's checker says what is
// wrong, and e2fsck finds it, too, where it looks.
func TestCheck_Values(t *testing.T) {
	type broke = func(o *op, n, v *Inode) error
	entryHash := func(o *op, n, v *Inode) error {
		area := slices.Clone(n.XattrArea)
		at := bytes.Index(area, []byte("big")) - 4 // the hash is the last field before the name
		area[at] ^= 1
		return o.setInode(n.Ino, uint32(o.w.super.InodeSize)-uint32(len(area)), area)
	}
	for name, c := range map[string]struct {
		broke broke
		want  string
		blind bool // e2fsck 1.47 does not look
	}{
		"too many references": {func(o *op, n, v *Inode) error { return o.setWord(v.Ino, disk.OffValueRefs, 5) },
			"5 references to its value, and 1 attributes", false},
		"no references": {func(o *op, n, v *Inode) error { return o.setWord(v.Ino, disk.OffValueRefs, 0) },
			"0 references to its value, and 1 attributes", false},
		"another hash": {func(o *op, n, v *Inode) error { return o.setWord(v.Ino, disk.OffAtime, v.EAHash^1) },
			"extended attribute value in inode", false},
		"another value": {func(o *op, n, v *Inode) error {
			r, err := v.Map(0)
			if err != nil {
				return err
			}
			return o.writeHome(r.Start, 0, []byte("another value"), true)
		}, "extended attribute value in inode", true},
		"a hash of the entry": {entryHash, "which is not that of its value", false},
		"no attribute": {func(o *op, n, v *Inode) error {
			if err := o.addUnits(n, -int64(o.w.super.ValueUnits(uint32(v.Size)))); err != nil {
				return err
			}
			area := make([]byte, len(n.XattrArea))
			return o.setInode(n.Ino, uint32(o.w.super.InodeSize)-uint32(len(area)), area)
		}, "1 references to its value, and 0 attributes", false},
		"no flag": {func(o *op, n, v *Inode) error { return o.setFlags(v, v.Flags&^disk.InodeEAInode) },
			"which holds no such value", false},
		"another length": {func(o *op, n, v *Inode) error { return o.setSize(v, v.Size-1, false) },
			"which holds no such value", true},
		"two links": {func(o *op, n, v *Inode) error { return o.addLinks(v, 1, 0, 9) }, "and has 2 links", false},
		"a name": {func(o *op, n, v *Inode) error {
			root, err := o.fs.Inode(RootIno)
			if err != nil {
				return err
			}
			return o.dir(root).insert("name", v.Ino, disk.FileTypeRegular)
		}, "and has 1 names", true},
		"too few blocks": {func(o *op, n, v *Inode) error { return o.addUnits(n, -2) }, "attributes of 16 units", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := openMem(t, "values")
			node := m.mkfile(Root, "f", []byte("contents"))
			m.setXattr(node, "user.big", fill(1, 8000))
			is(t, "break", m.do(opSetattr, Cred{}, func(o *op) error {
				n := new(Inode)
				if err := o.fs.ReadNode(n, node); err != nil {
					return err
				}
				list, err := n.Xattrs()
				if err != nil {
					return err
				}
				v, err := o.value(list[0].attr.ValueIno)
				if err != nil {
					return err
				}
				return c.broke(o, n, v)
			}), nil)
			m.sync()
			v := ok(m.sealed().Check(nil))(t)
			if !strings.Contains(fmt.Sprint(v.Problems), c.want) {
				t.Errorf("no problem %q: %+v", c.want, v.Problems)
			}
			if out, err := exec.Command("e2fsck", "-fn", m.save()).CombinedOutput(); (err == nil) != c.blind {
				t.Errorf("e2fsck -fn: %v, and is blind: %v\n%s", err, c.blind, out)
			}
		})
	}
}
