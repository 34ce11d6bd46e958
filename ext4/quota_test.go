package ext4

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// quota is the entry of an id as the newest snapshot has it. ok is false where it has none.
func (m *memFS) quota(t disk.QuotaType, id uint32) (d disk.Dquot, ok bool) {
	m.t.Helper()
	err := m.View(func(fs *FS) error {
		q, err := fs.quotaFile(t)
		if err != nil {
			return err
		}
		_, d, err = q.find(id)
		return err
	})
	if errors.Is(err, ErrNotExist) {
		return d, false
	}
	is(m.t, "quota", err, nil)
	return d, true
}

// limit sets limits of a user.
func (m *memFS) limit(t disk.QuotaType, id uint32, spaceSoft, spaceHard, inodeSoft, inodeHard uint64) {
	m.t.Helper()
	l := QuotaLimits{&spaceSoft, &spaceHard, &inodeSoft, &inodeHard}
	is(m.t, "set limits", m.SetQuota(t, id, l), nil)
}

// own gives a file to a user and a group.
func (m *memFS) own(node Node, uid, gid uint32) {
	m.t.Helper()
	_, err := m.SetAttr(Cred{}, node, Attr{UID: &uid, GID: &gid})
	is(m.t, "chown", err, nil)
}

// listed is what debugfs shows of the quotas of a type: a line an id.
func listed(t *testing.T, image string, typ disk.QuotaType) map[string]string {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", "list_quota "+typ.String(), image).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, line := range strings.Split(string(out), "\n")[1:] {
		if f := strings.Fields(line); len(f) > 0 {
			lines[f[0]] = strings.Join(f[1:], " ")
		}
	}
	return lines
}

// quotaFile is a file of a user of quotas.
type quotaTester struct {
	*memFS
	rng   *rand.Rand
	files []Node
	names []string
}

// step does one operation of a random user.
func (q *quotaTester) step(i int) {
	cred := Cred{UID: uint32(q.rng.IntN(4)) * 1000, GID: uint32(q.rng.IntN(3)) * 70000}
	if k := q.rng.IntN(10); len(q.files) == 0 || k < 2 {
		name := fmt.Sprintf("file %d", i)
		c := CreateOptions{Mode: disk.ModeRegular | 0o644}
		switch q.rng.IntN(5) {
		case 0:
			c.Mode = disk.ModeDir | 0o755
		case 1:
			c = CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("t", 20+q.rng.IntN(400))}
		}
		n := ok(q.Create(cred, Root, name, c))(q.t)
		q.files, q.names = append(q.files, NodeOf(&n)), append(q.names, name)
		return
	}
	k := q.rng.IntN(len(q.files))
	node := q.files[k]
	n := q.stat(node)
	switch what := q.rng.IntN(9); {
	case what == 0:
		q.own(node, cred.UID, cred.GID)
	case what == 1:
		err := q.SetFileAttr(Cred{}, node, FileAttr{Project: uint32(q.rng.IntN(3)) * 1e9})
		if q.super.ROCompat&disk.ROCompatProject != 0 && !n.IsSymlink() {
			is(q.t, "project", err, nil)
		}
	case what == 2 && !n.IsSymlink():
		value := fill(i, q.rng.IntN(700)+1)
		if q.super.Incompat&disk.IncompatEAInode != 0 && i%2 == 0 {
			value = fill(i%6, 1+i%20*700)
		}
		is(q.t, "setxattr", q.SetXattr(cred, node, "user.x", value, 0, false), nil)
	case what == 3:
		remove := q.Unlink
		if n.IsDir() {
			remove = q.Rmdir
		}
		r, err := remove(cred, Root, q.names[k])
		if errors.Is(err, ErrNotEmpty) {
			return
		}
		is(q.t, "remove", err, nil)
		is(q.t, "evict", q.Evict(r.Node), nil)
		q.files = append(q.files[:k], q.files[k+1:]...)
		q.names = append(q.names[:k], q.names[k+1:]...)
	case n.IsDir():
		for j := range 12 {
			q.mkfile(node, fmt.Sprintf("%d %d %s", i, j, strings.Repeat("n", 200)), nil)
		}
	case !n.IsRegular():
	case what == 4:
		size := uint64(q.rng.IntN(60000))
		_, err := q.SetAttr(cred, node, Attr{Size: &size})
		is(q.t, "truncate", err, nil)
	case what == 5:
		err := q.Allocate(cred, node, uint64(q.rng.IntN(30000)), uint64(q.rng.IntN(30000)+1), false)
		if n.Has(disk.InodeExtents) {
			is(q.t, "fallocate", err, nil)
		}
	default:
		q.write(node, int64(q.rng.IntN(50000)), fill(i, q.rng.IntN(8000)+1))
	}
}

// TestQuota_Usage does random operations of several users, groups and projects; e2fsck counts anew what each has, and
// compares it.
func TestQuota_Usage(t *testing.T) {
	eachForm(t, []string{"quota", "quota 4k", "quota ptrs", "values quota"}, func(t *testing.T, m *memFS) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		q := &quotaTester{memFS: m, rng: rand.New(rand.NewPCG(seed, 0))}
		for i := range 600 {
			q.step(i)
			if i%200 == 199 {
				path := m.check()
				if len(listed(t, path, disk.UserQuota)) < 3 {
					t.Fatal("debugfs lists fewer than three users")
				}
			}
		}
	})
}

// TestQuota_NewIDs gives files to many users: their entries need blocks of the tree and of entries, which are used
// again when the users have nothing any more.
func TestQuota_NewIDs(t *testing.T) {
	eachForm(t, []string{"quota", "quota 4k"}, func(t *testing.T, m *memFS) {
		node := m.mkfile(Root, "file", fill(1, 3000))
		var size uint64
		for round := range 3 {
			for i := range uint32(100) {
				m.own(node, i*7919<<10|i%5, 0)
				if i%2 == 0 {
					m.limit(disk.UserQuota, i, 0, 0, uint64(i+1)*uint64(round%2), 0)
				}
			}
			path := m.check()
			ids := listed(t, path, disk.UserQuota)
			want := 2 // root and the owner
			if round%2 == 1 {
				want += 50 - 1 // limits keep entries; one of them is root's
			}
			if len(ids) != want {
				t.Fatalf("round %d: debugfs lists %d users, expected %d: %v", round, len(ids), want, ids)
			}
			var now Inode
			is(t, "quota file", m.View(func(fs *FS) error { return fs.slot(&now, disk.UserQuotaIno) }), nil)
			if round > 0 && now.Size > size*3/2 {
				t.Fatalf("the file with quotas grew from %d to %d bytes", size, now.Size)
			}
			size = now.Size
		}
		if now := m.reopen(); now.super.QuotaIno(disk.UserQuota) != disk.UserQuotaIno {
			t.Fatal("no file with quotas")
		}
	})
}

// user is a request of an ordinary user.
func user(id uint32) Cred { return Cred{UID: id, GID: id} }

// write1k writes so many blocks of 1 KiB into a file, and returns how many fitted.
func (m *memFS) write1k(cred Cred, node Node, blocks int) (int, error) {
	n, err := m.Write(cred, node, 0, fill(1, blocks<<10), false)
	return n >> 10, err
}

// TestQuota_Limits has each limit reached by each kind of operation that uses it up.
func TestQuota_Limits(t *testing.T) {
	m := openMem(t, "quota")
	open := m.mkdir(Root, "open")
	file := func(cred Cred, name string) (Node, error) {
		n, err := m.Create(cred, open, name, CreateOptions{Mode: disk.ModeRegular | 0o644})
		return NodeOf(&n), err
	}
	m.limit(disk.UserQuota, 1000, 0, 10, 0, 3)
	a := ok(file(user(1000), "a"))(t)
	if n, err := m.write1k(user(1000), a, 14); n != 10 || !errors.Is(err, ErrQuota) {
		t.Fatalf("%d of 14 blocks with a limit of 10: %v", n, err)
	}
	is(t, "fallocate", m.Allocate(user(1000), a, 20<<10, 1<<10, false), ErrQuota)
	is(t, "attributes", m.SetXattr(user(1000), a, "user.x", fill(1, 600), 0, false), ErrQuota)
	if n, err := m.write1k(Cred{}, a, 14); n != 14 || err != nil {
		t.Fatalf("root wrote %d blocks: %v", n, err)
	}
	_, err := m.write1k(user(1000), a, 15)
	is(t, "over the limit by root", err, ErrQuota)
	size := uint64(0)
	_, err = m.SetAttr(user(1000), a, Attr{Size: &size})
	is(t, "truncate", err, nil)
	ok(file(user(1000), "b"))(t)
	ok(file(user(1000), "c"))(t)
	_, err = file(user(1000), "d")
	is(t, "a fourth inode", err, ErrQuota)
	_, err = m.Create(user(1000), open, "d", CreateOptions{Mode: disk.ModeDir | 0o755})
	is(t, "a directory", err, ErrQuota)
	m.unlink(open, "c")
	ok(file(user(1000), "d"))(t)
	if d, _ := m.quota(disk.UserQuota, 1000); d.Inodes != 3 || d.Space != 0 {
		t.Fatalf("usage at the end: %+v", d)
	}
	m.limit(disk.GroupQuota, 1000, 0, 2, 0, 0)
	if n, err := m.write1k(user(1000), a, 5); n != 2 || !errors.Is(err, ErrQuota) {
		t.Fatalf("%d of 5 blocks with a limit of 2 for the group: %v", n, err)
	}
	m.check()
}

// TestQuota_Grace: a soft limit may be exceeded for its grace time, and counts anew when usage was below it.
func TestQuota_Grace(t *testing.T) {
	now := time.Unix(1.7e9, 0)
	m := openMemWith(t, memImageOf(t, "quota"), WriteOptions{Now: func() time.Time { return now }})
	a := ok(m.Create(user(7), Root, "a", CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	node := NodeOf(&a)
	m.limit(disk.UserQuota, 7, 4, 0, 2, 0)
	write := func(blocks int, want error) {
		t.Helper()
		_, err := m.write1k(user(7), node, blocks)
		is(t, fmt.Sprintf("write %d blocks", blocks), err, want)
	}
	times := func(space, inodes int64) {
		t.Helper()
		if d, _ := m.quota(disk.UserQuota, 7); d.SpaceTime != space || d.InodeTime != inodes {
			t.Fatalf("grace times %d and %d, expected %d and %d", d.SpaceTime, d.InodeTime, space, inodes)
		}
	}
	write(4, nil)
	times(0, 0)
	write(5, nil)
	const week = 7 * 24 * 3600
	end := now.Unix() + week
	times(end, 0)
	now = now.Add((week - 1) * time.Second)
	write(6, nil)
	times(end, 0)
	now = now.Add(time.Second)
	write(7, ErrQuota)
	size := uint64(5 << 10)
	ok(m.SetAttr(user(7), node, Attr{Size: &size}))(t)
	times(end, 0)
	write(6, ErrQuota)
	size = 4 << 10
	ok(m.SetAttr(user(7), node, Attr{Size: &size}))(t)
	times(0, 0)
	write(6, nil)
	times(now.Unix()+week, 0)
	for _, name := range []string{"b", "c", "d"} {
		ok(m.Create(user(7), Root, name, CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	}
	times(now.Unix()+week, now.Unix()+week)
	now = now.Add(week * time.Second)
	_, err := m.Create(user(7), Root, "e", CreateOptions{Mode: disk.ModeRegular | 0o644})
	is(t, "an inode after the grace time", err, ErrQuota)
	ok(m.Create(Cred{UID: 0, GID: 7}, Root, "e", CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	m.check()
	without := openMemWith(t, m.store.image.p, WriteOptions{Quotas: QuotaOptions{Off: true}})
	ok(without.Create(user(7), Root, "f", CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	without.check()
	others := QuotaOptions{Asked: [disk.QuotaTypes]bool{disk.GroupQuota: true}}
	groups := openMemWith(t, m.store.image.p, WriteOptions{Quotas: others})
	ok(groups.Create(user(7), Root, "g", CreateOptions{Mode: disk.ModeRegular | 0o644}))(t)
	store := newMemStore(memImageOf(t, "1k"), 1024)
	_, err = OpenWritable(ok(Open(store.image, Options{}))(t), store, store.image, WriteOptions{Quotas: others})
	is(t, "limits of an image without quotas", err, ondisk.ErrUnsupported)
}

// TestQuota_Transfer: chown and a change of the project take usage along, and are refused where the new id's limits
// say so.
func TestQuota_Transfer(t *testing.T) {
	m := openMem(t, "quota")
	node := m.mkfile(Root, "file", fill(1, 5<<10))
	is(t, "attributes", m.SetXattr(Cred{}, node, "user.x", fill(1, 600), 0, false), nil)
	m.own(node, 10, 10)
	for _, typ := range []disk.QuotaType{disk.UserQuota, disk.GroupQuota} {
		if d, _ := m.quota(typ, 10); d.Space != 6<<10 || d.Inodes != 1 {
			t.Fatalf("%s after chown: %+v", typ, d)
		}
	}
	m.limit(disk.GroupQuota, 20, 0, 5, 0, 0)
	gid := uint32(20)
	_, err := m.SetAttr(user(10), node, Attr{GID: &gid})
	is(t, "to a group with too little room", err, ErrQuota)
	if got := m.stat(node).GID; got != 10 {
		t.Fatalf("group %d after a chgrp that was refused", got)
	}
	m.limit(disk.GroupQuota, 20, 0, 6, 0, 1)
	ok(m.SetAttr(user(10), node, Attr{GID: &gid}))(t)
	m.limit(disk.ProjectQuota, 5, 0, 5, 0, 0)
	is(t, "project", m.SetFileAttr(user(10), node, FileAttr{Project: 5}), ErrQuota)
	m.limit(disk.ProjectQuota, 5, 0, 6, 0, 0)
	is(t, "project", m.SetFileAttr(user(10), node, FileAttr{Project: 5}), nil)
	if d, _ := m.quota(disk.ProjectQuota, 5); d.Space != 6<<10 || d.Inodes != 1 {
		t.Fatalf("project: %+v", d)
	}
	m.limit(disk.UserQuota, 30, 0, 1, 0, 0)
	m.own(node, 30, 30) // root
	_, err = m.write1k(user(30), node, 6)
	is(t, "write over the limit", err, ErrQuota)
	m.check()
}

// TestQuota_Project: what is made in a directory of a project counts for it, and nothing is moved in from another one.
func TestQuota_Project(t *testing.T) {
	m := openMem(t, "quota")
	dir := m.mkdir(Root, "dir")
	is(t, "project", m.SetFileAttr(Cred{}, dir, FileAttr{Project: 9, Xflags: 0x200}), nil)
	m.mkfile(dir, "in", fill(1, 3<<10))
	m.mkdir(dir, "sub")
	out := m.mkfile(Root, "out", nil)
	if d, _ := m.quota(disk.ProjectQuota, 9); d.Inodes != 3 || d.Space != 5<<10 {
		t.Fatalf("project: %+v", d)
	}
	_, err := m.Link(Cred{}, out, dir, "linked")
	is(t, "link", err, ErrCross)
	_, err = m.Rename(Cred{}, Root, "out", dir, "moved", 0)
	is(t, "rename", err, ErrCross)
	m.limit(disk.ProjectQuota, 9, 0, 0, 0, 3)
	_, err = m.Create(user(1), dir, "fourth", CreateOptions{Mode: disk.ModeRegular | 0o644})
	is(t, "one more than the project may have", err, ErrQuota)
	m.check()
}

// TestQuota_Merge runs one operation between another of the same user and its commit: both stand, and neither runs
// again, unless a limit is reached.
func TestQuota_Merge(t *testing.T) {
	for _, c := range []struct {
		name                           string
		spaceSoft, spaceHard, inodeTop uint64
		aborts                         int64
		want                           error
	}{
		{"no limits", 0, 0, 0, 0, nil},
		{"hard limits", 0, 100, 100, 0, nil},
		{"below the soft limit", 50, 100, 100, 0, nil},
		{"over the soft limit", 1, 100, 100, 0, nil},
		{"the second reaches the hard limit", 0, 7, 0, 1, ErrQuota},
		{"the second reaches it in its grace time", 1, 7, 0, 1, ErrQuota},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "quota")
			a, b := m.mkfile(Root, "a", nil), m.mkfile(Root, "b", nil)
			m.own(a, 5, 5)
			m.own(b, 5, 5)
			m.limit(disk.UserQuota, 5, c.spaceSoft, c.spaceHard, 0, c.inodeTop)
			m.store.between = func() {
				if n, err := m.write1k(user(5), a, 4); n != 4 || err != nil {
					t.Errorf("first: %d, %v", n, err)
				}
			}
			_, err := m.WriteWhole(user(5), b, 0, fill(2, 4<<10), false)
			is(t, "second", err, c.want)
			s := m.Operations()[opWrite]
			if c.want == nil && (s.Aborts != 0 || s.Merged == 0) || s.Aborts > c.aborts {
				t.Fatalf("statistics: %+v", s)
			}
			d, _ := m.quota(disk.UserQuota, 5)
			if want := uint64(8 << 10); c.want == nil && d.Space != want {
				t.Fatalf("usage %d, expected %d", d.Space, want)
			}
			if over := c.spaceSoft != 0 && d.Space > c.spaceSoft<<10; over != (d.SpaceTime != 0) {
				t.Fatalf("usage %d, soft limit %d KiB, grace time until %d", d.Space, c.spaceSoft, d.SpaceTime)
			}
			m.check()
		})
	}
}

// checkOwnerBetween gives a file to another user between a write and its commit.
func checkOwnerBetween(t *testing.T) {
	m := openMem(t, "quota")
	node := m.mkfile(Root, "file", fill(1, 1<<10))
	m.mkfile(Root, "other", nil)
	m.own(node, 5, 5)
	m.own(m.lookup(Root, "other"), 6, 6)
	m.store.between = func() { m.own(node, 6, 6) }
	m.write(node, 0, fill(1, 4<<10))
	for id, want := range map[uint32]uint64{5: 0, 6: 4 << 10} {
		if d, _ := m.quota(disk.UserQuota, id); d.Space != want {
			t.Fatalf("user %d has %d bytes, expected %d", id, d.Space, want)
		}
	}
	m.store.between = func() { m.write(node, 0, fill(1, 8<<10)) }
	m.own(node, 5, 5)
	m.check()
}

func TestQuota_OwnerBetween(t *testing.T) { checkOwnerBetween(t) }

// TestQuota_Full: a new user needs an entry. If there is no block for it, the operation that needs it is refused,
// and others are not.
func TestQuota_Full(t *testing.T) {
	m := openMem(t, "quota")
	node := m.mkfile(Root, "file", nil)
	m.exhaust()
	var kept []run
	for {
		r, err := m.alloc.reserve(0, 64, 0, claim{promised: true})
		if err != nil {
			break
		}
		kept = append(kept, r)
	}
	var err error
	for i := uint32(1); i < 40 && err == nil; i++ { // in its last block the file has room for some
		uid := i << 24
		_, err = m.SetAttr(Cred{}, node, Attr{UID: &uid})
	}
	is(t, "a new user on a full file system", err, ErrNoSpace)
	for _, r := range kept {
		m.alloc.release(r)
	}
	m.unlink(Root, "everything")
	m.own(node, 1<<31, 0)
	m.check()
}
