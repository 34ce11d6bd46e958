package ext4

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varvefs/varve/ondisk"
)

// part lists a directory from a position on, so many entries at most, and gives the position behind them.
func (m *memFS) part(dir Node, position int64, limit int) (names []string, next int64) {
	m.t.Helper()
	next = position
	is(m.t, "list", m.View(func(fs *FS) error {
		var n Inode
		if err := fs.ReadNode(&n, dir); err != nil {
			return err
		}
		return n.ReadDir(position, func(e Dirent) bool {
			if limit--; limit < 0 {
				return false
			}
			names, next = append(names, string(e.Name)), e.Next
			return true
		})
	}), nil)
	return names, next
}

// TestListing_NamesMove: names that are there from the first call of a listing to the last one are listed once each,
// though other names come and go meanwhile, leaves split, and an inode's or a block's entries become a tree.
func TestListing_NamesMove(t *testing.T) {
	eachForm(t, []string{"1k", "4k", "ext3", "inline", "no checksum"}, func(t *testing.T, m *memFS) {
		for _, stable := range []int{0, 1, 5, 40, 300} {
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			name := fmt.Sprint("dir", stable)
			dir, file := m.mkdir(Root, name), m.mkfile(Root, "file"+name, nil)
			want := []string{".", ".."}
			for i := range stable {
				want = append(want, fmt.Sprintf("stays%d", i))
				ok(m.Link(Cred{}, file, dir, want[i+2]))(t)
			}
			others := map[string]bool{}
			var got []string
			for position := int64(0); ; {
				names, next := m.part(dir, position, 1+random.IntN(1+stable/4))
				if len(names) == 0 {
					break
				}
				position = next
				for _, s := range names {
					if s[0] != 'o' {
						got = append(got, s)
					}
				}
				for range 1 + random.IntN(1+stable/4) {
					other := fmt.Sprintf("o%d%s", random.IntN(2*stable+10), strings.Repeat("l", random.IntN(60)))
					if others[other] {
						ok(m.Unlink(Cred{}, dir, other))(t)
					} else {
						ok(m.Link(Cred{}, file, dir, other))(t)
					}
					others[other] = !others[other]
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %d names: listed %q", seed, stable, got)
			}
		}
		m.check()
	})
}

// TestListing_OneHash: names whose hashes do not differ in a position are numbered, so that each is listed once.
func TestListing_OneHash(t *testing.T) {
	var got []string
	from := uint64(0)
	for range 10 {
		r := &dirReader{dir: &Inode{}}
		h := &hashedReader{dirReader: r, from: from}
		for _, s := range []string{"e", "b", "a", "d", "c"} {
			h.batch = append(h.batch, hashedEntry{Dirent{Name: []byte(s)}, placeOf(0, 7)})
		}
		taken := 0
		h.deliver(0, lastHash, func(e Dirent) bool {
			if taken++; taken > 1 {
				return false
			}
			got, from = append(got, string(e.Name)), uint64(e.Next&^hashedPosition)
			return true
		})
	}
	if s := strings.Join(got, ""); s != "abcde" {
		t.Errorf("listed %q, one by one", s)
	}
}

// TestListing_DamagedIndex: where the hash tree of a directory gets damaged while it is listed, no name is missing, and
// the listing ends.
func TestListing_DamagedIndex(t *testing.T) {
	for _, half := range []bool{false, true} {
		m := openMem(t, "no checksum")
		dir, file := m.mkdir(Root, "dir"), m.mkfile(Root, "file", nil)
		want := map[string]bool{".": true, "..": true}
		for i := range 100 {
			name := fmt.Sprintf("name%d%s", i, strings.Repeat("l", 40))
			ok(m.Link(Cred{}, file, dir, name))(t)
			want[name] = true
		}
		m.sync()
		var names []string
		position := int64(0)
		if half {
			names, position = m.part(dir, 0, 50)
		}
		is(t, "damage the root", m.View(func(fs *FS) error {
			var n Inode
			if err := fs.ReadNode(&n, dir); err != nil {
				return err
			}
			at, err := n.blockAt(0)
			m.store.image.write([]byte{0, 0}, m.super.BlockSize.Offset(at)+hashRootBase+2)
			return err
		}), nil)
		for k := 0; ; k++ {
			var some []string
			err := m.View(func(fs *FS) error {
				var n Inode
				if err := fs.ReadNode(&n, dir); err != nil {
					return err
				}
				return n.ReadDir(position, func(e Dirent) bool {
					some, position = append(some, string(e.Name)), e.Next
					return len(some) < 20
				})
			})
			names = append(names, some...)
			if len(some) < 20 {
				is(t, "the end of a damaged directory", err, ondisk.ErrCorrupt)
				break
			}
			if k > 100 {
				t.Fatal("the listing does not end")
			}
		}
		for _, s := range names {
			delete(want, s)
		}
		delete(want, ".") // they lie in the block that is damaged
		delete(want, "..")
		if len(want) > 0 {
			t.Errorf("half %v: %d names are missing", half, len(want))
		}
	}
}
