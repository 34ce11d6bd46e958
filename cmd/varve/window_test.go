package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// TestUmount_Window unmounts as umount(8) does where varve's helper is not installed: it does not wait for the daemon.
// The image is free, and clean, soon after; how soon is logged (VARVE_WINDOW_ROUNDS=N go test -v -run TestUmount_Window
// ./cmd/varve). A mount that was idle has nothing left to write home.
func TestUmount_Window(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	rounds, _ := strconv.Atoi(os.Getenv("VARVE_WINDOW_ROUNDS"))
	for _, c := range []struct {
		name  string
		after func(dir string)
	}{
		{"loaded", func(string) {}},
		{"synced", func(dir string) { must(t, "sync", dir) }},
		{"idle", func(dir string) { must(t, "sync", dir); waitFor(t, func() bool { return allHome(t, dir) }) }},
	} {
		var windows []time.Duration
		for range max(rounds, 1) {
			windows = append(windows, umountWindow(t, c.after))
		}
		slices.Sort(windows)
		t.Logf("%s: the image is free %v after umount(2) returned (median of %d, longest %v)", c.name,
			windows[len(windows)/2], len(windows), windows[len(windows)-1])
	}
}

// umountWindow loads a mount, unmounts it, and returns how long the image was held thereafter.
func umountWindow(t *testing.T, after func(dir string)) time.Duration {
	t.Helper()
	image, dir := rwImage(t, "256M"), t.TempDir()
	must(t, "mount", "--rw", image, dir)
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 20_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	after(dir)
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	waitFor(t, func() bool { return unix.Unmount(dir, 0) == nil })
	began := time.Now()
	for unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		if time.Since(began) > time.Minute {
			t.Fatal("the image is still held after a minute")
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	oracle.MustRun(t, "e2fsck", "-fn", image)
	return took
}

// allHome reports whether a mount's journal holds nothing that is not home.
func allHome(t *testing.T, dir string) bool {
	var st struct {
		Store struct {
			Pressure float64 `json:"wal_pressure"`
		} `json:"store"`
	}
	if err := json.Unmarshal([]byte(must(t, "stats", "--json", dir).Stdout), &st); err != nil {
		t.Fatal(err)
	}
	return st.Store.Pressure == 0
}
