package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// TestUmount_TwoDaemons: the kernel gives a mount's number away again when it is gone, though its daemon may still be
// about to end. Unmounting waits for that one, and for its own.
func TestUmount_TwoDaemons(t *testing.T) {
	oracle.NeedFUSE(t)
	image := program.Image(t, "16M")
	dir, unmount := program.Mount(t, image, "--rw")
	info, err := FindMount(dir)
	if err != nil || info == nil {
		t.Fatalf("%v, %v", info, err)
	}
	other, err := net.Listen("unix", lifeName(info.Dev)+"0") // an older daemon, which ends in a moment
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan time.Time, 1)
	go func() {
		c, err := other.Accept()
		if err != nil {
			return
		}
		time.Sleep(300 * time.Millisecond)
		ended <- time.Now()
		_, _ = c.Write([]byte(lifeDone))
		c.Close()
		other.Close()
	}()
	unmount() // by varve umount
	select {
	case <-ended:
	default:
		t.Error("umount did not wait for the older daemon")
	}
	if left := program.DaemonsOf(t, dir); len(left) != 0 {
		t.Errorf("umount returned while %v still ran", left)
	}
	oracle.Clean(t, image)
}

// TestControl_Owner: a daemon removes its own socket, and not that of another one which has got its mount's number.
func TestControl_Owner(t *testing.T) {
	oracle.NeedFUSE(t)
	dir, unmount := program.Mount(t, program.Image(t, "16M"), "--rw")
	info, err := FindMount(dir)
	if err != nil || info == nil {
		t.Fatalf("%v, %v", info, err)
	}
	folder := controlDirs(os.Getuid())[0]
	if mode, err := os.Stat(folder); err != nil || mode.Mode().Perm() != 0o700 {
		t.Errorf("the sockets' folder: %v, %v", mode, err)
	}
	path := filepath.Join(folder, controlName(info.Dev))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unmount()
	if err := os.Remove(path); err != nil {
		t.Errorf("another daemon's socket is gone: %v", err)
	}
}

// TestWatch_Hostile: the user who mounted may open sockets that never say anything, or never end a line. Neither keeps
// an umount of root's for long, and the second takes no memory.
func TestWatch_Hostile(t *testing.T) {
	const silent = 40
	flood := make([]byte, 1<<16)
	for i := range silent + 1 {
		l, err := net.Listen("unix", fmt.Sprint(lifeName(noDevice), i))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				for i == silent && err == nil {
					_, err = c.Write(flood)
				}
			}
		}()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	found := watchLives(noDevice, uint32(os.Getuid()))
	defer found.close()
	runtime.ReadMemStats(&after)
	if took := time.Since(began); took > silent/2*time.Second || len(found) < silent {
		t.Errorf("%d daemons after %v", len(found), took)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("%d bytes allocated", got)
	}
}
