package fuse

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	disk "github.com/varvefs/varve/ondisk/ext4"
)

// stuck is a front whose device is stuck in a flush, and whose open epoch has no room for one more change.
type stuck struct {
	*wired
	release func()
	dying   atomic.Uint32 // thread
	filled  []chan gofuse.Status
	made    int
}

// newStuck is to be called in a bubble of package synctest. prepare makes what the test needs, before. The epoch has
// room still where it is not to be full.
func newStuck(t *testing.T, full bool, prepare func(*wired)) *stuck {
	s := &stuck{wired: newWired(t, Options{})}
	s.front.killed = func(thread uint32) bool { return thread == s.dying.Load() }
	prepare(s.wired)
	s.must(wireFsync, gofuse.FsyncIn{InHeader: head(1)})
	s.mkdir(1, "before")
	s.release = s.device.hold()
	s.filled = append(s.filled, s.begin(func() gofuse.Status {
		return s.front.Fsync(nil, &gofuse.FsyncIn{InHeader: head(1)})
	}))
	for full {
		name := fmt.Sprintf("d%d", s.made)
		c := s.begin(func() gofuse.Status {
			return s.front.Mkdir(nil, &gofuse.MkdirIn{InHeader: head(1), Mode: 0o755}, name, &gofuse.EntryOut{})
		})
		if len(c) == 0 {
			s.filled = append(s.filled, c)
			return s
		}
		if status := <-c; !status.Ok() {
			t.Fatalf("directory %d: %v", s.made, status)
		}
		s.made++
	}
	return s
}

// begin begins a request, and returns when it has ended or waits.
func (s *stuck) begin(do func() gofuse.Status) chan gofuse.Status {
	c := make(chan gofuse.Status, 1)
	go func() { c <- do() }()
	synctest.Wait()
	return c
}

// end has the device go on, and waits for all that waited.
func (s *stuck) end() {
	s.release()
	for _, c := range s.filled {
		if status := <-c; !status.Ok() {
			s.t.Errorf("a request that waited for room: %v", status)
		}
	}
}

// request is a request of a thread that is interrupted by cancel.
type request func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status

// waitingRequests are the requests that change something, on a file f with an attribute, a file g, and an empty
// directory d.
var waitingRequests = map[string]request{
	"mkdir": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Mkdir(cancel, &gofuse.MkdirIn{InHeader: h}, "new", &gofuse.EntryOut{})
	},
	"mknod": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Mknod(cancel, &gofuse.MknodIn{InHeader: h, Mode: syscall.S_IFIFO}, "new", &gofuse.EntryOut{})
	},
	"create": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Create(cancel, &gofuse.CreateIn{InHeader: h}, "new", &gofuse.CreateOut{})
	},
	"tmpfile": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Tmpfile(cancel, &gofuse.CreateIn{InHeader: h}, &gofuse.CreateOut{})
	},
	"symlink": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Symlink(cancel, &h, "target", "new", &gofuse.EntryOut{})
	},
	"link": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		in := gofuse.LinkIn{InHeader: h, Oldnodeid: s.nodes["f"]}
		return s.front.Link(cancel, &in, "new", &gofuse.EntryOut{})
	},
	"unlink": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Unlink(cancel, &h, "f")
	},
	"rmdir": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Rmdir(cancel, &h, "d")
	},
	"rename": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Rename(cancel, &gofuse.RenameIn{InHeader: h, Newdir: 1}, "f", "new")
	},
	"chmod": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		in := setAttr(s.nodes["f"], gofuse.SetAttrInCommon{Valid: gofuse.FATTR_MODE, Mode: 0o600})
		in.Pid = h.Pid
		return s.front.SetAttr(cancel, &gofuse.SetAttrIn{SetAttrInCommon: in}, &gofuse.AttrOut{})
	},
	"truncate": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		in := setAttr(s.nodes["f"], gofuse.SetAttrInCommon{Valid: gofuse.FATTR_SIZE})
		in.Pid = h.Pid
		return s.front.SetAttr(cancel, &gofuse.SetAttrIn{SetAttrInCommon: in}, &gofuse.AttrOut{})
	},
	"setxattr": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		return s.front.SetXAttr(cancel, &gofuse.SetXAttrIn{InHeader: h}, "user.new", []byte("value"))
	},
	"removexattr": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		return s.front.RemoveXAttr(cancel, &h, "user.a")
	},
	"write": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		_, status := s.front.Write(cancel, &gofuse.WriteIn{InHeader: h, Offset: 1 << 20}, []byte("new"))
		return status
	},
	"direct write": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		in := gofuse.WriteIn{InHeader: h, Offset: 1 << 20, Flags: syscall.O_DIRECT | syscall.O_DSYNC}
		_, status := s.front.Write(cancel, &in, make([]byte, 4096))
		return status
	},
	"fallocate": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		return s.front.Fallocate(cancel, &gofuse.FallocateIn{InHeader: h, Length: 1 << 20})
	},
	"punch": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		in := gofuse.FallocateIn{InHeader: h, Length: 4096, Mode: fallocPunchHole | fallocKeepSize}
		return s.front.Fallocate(cancel, &in)
	},
	"copy": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		in := gofuse.CopyFileRangeIn{InHeader: h, NodeIdOut: s.nodes["g"], Len: 100}
		_, status := s.front.CopyFileRange(cancel, &in)
		return status
	},
	"chattr": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		h.NodeId = s.nodes["f"]
		flags := nativeEndian.AppendUint32(nil, disk.InodeNoAtime|disk.InodeExtents)
		in := gofuse.IoctlIn{InHeader: h, Cmd: fsIocSetFlags}
		return s.front.Ioctl(cancel, &in, flags, &gofuse.IoctlOut{}, nil)
	},
	"fsync": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
		return s.front.Fsync(cancel, &gofuse.FsyncIn{InHeader: h})
	},
}

// tree is all that the requests could change.
func (s *stuck) tree() string {
	s.t.Helper()
	var names []uint64
	for _, name := range []string{"f", "g", "d", "new"} {
		names = append(names, s.lookup(1, name).NodeId)
	}
	f, g := s.attr(s.nodes["f"]), s.attr(s.nodes["g"])
	xattrs := s.must(wireListXattr, gofuse.GetXAttrIn{InHeader: head(s.nodes["f"]), Size: 1000})
	flags := s.must(wireIoctl, gofuse.IoctlIn{InHeader: head(s.nodes["f"]), Cmd: fsIocGetFlags, OutSize: 4})
	return fmt.Sprintln(names, f, g, string(xattrs), flags, s.read(s.nodes["f"], 0, 100), s.read(s.nodes["g"], 0, 100))
}

// TestWire_KilledWaiting: a request that waits for room, while the device is stuck, goes on waiting after a signal with
// a handler, and ends with EINTR when its thread is killed. It has changed nothing.
func TestWire_KilledWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStuck(t, true, prepareWaiting)
		before := s.tree()
		thread := uint32(1000)
		for what, do := range waitingRequests {
			thread++
			h := head(1)
			h.Pid = thread
			cancel := make(chan struct{})
			c := s.begin(func() gofuse.Status { return do(s, cancel, h) })
			close(cancel)
			time.Sleep(3 * deathCheck)
			if len(c) > 0 {
				t.Errorf("%s: %v after a signal, and the device is stuck", what, <-c)
				continue
			}
			s.dying.Store(thread)
			time.Sleep(2 * deathCheck)
			select {
			case status := <-c:
				if status != gofuse.Status(syscall.EINTR) {
					t.Errorf("%s of a thread that is killed: %v", what, status)
				}
			default:
				t.Errorf("%s of a thread that is killed goes on", what)
				s.filled = append(s.filled, c)
			}
			s.dying.Store(0)
		}
		if after := s.tree(); after != before {
			t.Errorf("before: %s\nafter:  %s", before, after)
		}
		s.end()
		if after := s.tree(); after != before {
			t.Errorf("before: %s\nwhen the device goes on: %s", before, after)
		}
	})
}

// kept is a notifier that keeps what it is told.
type kept struct{ nodes chan uint64 }

func (k kept) InodeNotify(node uint64, off, length int64) gofuse.Status {
	k.nodes <- node
	return gofuse.OK
}

// TestWire_KilledDurable: a change that is done, and that its maker wants durable, succeeds though the maker is killed
// while the device is stuck: the kernel would take it for one that failed.
func TestWire_KilledDurable(t *testing.T) {
	for what, do := range map[string]request{
		"write": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
			h.NodeId = s.nodes["f"]
			in := gofuse.WriteIn{InHeader: h, Offset: 1 << 20, Flags: syscall.O_DIRECT | syscall.O_DSYNC}
			if n, status := s.front.Write(cancel, &in, make([]byte, 4096)); n != 4096 {
				return status
			}
			return gofuse.OK
		},
		"fallocate": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
			h.NodeId = s.nodes["f"]
			return s.front.Fallocate(cancel, &gofuse.FallocateIn{InHeader: h, Fh: openDurable, Length: 1<<20 + 4096})
		},
		"synchronous file": func(s *stuck, cancel <-chan struct{}, h gofuse.InHeader) gofuse.Status {
			in := setAttr(s.nodes["sync"], gofuse.SetAttrInCommon{Valid: gofuse.FATTR_SIZE, Size: 1<<20 + 4096})
			in.Pid = h.Pid
			return s.front.SetAttr(cancel, &gofuse.SetAttrIn{SetAttrInCommon: in}, &gofuse.AttrOut{})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStuck(t, false, func(w *wired) {
				prepareWaiting(w)
				w.nodes["sync"] = w.create(1, "sync")
				flags := nativeEndian.AppendUint32(nil, disk.InodeSync|disk.InodeExtents)
				in := gofuse.IoctlIn{InHeader: head(w.nodes["sync"]), Cmd: fsIocSetFlags, InSize: 4}
				w.must(wireIoctl, in, flags)
			})
			defer s.end()
			h := head(1)
			h.Pid = 7
			cancel := make(chan struct{})
			c := s.begin(func() gofuse.Status { return do(s, cancel, h) })
			if len(c) > 0 {
				t.Fatalf("%s: %v, and the device is stuck", what, <-c)
			}
			close(cancel)
			s.dying.Store(h.Pid)
			time.Sleep(2 * deathCheck)
			synctest.Wait()
			if len(c) == 0 {
				t.Fatalf("%s goes on", what)
			}
			if status := <-c; !status.Ok() {
				t.Errorf("%s: %v", what, status)
			}
			if f, sync := s.attr(s.nodes["f"]), s.attr(s.nodes["sync"]); max(f.Size, sync.Size) != 1<<20+4096 {
				t.Errorf("%s: sizes %d and %d", what, f.Size, sync.Size)
			}
		})
	}
}

// TestWire_PartlyDone: after an allocation that found no room the kernel is to drop what it has cached of the file,
// which may have got blocks; not after one that was refused.
func TestWire_PartlyDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWired(t, Options{})
		told := kept{make(chan uint64, 16)}
		w.front.listen(told)
		f := w.create(1, "f")
		w.refused(syscall.EOPNOTSUPP, wireFallocate, gofuse.FallocateIn{InHeader: head(f), Length: 1, Mode: 1 << 20})
		w.refused(syscall.EISDIR, wireFallocate, gofuse.FallocateIn{InHeader: head(1), Length: 1})
		synctest.Wait()
		if len(told.nodes) != 0 {
			t.Error("the kernel drops what it has cached of a file that is unchanged")
		}
		w.refused(syscall.ENOSPC, wireFallocate, gofuse.FallocateIn{InHeader: head(f), Length: 1 << 30})
		synctest.Wait()
		if len(told.nodes) != 1 || <-told.nodes != f {
			t.Error("the kernel keeps what it has cached of a file that an allocation has changed in part")
		}
	})
}

// prepareWaiting makes what waitingRequests change.
func prepareWaiting(w *wired) {
	w.nodes = map[string]uint64{"f": w.create(1, "f"), "g": w.create(1, "g"), "d": w.mkdir(1, "d")}
	w.write(w.nodes["f"], 0, make([]byte, 10000))
	in := gofuse.SetXAttrIn{InHeader: head(w.nodes["f"]), Size: 1}
	w.must(wireSetXattr, in, name("user.a"), []byte("1"))
	time.Sleep(time.Second)    // of the bubble
	w.read(w.nodes["f"], 0, 1) // the time of access is noted, and later than the last change
	w.read(w.nodes["g"], 0, 1)
}
