package ext4

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestDescribe_Groups: the blocks of the file system itself are named by what they are, others by their group.
func TestDescribe_Groups(t *testing.T) {
	m := openMem(t, "groups")
	for g := range m.super.Groups() {
		d := ok(m.base.GroupDesc(g))(t)
		first := uint32(g)*m.super.InodesPerGroup + 1
		per := uint32(m.super.BlockSize) / uint32(m.super.InodeSize)
		for at, want := range map[block.Number]string{
			d.BlockBitmap:    fmt.Sprintf("block bitmap of group %d", g),
			d.InodeBitmap:    fmt.Sprintf("inode bitmap of group %d", g),
			d.InodeTable:     fmt.Sprintf("inodes %d to %d", first, first+per-1),
			d.InodeTable + 1: fmt.Sprintf("inodes %d to %d", first+per, first+2*per-1),
		} {
			if got := m.Describe(at); got != want {
				t.Errorf("block %d: %s, expected %s", at, got, want)
			}
		}
	}
	if got := m.Describe(m.super.FirstDataBlock); got != "superblock" {
		t.Errorf("the first block is %s", got)
	}
	last := m.super.Blocks - 1
	if got, want := m.Describe(last), fmt.Sprintf("a block of group %d", m.super.Groups()-1); got != want {
		t.Errorf("the last block is %s, expected %s", got, want)
	}
	if KindName(kindXattrs) != "extended attributes" || KindName(255) != "other" {
		t.Errorf("%s, %s", KindName(kindXattrs), KindName(255))
	}
}

// TestClaim_Levels: all users leave the reserved blocks, their owners what promised nodes need, and those nothing.
func TestClaim_Levels(t *testing.T) {
	m := openMem(t, "4k")
	a := &m.alloc
	m.super.ReservedBlocks, m.super.DefaultUID, m.super.DefaultGID = 100, 77, 88
	kept := int64(keptForNodes(m.super))
	reserved := int64(m.super.ReservedBlocks)
	user, owner := claim{cred: Cred{UID: 1000, GID: 1000}}, claim{cred: Cred{UID: 77, GID: 1000}}
	for _, c := range []struct {
		name       string
		free       int64
		want, more uint32
		by         claim
		got        uint32
	}{
		{"all, and more", kept + reserved + 50, 10, 20, user, 30},
		{"part of more", kept + reserved + 15, 10, 20, user, 15},
		{"part of what is wanted", kept + reserved + 3, 10, 0, user, 3},
		{"nothing above the reserved", kept + reserved, 10, 0, user, 0},
		{"reserved, and no more", kept + reserved, 10, 20, owner, 10},
		{"the last reserved", kept + 4, 10, 0, owner, 4},
		{"not what nodes need", kept, 10, 0, owner, 0},
		{"a promised node", kept, 1, 0, claim{cred: user.cred, promised: true}, min(1, uint32(kept))},
		{"none at all", 0, 1, 0, claim{cred: user.cred, promised: true}, 0},
	} {
		a.freeBlocks.Store(c.free)
		if got := a.claim(c.want, c.more, c.by); got != c.got || a.freeBlocks.Load() != c.free-int64(got) {
			t.Errorf("%s: %d blocks, %d of %d stay; expected %d", c.name, got, a.freeBlocks.Load(), c.free, c.got)
		}
	}
	for _, c := range []struct {
		cred Cred
		may  bool
	}{
		{Cred{UID: 77}, true}, {Cred{UID: 1, GID: 88}, true}, {Cred{UID: 1, GID: 1}, false}, {Cred{UID: 0}, true},
	} {
		if got := m.MayUseReserved(c.cred); got != c.may {
			t.Errorf("%+v may use reserved blocks: %v", c.cred, got)
		}
	}
	m.SetRights(func(thread, gid uint32) bool { return thread == 5 && gid == 88 })
	for thread, may := range map[uint32]bool{5: true, 6: false} {
		if got := a.mayUseReserved(Cred{UID: 0, Thread: thread}); got != may { // root without the capability is none
			t.Errorf("thread %d may use reserved blocks: %v", thread, got)
		}
	}
	a.freeBlocks.Store(kept + reserved + 2)
	if got, want := m.Room(), int64(2)*int64(m.super.BlockSize); got != want {
		t.Errorf("room for %d bytes, expected %d", got, want)
	}
	a.freeBlocks.Store(kept)
	if got := m.Room(); got != 0 {
		t.Errorf("room for %d bytes among the reserved", got)
	}
}

// TestTableCache_Pieces: each group has a place of its own, the same for all that ask at a time.
func TestTableCache_Pieces(t *testing.T) {
	const groups = tablesInPiece + 2
	c := newTableCache(groups)
	if len(c.pieces) != 2 {
		t.Errorf("%d pieces for %d groups", len(c.pieces), groups)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for g := range disk.Group(groups) {
				c.of(g).Add(uint64(g) + 1)
			}
		})
	}
	all.Wait()
	for g := range disk.Group(groups) {
		if got := c.of(g).Load(); got != 4*(uint64(g)+1) {
			t.Fatalf("group %d has %d", g, got)
		}
	}
}

// TestSymlink_Forms: targets in the inode and in a block, and what is none.
func TestSymlink_Forms(t *testing.T) {
	m := openMem(t, "1k")
	var nodes []Node
	lengths := []int{1, 59, 60, 61, 1023}
	for _, n := range lengths {
		made := m.make(Root, fmt.Sprint("link", n), CreateOptions{
			Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("t", n),
		})
		nodes = append(nodes, made)
	}
	for i, n := range nodes {
		in := m.stat(n)
		if got := ok(m.target(n))(t); got != strings.Repeat("t", lengths[i]) {
			t.Errorf("a target of %d bytes has %d", lengths[i], len(got))
		}
		if inside := in.Blocks == 0; inside != (lengths[i] < 60) {
			t.Errorf("a target of %d bytes is in the inode: %v", lengths[i], inside)
		}
	}
	if _, err := m.target(Root); err == nil || errors.Is(err, ondisk.ErrCorrupt) {
		t.Errorf("the target of a directory: %v", err)
	}
	fs := m.base
	for what, n := range map[string]*Inode{
		"no target": {fs: fs, Inode: disk.Inode{Mode: disk.ModeSymlink, Block: make([]byte, 60), Size: 5}},
		"encrypted, and short": {fs: fs, Inode: disk.Inode{Mode: disk.ModeSymlink, Block: make([]byte, 60), Size: 1,
			Flags: disk.InodeEncrypt}},
		"encrypted, and longer than it is": {fs: fs, Inode: disk.Inode{Mode: disk.ModeSymlink, Size: 10,
			Block: append([]byte{200}, make([]byte, 59)...), Flags: disk.InodeEncrypt}},
		"too long for the inode": {fs: fs, Inode: disk.Inode{Mode: disk.ModeSymlink, Block: make([]byte, 60), Size: 60}},
	} {
		if got, err := n.Readlink(); !errors.Is(err, ondisk.ErrCorrupt) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	m.check()
}

// target reads a symlink as it is now.
func (m *memFS) target(node Node) (out string, err error) {
	err = m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, node); err != nil {
			return err
		}
		out, err = n.Readlink()
		return err
	})
	return out, err
}
