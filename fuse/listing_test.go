package fuse

import "testing"

// TestListings_Guess follows processes that list directories.
func TestListings_Guess(t *testing.T) {
	const small, large = 4096, 1 << 20
	var l listings
	list := func(pid uint32, node, size uint64, want bool, what string) {
		t.Helper()
		if got := l.names(pid, node, 0, size); got != want {
			t.Errorf("%s: names alone is %v", what, got)
		}
		if got := l.names(pid, node, 99, size); got != want {
			t.Errorf("%s, further on: names alone is %v", what, got)
		}
	}
	list(1, 10, large, false, "the first directory")
	list(1, 11, large, false, "a large second one is no probe")
	list(1, 12, small, true, "a small one is")
	list(1, 13, large, true, "what follows an unanswered probe")
	l.asked(1)
	list(1, 14, small, false, "after a question")
	list(2, 10, small, false, "another process")
	list(2, 11, small, true, "its probe")
	list(1+64, 10, small, false, "a process that takes the slot of another")
	for node := uint64(100); node < 100+forgetWant; node++ {
		l.asked(2)
		l.names(2, node, 0, small)
	}
	list(2, 50, small, false, "as long as it asks")
	for node := uint64(2000); node < 2000+forgetWant; node++ {
		l.names(2, node, 0, small)
	}
	list(2, 51, small, true, "when it has not asked for long")
}
