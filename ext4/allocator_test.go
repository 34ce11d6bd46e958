package ext4

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/block"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// TestFindRun_Cases finds clear bits in small bitmaps, written as bits from the first on.
func TestFindRun_Cases(t *testing.T) {
	bitsOf := func(s string) []byte {
		p := make([]byte, (len(s)+7)/8)
		for i, c := range s {
			if c == '1' {
				p[i/8] |= 1 << (i % 8)
			}
		}
		return p
	}
	for _, c := range []struct {
		bits           string
		from, want     uint32
		at, length     uint32
		clear, padFrom int
	}{
		{"0000000000000000", 0, 4, 0, 4, 16, 16},
		{"1100011111110000", 0, 3, 2, 3, 7, 16},
		{"1100011111110000", 0, 4, 12, 4, 7, 16},
		{"1100011111110000", 0, 5, 12, 4, 7, 16}, // the longest, where none is long enough
		{"1100011111110000", 3, 2, 3, 2, 7, 16},
		{"1100011111110000", 5, 2, 12, 2, 7, 16},
		{"1111111111111111", 0, 1, 0, 0, 0, 16},
		{"111111110", 0, 1, 8, 1, 1, 9},
		{"0111111111111", 0, 2, 0, 1, 1, 13},
	} {
		p := bitsOf(c.bits)
		at, length := findRun(p, c.from, uint32(len(c.bits)), c.want)
		if length != c.length || length > 0 && at != c.at {
			t.Errorf(
				"%s from %d, %d wanted: %d at %d, expected %d at %d",
				c.bits,
				c.from,
				c.want,
				length,
				at,
				c.length,
				c.at,
			)
		}
		if got := countClear(p, len(c.bits)); got != c.clear {
			t.Errorf("%s: %d clear, expected %d", c.bits, got, c.clear)
		}
		padBits(p, c.padFrom)
		for i := c.padFrom; i < 8*len(p); i++ {
			if !bit(p, uint32(i)) {
				t.Errorf("%s: bit %d stands for nothing, and is clear", c.bits, i)
			}
		}
	}
}

// groupFree is how many blocks of each group are free.
func (m *memFS) groupFree() (out []int) {
	for i := range m.alloc.groups {
		out = append(out, m.alloc.groups[i].freeBlocks)
	}
	return out
}

// TestReserve_Groups: at the goal, behind it, in the next group; and reservations go back.
func TestReserve_Groups(t *testing.T) {
	m := openMem(t, "groups")
	a := &m.alloc
	before := m.groupFree()
	first := cluster(m.super.GroupFirst(3) + 500)
	r := ok(a.reserve(first, 10, 0, claim{}))(t)
	if r.start != first || r.n != 10 {
		t.Fatalf("at a free goal %d: %+v", first, r)
	}
	next := ok(a.reserve(first, 10, 0, claim{}))(t)
	if next.start != first+10 {
		t.Fatalf("behind what is taken: %+v", next)
	}
	a.release(next)
	if again := ok(a.reserve(first+10, 10, 0, claim{}))(t); again != next {
		t.Fatalf("after a release: %+v, expected %+v", again, next)
	}
	a.release(next)
	a.release(r)
	var taken []run
	for g := disk.Group(3); g == 3; { // until group 3 is full
		r := ok(a.reserve(first, 64, 0, claim{}))(t)
		taken = append(taken, r)
		g, _ = a.place(r.start)
	}
	if g, _ := a.place(taken[len(taken)-1].start); g != 4 {
		t.Errorf("behind group 3 comes group %d", g)
	}
	for _, r := range taken {
		a.release(r)
	}
	for _, goal := range []cluster{0, cluster(m.super.Blocks), cluster(m.super.Blocks + 5)} {
		r := ok(a.reserve(goal, 1, 0, claim{}))(t)
		if !m.super.Contains(block.Number(r.start), 1) {
			t.Errorf("for a goal of %d: block %d", goal, r.start)
		}
		a.release(r)
	}
	if got := m.groupFree(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("free blocks by group are %v, %v before", got, before)
	}
	m.check()
}

// TestReserve_Random reserves and releases at random: no block is given out twice, or is the file system's own.
func TestReserve_Random(t *testing.T) {
	for _, form := range []string{"groups", "bigalloc", "bigalloc 1k"} {
		t.Run(form, func(t *testing.T) { reserveRandom(t, openMem(t, form)) })
	}
}

func reserveRandom(t *testing.T, m *memFS) {
	rnd := rand.New(rand.NewSource(3))
	total := m.alloc.freeBlocks.Load()
	held := map[cluster]bool{}
	var runs []run
	for range 2000 {
		if len(runs) > 0 && rnd.Intn(3) == 0 {
			i := rnd.Intn(len(runs))
			r := runs[i]
			runs = append(runs[:i], runs[i+1:]...)
			for k := range r.n {
				delete(held, r.start+cluster(k))
			}
			m.alloc.release(r)
			continue
		}
		goal := clusterOf(m.super, block.Number(rnd.Int63n(int64(m.super.Blocks))))
		r, err := m.alloc.reserve(goal, uint32(1+rnd.Intn(40)), 0, claim{promised: true})
		if errors.Is(err, errStuck) {
			continue
		}
		is(t, "reserve", err, nil)
		is(t, "own blocks", m.Writable.own.check(r.start.first(m.super), uint64(r.n)*uint64(m.super.ClusterBlocks)), nil)
		for k := range r.n {
			if n := r.start + cluster(k); held[n] {
				t.Fatalf("cluster %d is given out twice", n)
			} else {
				held[n] = true
			}
		}
		runs = append(runs, r)
	}
	if got := m.alloc.freeBlocks.Load(); got != total-int64(len(held)) {
		t.Errorf("%d clusters are free, expected %d", got, total-int64(len(held)))
	}
	for _, r := range runs {
		m.alloc.release(r)
	}
	m.check()
}

// TestClaim_Reserved: the last blocks are for root, those behind them for nodes of extent trees that were promised.
func TestClaim_Reserved(t *testing.T) {
	m := openMem(t, "1k") // 5 % reserved for root
	a, user := &m.alloc, Cred{UID: 5, GID: 5}
	kept := int64(keptForNodes(m.super))
	if kept == 0 || m.super.ReservedBlocks == 0 {
		t.Fatal("the image reserves nothing")
	}
	all := func(c claim) (n int64) {
		for k := a.claim(64, 0, c); k > 0; k = a.claim(64, 0, c) {
			n += int64(k)
		}
		return n
	}
	free := a.freeBlocks.Load()
	for _, c := range []struct {
		claim claim
		left  int64
	}{
		{claim{cred: user}, kept + int64(m.super.ReservedBlocks)},
		{claim{cred: user}, kept + int64(m.super.ReservedBlocks)},
		{claim{cred: Cred{}}, kept},
		{claim{cred: user}, kept},
		{claim{cred: user, promised: true}, 0},
	} {
		all(c.claim)
		if got := a.freeBlocks.Load(); got != c.left {
			t.Errorf("%+v leaves %d of %d blocks, expected %d", c.claim, got, free, c.left)
		}
	}
	if m.Room() != 0 || m.RoomFor(t.Context(), 1) {
		t.Error("there is room")
	}
	a.freeBlocks.Store(free)
	if want := (free - kept - int64(m.super.ReservedBlocks)) * 1024; m.Room() != want || !m.RoomFor(t.Context(), want) {
		t.Errorf("room for %d bytes, expected %d", m.Room(), want)
	}
}

// TestMayUseReserved_Rights: root by its user, others by the rights that SetRights reads from their thread.
func TestMayUseReserved_Rights(t *testing.T) {
	m := openMem(t, "1k")
	var asked []uint32
	m.SetRights(func(thread, gid uint32) bool { asked = append(asked, thread); return thread == 7 })
	for _, c := range []struct {
		cred Cred
		want bool
	}{{Cred{}, true}, {Cred{UID: 5}, false}, {Cred{UID: 5, Thread: 6}, false}, {Cred{UID: 5, Thread: 7}, true}} {
		if got := m.alloc.mayUseReserved(c.cred); got != c.want {
			t.Errorf("%+v may use reserved blocks: %v", c.cred, got)
		}
	}
	if fmt.Sprint(asked) != "[6 7]" {
		t.Errorf("threads %v were asked", asked)
	}
	if !m.MayUseReserved(Cred{Thread: 6}) || m.MayUseReserved(Cred{UID: 5, Thread: 7}) {
		t.Error("MayUseReserved looks at the thread")
	}
}

// TestWindow_Interleaved: files that grow in turns are each in one piece, and closing gives back what they reserved.
func TestWindow_Interleaved(t *testing.T) {
	m := openMem(t, "4k")
	a, b := m.mkfile(Root, "a", nil), m.mkfile(Root, "b", nil)
	for i := range 48 {
		m.write(a, int64(i)*4096, fill(1, 4096))
		m.write(b, int64(i)*4096, fill(2, 4096))
	}
	if m.alloc.windows.blocks.Load() == 0 {
		t.Fatal("nothing is reserved behind files that grow")
	}
	for _, node := range []Node{a, b} {
		pieces := 0
		is(t, "map", m.View(func(fs *FS) error {
			var n Inode
			if err := fs.ReadNode(&n, node); err != nil {
				return err
			}
			for at := FileBlock(0); at < 48; pieces++ {
				r, err := n.Map(at)
				if err != nil {
					return err
				}
				at += FileBlock(r.Len)
			}
			return nil
		}), nil)
		if pieces > 8 {
			t.Errorf("a file of 48 blocks is in %d pieces", pieces)
		}
	}
	stat := ok(m.Writable.Stat())(t)
	m.Closed(a)
	m.Closed(b)
	if got := m.alloc.windows.blocks.Load(); got != 0 {
		t.Errorf("%d blocks are reserved for closed files", got)
	}
	if again := ok(m.Writable.Stat())(t); again.Free != stat.Free {
		t.Errorf("statfs has %d free blocks, %d while they were reserved", again.Free, stat.Free)
	}
	m.check()
}

// TestWindow_Give: what files have reserved goes to others before the file system is full.
func TestWindow_Give(t *testing.T) {
	m := openMem(t, "wide")
	for i := range 6 {
		node := m.mkfile(Root, fmt.Sprint("f", i), nil)
		for k := range 40 {
			m.write(node, int64(k)<<14, fill(i, 1<<14))
		}
	}
	if m.alloc.windows.blocks.Load() == 0 {
		t.Fatal("no file has a window")
	}
	m.exhaust()
	if got := m.alloc.freeBlocks.Load() - int64(keptForNodes(m.super)); got > 0 {
		t.Errorf("%d blocks are free on a full file system", got)
	}
	if m.alloc.windows.blocks.Load() != 0 {
		t.Error("windows are kept on a full file system")
	}
	m.check()
}

// TestFreed_Matures: freed blocks are not used before their commit is durable, and count as free from the start.
func TestFreed_Matures(t *testing.T) {
	m := openMem(t, "1k")
	m.exhaust()
	free := ok(m.Writable.Stat())(t).Free
	m.unlink(Root, "everything")
	if got := ok(m.Writable.Stat())(t).Free; got <= free {
		t.Errorf("%d blocks free after the file is gone, %d before", got, free)
	}
	if m.alloc.waiting.blocks.Load() == 0 || m.alloc.freeBlocks.Load() > int64(free) {
		t.Fatal("freed blocks are used before they may be")
	}
	syncs := m.store.syncs
	m.mkfile(Root, "next", fill(1, 1<<20)) // needs them: the open epoch is made durable first
	if m.store.syncs == syncs {
		t.Error("no epoch was made durable for freed blocks")
	}
	m.check()
}

// TestFreed_Snapshot: an old snapshot keeps freed blocks; the error names its reader.
func TestFreed_Snapshot(t *testing.T) {
	m := openMem(t, "1k")
	m.exhaust()
	is(t, "view", m.ViewNamed("a backup", func(*FS) error {
		m.unlink(Root, "everything")
		_, err := m.Write(Cred{}, m.mkfile(Root, "next", nil), 0, fill(1, 4<<20), false)
		is(t, "write", err, ErrNoSpace)
		if want := "snapshot of a backup"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, expected %q in it", err, want)
		}
		return nil
	}), nil)
	m.write(m.lookup(Root, "next"), 0, fill(1, 4<<20))
	m.check()
}

// TestInodes_Full takes every inode: the next one is refused, and a freed one is used again with another generation.
func TestInodes_Full(t *testing.T) {
	m := openMem(t, "small") // 64 inodes
	var last Node
	n := 0
	for ; ; n++ {
		c, err := m.Create(Cred{}, Root, fmt.Sprint("f", n), CreateOptions{Mode: disk.ModeRegular})
		if errors.Is(err, ErrNoSpace) {
			break
		}
		is(t, "create", err, nil)
		last = NodeOf(&c)
	}
	if s := ok(m.Writable.Stat())(t); s.FreeInodes != 0 {
		t.Errorf("%d inodes are free", s.FreeInodes)
	}
	_, err := m.Create(Cred{}, Root, "dir", CreateOptions{Mode: disk.ModeDir})
	is(t, "a directory", err, ErrNoSpace)
	m.unlink(Root, fmt.Sprint("f", n-1))
	again := m.mkfile(Root, "again", nil)
	if again.Ino() != last.Ino() || again == last {
		t.Errorf("the freed inode was %x, the new one is %x", last, again)
	}
	is(t, "the old node", m.View(func(fs *FS) error { return fs.ReadNode(new(Inode), last) }), ErrStale)
	m.check()
}

// TestInodes_Orlov: directories of the root are spread over the groups; files are near their directory.
func TestInodes_Orlov(t *testing.T) {
	m := openMem(t, "groups")
	group := func(n Node) uint32 { return uint32(n.Ino()-1) / m.super.InodesPerGroup }
	groups := map[uint32]bool{}
	for i := range 8 {
		d := m.mkdir(Root, fmt.Sprint("d", i))
		groups[group(d)] = true
		if f := m.mkfile(d, "f", nil); group(f) != group(d) {
			t.Errorf("a file is in group %d, its directory in %d", group(f), group(d))
		}
	}
	if len(groups) < 4 {
		t.Errorf("8 directories are in %d of %d groups", len(groups), m.super.Groups())
	}
	m.check()
}

// TestBitmaps_Leave: with a bound few bitmaps are in memory, and what was reserved in one that is used stays.
func TestBitmaps_Leave(t *testing.T) {
	m := openMemWith(t, memImageOf(t, "groups"), WriteOptions{Bitmaps: 1})
	const bound = 2                          // groups whose bitmaps stay
	const limit = int64(bound * 2 * 1 << 10) // a bitmap of blocks and one of inodes, of 1 KiB each
	m.alloc.bitmaps.limit = bound
	for i := range m.super.Groups() {
		r := ok(m.alloc.reserve(cluster(m.super.GroupFirst(i)+700), 3, 0, claim{}))(t)
		m.alloc.release(r)
	}
	if got := m.BitmapBytes(); got > limit {
		t.Errorf("bitmaps take %d bytes, expected at most %d", got, limit)
	}
	for i := range 30 {
		m.mkfile(m.mkdir(Root, fmt.Sprint("d", i)), "f", fill(i, 3000))
	}
	m.check()
}

// TestUndo_Reservations: an attempt that fails gives back all that it has reserved.
func TestUndo_Reservations(t *testing.T) {
	m := openMem(t, "1k")
	dir := m.mkdir(Root, "dir")
	m.sync()
	blocks, inodes := m.alloc.freeBlocks.Load(), m.alloc.freeInodes.Load()
	stop := errors.New("stop")
	err := m.do(opCreate, Cred{}, func(o *op) error {
		parent, err := o.parent(dir)
		if err != nil {
			return err
		}
		if _, err := o.create(parent, CreateOptions{Mode: disk.ModeDir | 0o755}, true); err != nil {
			return err
		}
		if _, err := o.allocate(2000, 20); err != nil {
			return err
		}
		return stop
	})
	is(t, "the operation", err, stop)
	if b, i := m.alloc.freeBlocks.Load(), m.alloc.freeInodes.Load(); b != blocks || i != inodes {
		t.Errorf("%d blocks and %d inodes are free, %d and %d before", b, i, blocks, inodes)
	}
	m.store.Fail(errors.New("the device is gone"))
	_, err = m.Create(Cred{}, dir, "f", CreateOptions{Mode: disk.ModeRegular})
	is(t, "after the store has failed", err, ErrFailed)
	if m.alloc.freeInodes.Load() != inodes {
		t.Error("a failed operation keeps an inode")
	}
	_ = m.Sync(context.Background())
}
