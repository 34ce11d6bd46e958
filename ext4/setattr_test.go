package ext4

import (
	"fmt"
	"testing"
	"time"

	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

func ref[T any](v T) *T { return &v }

// TestSetAttr_Modes: permissions and owners, and which of setuid and setgid a change leaves.
func TestSetAttr_Modes(t *testing.T) {
	const file, dir = disk.ModeRegular, disk.ModeDir
	for _, c := range []struct {
		name   string
		before uint16
		attr   Attr
		mode   uint16
		uid    uint32
		gid    uint32
	}{
		{"chmod", file | 0o644, Attr{Mode: ref[uint16](0o600)}, file | 0o600, 1, 2},
		{"chmod with setuid", file | 0o644, Attr{Mode: ref[uint16](0o4755)}, file | 0o4755, 1, 2},
		{"chmod keeps the type", file | 0o644, Attr{Mode: ref[uint16](dir | 0o700)}, file | 0o700, 1, 2},
		{"chown clears both", file | 0o6755, Attr{UID: ref[uint32](70000)}, file | 0o755, 70000, 2},
		{"chgrp clears both", file | 0o6755, Attr{GID: ref[uint32](1 << 20)}, file | 0o755, 1, 1 << 20},
		{"chown keeps setgid of mandatory locking", file | 0o6744, Attr{UID: ref[uint32](3)}, file | 0o2744, 3, 2},
		{"chown of a directory", dir | 0o6755, Attr{UID: ref[uint32](3)}, dir | 0o6755, 3, 2},
		{"chown with a mode", file | 0o6755, Attr{UID: ref[uint32](3), Mode: ref[uint16](0o4711)}, file | 0o4711, 3, 2},
		{"a size clears", file | 0o6755, Attr{Size: ref[uint64](9), ClearPrivileges: true}, file | 0o755, 1, 2},
		{"a size of root's", file | 0o6755, Attr{Size: ref[uint64](9)}, file | 0o6755, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "1k")
			n := ok(m.Create(Cred{UID: 1, GID: 2}, Root, "n", CreateOptions{Mode: c.before}))(t)
			got := ok(m.SetAttr(Cred{}, NodeOf(&n), c.attr))(t)
			if got.Mode != c.mode || got.UID != c.uid || got.GID != c.gid {
				t.Errorf("0%o of %d:%d, expected 0%o of %d:%d", got.Mode, got.UID, got.GID, c.mode, c.uid, c.gid)
			}
			again := m.reopenSynced().stat(NodeOf(&n))
			if again.Mode != got.Mode || again.UID != got.UID || again.GID != got.GID || !again.Ctime.Equal(got.Ctime) {
				t.Errorf("opened again: 0%o of %d:%d", again.Mode, again.UID, again.GID)
			}
			if !got.Ctime.After(n.Ctime) {
				t.Error("the time of change stays")
			}
			m.check()
		})
	}
}

// reopenSynced writes everything home, and opens that.
func (m *memFS) reopenSynced() *memFS {
	m.t.Helper()
	m.sync()
	return m.reopen()
}

// TestSetAttr_Times sets times that each size of inode can hold, and finds them again.
func TestSetAttr_Times(t *testing.T) {
	for _, c := range []struct {
		form string
		at   time.Time
		want time.Time
	}{
		{"1k", time.Unix(1, 999999999), time.Unix(1, 999999999)},
		{"1k", time.Unix(-1, 5), time.Unix(-1, 5)},
		{"1k", time.Unix(-1<<31, 0), time.Unix(-1<<31, 0)},
		{"1k", time.Unix(1<<32+7, 1), time.Unix(1<<32+7, 1)},
		{"1k", time.Unix(15032385535, 0), time.Unix(15032385535, 0)},
		{"inode 128", time.Unix(1<<31-1, 999), time.Unix(1<<31-1, 0)},
		{"inode 128", time.Unix(-5, 0), time.Unix(-5, 0)},
	} {
		t.Run(fmt.Sprint(c.form, " ", c.at.Unix()), func(t *testing.T) {
			m := openMem(t, c.form)
			f := m.mkfile(Root, "f", nil)
			ok(m.SetAttr(Cred{}, f, Attr{Atime: &c.at, Mtime: &c.at, Explicit: true}))(t)
			if n := m.reopenSynced().stat(f); !n.Atime.Equal(c.want) || !n.Mtime.Equal(c.want) {
				t.Errorf("times are %v and %v, expected %v", n.Atime, n.Mtime, c.want)
			}
			m.check()
		})
	}
}

// TestSetAttr_Refused: immutable inodes change in nothing; append-only ones take the present time, and no more.
func TestSetAttr_Refused(t *testing.T) {
	m := openMem(t, "1k")
	now := time.Now()
	mode := Attr{Mode: ref[uint16](0o600)}
	for _, c := range []struct {
		flag uint32
		what string
		attr Attr
		want error
	}{
		{disk.InodeImmutable, "mode", mode, ErrNotPermit},
		{disk.InodeImmutable, "time", Attr{Mtime: &now}, ErrNotPermit},
		{disk.InodeAppend, "mode", mode, ErrNotPermit},
		{disk.InodeAppend, "owner", Attr{UID: ref[uint32](1)}, ErrNotPermit},
		{disk.InodeAppend, "size", Attr{Size: ref[uint64](0)}, ErrNotPermit},
		{disk.InodeAppend, "a chosen time", Attr{Mtime: &now, Explicit: true}, ErrNotPermit},
		{disk.InodeAppend, "the present time", Attr{Mtime: &now}, nil},
	} {
		f := m.mkfile(Root, fmt.Sprintf("%x %s", c.flag, c.what), []byte("x"))
		is(t, "chattr", m.SetFlags(Cred{}, f, m.stat(f).Flags&VisibleFlags|c.flag), nil)
		_, err := m.SetAttr(Cred{}, f, c.attr)
		is(t, c.what, err, c.want)
	}
	_, err := m.SetAttr(Cred{}, m.mkdir(Root, "dir"), Attr{Size: ref[uint64](0)})
	is(t, "the size of a directory", err, ErrIsDir)
	link := m.make(Root, "link", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: "x"})
	_, err = m.SetAttr(Cred{}, link, Attr{Size: ref[uint64](0)})
	is(t, "the size of a symlink", err, ErrInvalid)
	f := m.mkfile(Root, "f", nil)
	_, err = m.SetAttr(Cred{}, f, Attr{Size: ref[uint64](1 << 50)})
	is(t, "a size that nothing maps", err, ErrTooBig)
	m.unlink(Root, "f")
	_, err = m.SetAttr(Cred{}, f, mode)
	is(t, "an inode that is gone", err, ErrStale)
}

// TestTouch_Rules: when reading sets the time of access.
func TestTouch_Rules(t *testing.T) {
	day := 24 * time.Hour
	base := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		name  string
		opts  WriteOptions
		flags uint32
		atime time.Duration // after base, which is the time of the last change
		now   time.Duration
		want  bool
	}{
		{"read since the change", WriteOptions{}, 0, time.Hour, 2 * time.Hour, false},
		{"changed since it was read", WriteOptions{}, 0, -time.Hour, 2 * time.Hour, true},
		{"at the same time", WriteOptions{}, 0, 0, time.Hour, true},
		{"a day ago", WriteOptions{}, 0, time.Hour, time.Hour + day, true},
		{"strictatime", WriteOptions{StrictAtime: true}, 0, time.Hour, 2 * time.Hour, true},
		{"noatime", WriteOptions{NoAtime: true}, 0, -time.Hour, 2 * day, false},
		{"chattr +A", WriteOptions{}, disk.InodeNoAtime, -time.Hour, 2 * day, false},
		{"strictatime and chattr +A", WriteOptions{StrictAtime: true}, disk.InodeNoAtime, -time.Hour, 2 * day, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := base
			c.opts.Now = func() time.Time { return at }
			m := openMemWith(t, memImageOf(t, "1k"), c.opts)
			f := m.mkfile(Root, "f", nil)
			is(t, "chattr", m.SetFlags(Cred{}, f, disk.InodeExtents|c.flags), nil)
			ok(m.SetAttr(Cred{}, f, Attr{Atime: ref(base.Add(c.atime)), Explicit: true}))(t)
			at = base.Add(c.now)
			is(t, "touch", m.Touch(Cred{}, f), nil)
			n := m.stat(f)
			if got := n.Atime.Equal(at); got != c.want {
				t.Errorf("the time of access is %v: set is %v, expected %v", n.Atime, got, c.want)
			}
			if !n.Ctime.Equal(base) {
				t.Error("reading set the time of change")
			}
		})
	}
}

// TestSetFlags_Cases: the flags that chattr(1) may set, and those that need more than a bit.
func TestSetFlags_Cases(t *testing.T) {
	const extents = disk.InodeExtents
	user, root := Cred{UID: 1, GID: 1}, Cred{}
	for _, c := range []struct {
		name  string
		mode  uint16
		cred  Cred
		flags uint32
		err   error
	}{
		{"nodump", disk.ModeRegular, root, extents | disk.InodeNoDump, nil},
		{"immutable", disk.ModeRegular, root, extents | disk.InodeImmutable, nil},
		{"the owner's nodump", disk.ModeRegular, user, extents | disk.InodeNoDump, nil},
		{"the owner's immutable", disk.ModeRegular, user, extents | disk.InodeImmutable, ErrNotPermit},
		{"another user's nodump", disk.ModeRegular, Cred{UID: 2}, extents | disk.InodeNoDump, ErrNotPermit},
		{"dirsync of a file", disk.ModeRegular, root, extents | disk.InodeDirSync, ondisk.ErrUnsupported},
		{"dirsync of a directory", disk.ModeDir, root, extents | disk.InodeDirSync, nil},
		{"journal data", disk.ModeRegular, root, extents | disk.InodeJournalData, ondisk.ErrUnsupported},
		{"casefold", disk.ModeDir, root, extents | disk.InodeCasefold, ondisk.ErrUnsupported},
		{"a flag that does not exist", disk.ModeRegular, root, extents | 1<<31, ondisk.ErrUnsupported},
		{"sync of a pipe", disk.ModeFIFO, root, disk.InodeSync, ondisk.ErrUnsupported},
		{"nodump of a pipe", disk.ModeFIFO, root, disk.InodeNoDump, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openMem(t, "1k")
			n := ok(m.Create(user, Root, "n", CreateOptions{Mode: c.mode | 0o644}))(t)
			err := m.SetFlags(c.cred, NodeOf(&n), c.flags)
			is(t, "chattr", err, c.err)
			want := n.Flags
			if err == nil {
				want = c.flags
			}
			if got := m.stat(NodeOf(&n)).Flags; got != want {
				t.Errorf("flags are 0x%x, expected 0x%x", got, want)
			}
			m.check()
		})
	}
}

// TestFileAttr_Whole: struct fsxattr is set as a whole, reads as it was set, and touches no other flag.
func TestFileAttr_Whole(t *testing.T) {
	m := openMem(t, "project")
	d := m.mkdir(Root, "d")
	is(t, "chattr", m.SetFlags(Cred{}, d, disk.InodeExtents|disk.InodeDirSync|disk.InodeNoAtime), nil)
	for _, a := range []FileAttr{{0x80 | 0x200, 9}, {0x8 | 0x10 | 0x20, 9}, {0, 1<<32 - 1}, {}} {
		is(t, "set", m.SetFileAttr(Cred{}, d, a), nil)
		n := m.stat(d)
		if got := n.FileAttr(); got != a {
			t.Errorf("reads as %+v, set to %+v", got, a)
		}
		if !n.Has(disk.InodeDirSync) {
			t.Error("dirsync is gone")
		}
		is(t, "clear", m.SetFileAttr(Cred{}, d, FileAttr{}), nil)
	}
	m.check()

	plain := openMem(t, "1k")
	f := plain.mkfile(Root, "f", nil)
	is(t, "a project without the feature", plain.SetFileAttr(Cred{}, f, FileAttr{0x80, 9}), ondisk.ErrUnsupported)
	if n := plain.stat(f); n.Has(disk.InodeNoDump) {
		t.Error("half of it is set")
	}
	small := openMem(t, "inode 128")
	f = small.mkfile(Root, "f", nil)
	is(t, "flags alone", small.SetFileAttr(Cred{}, f, FileAttr{Xflags: 0x80}), nil)
}

// TestCheckOpen_Cases: open(2) of files that are immutable or only grow.
func TestCheckOpen_Cases(t *testing.T) {
	const rdonly, wronly, rdwr, trunc, app = 0, 1, 2, 0x200, 0x400
	for _, c := range []struct {
		inode uint32
		flags uint32
		want  error
	}{
		{0, rdwr | trunc, nil},
		{disk.InodeImmutable, rdonly, nil},
		{disk.InodeImmutable, wronly, ErrNotPermit},
		{disk.InodeImmutable, rdwr | app, ErrNotPermit},
		{disk.InodeImmutable, rdonly | trunc, ErrNotPermit},
		{disk.InodeAppend, rdonly, nil},
		{disk.InodeAppend, wronly, ErrNotPermit},
		{disk.InodeAppend, wronly | app, nil},
		{disk.InodeAppend, wronly | app | trunc, ErrNotPermit},
		{disk.InodeEncrypt, rdonly, ErrNoKey},
	} {
		n := Inode{Inode: disk.Inode{Mode: disk.ModeRegular, Flags: c.inode}}
		is(t, fmt.Sprintf("flags 0x%x, open with 0x%x", c.inode, c.flags), n.CheckOpen(c.flags), c.want)
	}
}
