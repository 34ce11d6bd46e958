package fuse

import "sync"

// listings guesses, for each process that lists directories, whether it also wants the attributes of what it finds.
//
// READDIRPLUS hands the kernel the attributes with the names. For a walk that looks at every file (tar, ls -l, du) that
// saves a request a file. For one that wants names only (find) it makes the kernel set up an inode for each, which
// costs it more than all the rest. The kernel does not say which of the two it is, but a process that was given names
// alone and then asks for one of them gives itself away.
//
// The first directory of a process is listed with attributes, so that ls -l of a large one is never wrong. The second
// one is listed by names alone, as a probe, if it is small. As long as nothing was asked for after that, so are those
// that follow; the first question turns the process into one that wants attributes. Subdirectories always have
// theirs, because a walk will enter them.
type listings struct {
	mu    sync.Mutex // guards slots
	slots [64]lister
}

// lister is the state of one process.
type lister struct {
	pid   uint32
	dirs  int    // directories it began to list
	node  uint64 // the directory it lists
	plain bool   // whether that one is listed by names alone
	wants bool   // it asked for the attributes of a name in a directory listed by names alone
	spent int    // directories since it did
}

const (
	probeSize  = 64 << 10 // bytes; larger directories are no probes
	forgetWant = 1000     // directories after which a process is probed again
)

// names reports whether a process that lists a directory of size bytes from offset on is given names alone.
func (l *listings) names(pid uint32, node, offset, size uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.slots[pid%uint32(len(l.slots))]
	if s.pid != pid {
		*s = lister{pid: pid}
	}
	if offset != 0 && s.node == node {
		return s.plain
	}
	s.dirs++
	s.node = node
	if s.wants {
		if s.spent++; s.spent > forgetWant {
			s.wants, s.dirs = false, 1
		}
	}
	s.plain = !s.wants && (s.dirs > 2 || s.dirs == 2 && size <= probeSize)
	if s.dirs == 2 && !s.plain {
		s.dirs = 1 // no probe yet
	}
	return s.plain
}

// asked notes that a process looked up a name that is no directory.
func (l *listings) asked(pid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := &l.slots[pid%uint32(len(l.slots))]; s.pid == pid {
		s.wants, s.spent = true, 0
	}
}
