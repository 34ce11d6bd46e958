package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// index is a directory's hash tree: the levels below the root, how many entries its root has, and how many leaves.
func (m *memFS) index(dir Node) (levels, entries, leaves int) {
	m.t.Helper()
	is(m.t, "read the index", m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, dir); err != nil {
			return err
		}
		if !n.hasIndex() {
			levels = -1
			return nil
		}
		p, _, err := n.readDirBlock(0)
		if err != nil {
			return err
		}
		levels, entries = int(p[0x1e]), int(p[0x22])|int(p[0x23])<<8
		leaves = int(n.Size/uint64(len(p))) - 1
		if levels > 0 {
			leaves -= entries
		}
		return nil
	}), nil)
	return levels, entries, leaves
}

// TestHtree_Growth is where a directory gets an index, and the index a level, and that every name stays.
func TestHtree_Growth(t *testing.T) {
	eachForm(t, []string{"1k", "no checksum", "ext3", "uninit"}, func(t *testing.T, m *memFS) {
		dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", nil)
		model := map[string]bool{}
		insert := func(until func(levels, entries int) bool) {
			for {
				levels, entries, _ := m.index(dir)
				if until(levels, entries) {
					m.agrees(dir, model)
					m.check()
					return
				}
				name := fmt.Sprintf("%06d%s", len(model), strings.Repeat("l", 240))
				ok(m.Link(Cred{}, file, dir, name))(t)
				model[name] = true
			}
		}
		insert(func(levels, _ int) bool { return levels == 0 })
		if len(model) < 3 {
			t.Fatalf("an index for %d names", len(model))
		}
		insert(func(levels, _ int) bool { return levels == 1 })
		if len(model) < 200 {
			t.Fatalf("two levels for %d names", len(model))
		}
		insert(func(_, entries int) bool { return entries >= 3 })
		for name := range model {
			ok(m.Unlink(Cred{}, dir, name))(t)
		}
		m.agrees(dir, nil)
		ok(m.Rmdir(Cred{}, Root, "dir"))(t)
		m.check()
	})
}

// TestHtree_Full fills an index to its last entry: what does not fit is refused, and nothing is lost. The
// nodes are made full by the names' order: each split leaves a half behind.
func TestHtree_Full(t *testing.T) {
	m := openMem(t, "wide")
	dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", nil)
	type hashed struct {
		name string
		hash uint32
	}
	var names []hashed
	for i := range 60000 {
		name := fmt.Sprintf("%06d%s", i, strings.Repeat("f", 249))
		h, _, _ := m.super.NameHash(m.super.EffectiveHash(m.super.HashVersion), []byte(name))
		names = append(names, hashed{name, h})
	}
	slices.SortFunc(names, func(a, b hashed) int { return int(int64(a.hash) - int64(b.hash)) })
	done := 0
	for ; done < len(names); done++ {
		if _, err := m.Link(Cred{}, file, dir, names[done].name); errors.Is(err, ErrNoSpace) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	levels, entries, leaves := m.index(dir)
	free := ok(m.Stat())(t).Available
	t.Logf(
		"%d names, %d leaves, %d levels, %d entries in the root, %d blocks free",
		done,
		leaves,
		levels,
		entries,
		free,
	)
	if free == 0 || done == len(names) || entries != m.dirLimit() {
		t.Fatal("the index did not fill up first")
	}
	if got := len(m.names(dir)); got != done {
		t.Fatalf("%d names, expected %d", got, done)
	}
	m.check()
}

// dirLimit is how many entries the root of an index holds.
func (m *memFS) dirLimit() int {
	return (&dirOp{op: &op{w: m.Writable}}).indexLimit(0x20)
}

// TestHtree_Collision splits a leaf between two names of one hash: both are found, and each can be taken out.
func TestHtree_Collision(t *testing.T) {
	m := openMem(t, "1k")
	version := m.super.EffectiveHash(m.super.HashVersion)
	byHash := map[uint32]string{}
	var pair []string
	var middle uint32
	low, high := []string{}, []string{}
	name := func(i int) string { return fmt.Sprintf("%08d%s", i, strings.Repeat("c", 150)) }
	for i := 0; pair == nil; i++ {
		h, _, _ := m.super.NameHash(version, []byte(name(i)))
		if other, found := byHash[h]; found && h > 1<<20 && h < 1<<31 {
			pair, middle = []string{other, name(i)}, h
		}
		byHash[h] = name(i)
	}
	for h, n := range byHash {
		if h < middle && len(low) < 2 {
			low = append(low, n)
		}
		if h > middle && len(high) < 3 {
			high = append(high, n)
		}
	}
	dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", nil)
	model := map[string]bool{}
	for _, n := range slices.Concat(low, pair, high) {
		ok(m.Link(Cred{}, file, dir, n))(t)
		model[n] = true
	}
	continued := false
	is(t, "read the index", m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, dir); err != nil {
			return err
		}
		p, _, err := n.readDirBlock(0)
		for at := 0x20 + hashEntry; err == nil && at+4 <= len(p); at += hashEntry {
			continued = continued || binary.LittleEndian.Uint32(p[at:]) == middle|1
		}
		return err
	}), nil)
	if !continued {
		t.Fatal("no leaf begins within the hash")
	}
	m.agrees(dir, model)
	m.check()
	for _, n := range pair {
		_, err := m.Link(Cred{}, file, dir, n)
		is(t, "a name of the pair again", err, ErrExists)
		ok(m.Unlink(Cred{}, dir, n))(t)
		delete(model, n)
		m.agrees(dir, model)
	}
	m.check()
}

// TestHtree_Linear keeps a directory linear where its image has no indexes.
func TestHtree_Linear(t *testing.T) {
	m := openMem(t, "linear")
	dir := m.mkdir(Root, "dir")
	for i := range 100 {
		m.mkfile(dir, fmt.Sprintf("%03d%s", i, strings.Repeat("n", 100)), nil)
	}
	if levels, _, _ := m.index(dir); levels >= 0 || m.stat(dir).Flags&disk.InodeIndex != 0 {
		t.Fatalf("an index of %d levels", levels)
	}
	m.check()
}
