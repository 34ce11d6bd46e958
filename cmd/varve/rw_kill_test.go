package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/oracle"
)

// TestRW_Kill ends the daemon of a loaded mount by SIGKILL, again and again: what fsync had acknowledged is there after
// the next mount, and e2fsck finds nothing wrong.
func TestRW_Kill(t *testing.T) {
	rounds := 4
	if n, err := strconv.Atoi(os.Getenv("VARVE_KILL_ROUNDS")); err == nil {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	overlay, log := filepath.Join(t.TempDir(), "overlay"), filepath.Join(t.TempDir(), "log")
	for _, options := range []string{"rw", "rw,data=journal", "overlay=" + overlay, "rw,wal=" + log} {
		t.Run(strings.TrimSuffix(strings.TrimSuffix(options, overlay), log), func(t *testing.T) {
			oracle.NeedFUSE(t)
			image := rwImage(t, "64M")
			if strings.Contains(options, "wal=") {
				image = rwImage(t, "64M", "-O", "^has_journal")
			}
			dir := t.TempDir()
			rng := rand.New(rand.NewPCG(seed, 1))
			writers := make([]*killWriter, 4)
			for i := range writers {
				writers[i] = &killWriter{name: fmt.Sprint("w", i)}
			}
			if keep := os.Getenv("VARVE_KILL_KEEP"); keep != "" { // a file for the image of a round that failed
				t.Cleanup(func() {
					if t.Failed() {
						oracle.MustRun(t, "cp", image, keep)
					}
				})
			}
			for range rounds {
				pid := mountPid(t, image, dir, options)
				for _, w := range writers {
					w.check(t, dir)
				}
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for _, w := range writers {
					wg.Go(func() { w.run(dir, stop) })
				}
				time.Sleep(time.Duration(20+rng.IntN(200)) * time.Millisecond)
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				close(stop)
				wg.Wait()
				must(t, "umount", dir)
				if strings.Contains(options, "wal=") {
					needsLog(t, image, dir)
				}
			}
			mountPid(t, image, dir, options)
			total := 0
			for _, w := range writers {
				w.check(t, dir)
				total += w.acknowledged
			}
			must(t, "umount", dir)
			if strings.HasPrefix(options, "overlay") {
				must(t, "commit", image, overlay)
			}
			oracle.Clean(t, image)
			t.Logf("%d rounds, %d records acknowledged", rounds, total)
			if total == 0 {
				t.Error("nothing was ever acknowledged")
			}
		})
	}
}

// needsLog has every command name the log that a crash left an image in need of.
func needsLog(t *testing.T, image, dir string) {
	t.Helper()
	for _, args := range [][]string{{"mount", image, dir}, {"mount", "--rw", image, dir}, {"ls", image}, {"fsck", image}} {
		if r := varve(t, args...); r.Code == exitOK || !strings.Contains(r.Stderr, "wal=FILE") {
			t.Errorf("varve %v without the log: %+v", args, r)
		}
	}
	if r := must(t, "info", image); !strings.Contains(r.Stdout, "needs the log beside the image") {
		t.Errorf("varve info without the log: %s", r.Stdout)
	}
}

// mountPid mounts an image and returns its daemon's process.
func mountPid(t *testing.T, image, dir, options string) int {
	t.Helper()
	r := must(t, "mount", "--json", image, dir, "-o", options)
	var m daemon.Mounted
	if err := json.Unmarshal([]byte(r.Stdout), &m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if info, err := daemon.FindMount(dir); err == nil && info != nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
			_ = syscall.Kill(m.Pid, syscall.SIGKILL)
		}
	})
	return m.Pid
}

// killWriter appends records to a file of its own, with an fsync after each, and makes a file of its own for every
// tenth.
type killWriter struct {
	name         string
	acknowledged int // records
	files        int // files whose creation and contents were acknowledged
}

const recordSize = 1000

func (w *killWriter) record(i int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%s %06d.", w.name, i)), recordSize)[:recordSize]
}

func (w *killWriter) run(dir string, stop chan struct{}) {
	f, err := os.OpenFile(filepath.Join(dir, w.name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	for {
		select {
		case <-stop:
			return
		default:
		}
		i := w.acknowledged
		if _, err := f.WriteAt(w.record(i), int64(i)*recordSize); err != nil {
			return
		}
		if f.Sync() != nil {
			return
		}
		w.acknowledged++
		if i%10 == 0 && w.file(dir) != nil {
			return
		}
	}
}

// file makes a file under a name that it is not seen by before it is whole.
func (w *killWriter) file(dir string) error {
	tmp, name := filepath.Join(dir, w.name+".tmp"), filepath.Join(dir, fmt.Sprint(w.name, ".", w.files))
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(w.record(w.files))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err == nil {
		var d *os.File
		if d, err = os.Open(dir); err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
	}
	if err == nil {
		w.files++
	}
	return err
}

// check compares what is there with what was acknowledged.
func (w *killWriter) check(t *testing.T, dir string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, w.name))
	if err != nil && (w.acknowledged > 0 || !errors.Is(err, os.ErrNotExist)) {
		t.Fatalf("%s: %v, and %d records were acknowledged", w.name, err, w.acknowledged)
	}
	if len(got) < w.acknowledged*recordSize {
		t.Fatalf("%s has %d bytes, and %d records of %d were acknowledged", w.name, len(got), w.acknowledged,
			recordSize)
	}
	for i := range w.acknowledged {
		if !bytes.Equal(got[i*recordSize:(i+1)*recordSize], w.record(i)) {
			p, q := got[i*recordSize:(i+1)*recordSize], w.record(i)
			at := 0
			for p[at] == q[at] {
				at++
			}
			t.Fatalf("%s: record %d of %d acknowledged ones is wrong: at byte %d of the file %.40q, expected %.40q",
				w.name, i, w.acknowledged, i*recordSize+at, p[at:], q[at:])
		}
	}
	for i := range w.files {
		if got, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(w.name, ".", i))); err != nil ||
			!bytes.Equal(got, w.record(i)) {
			t.Fatalf("%s.%d was acknowledged: %v, %d bytes", w.name, i, err, len(got))
		}
	}
}
