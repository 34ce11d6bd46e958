package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/varvefs/varve/internal/daemon"
)

const (
	demoWriters = 8
	demoFiles   = 150
)

// writeAndKill mounts the image read-write, has eight writers fill eight directories, ends the daemon by SIGKILL while
// they do, and compares what recovery left with what was acknowledged.
func (d *Demo) writeAndKill() error {
	start := time.Now()
	m, err := d.mountLive()
	if err != nil {
		return err
	}
	d.say(start, "varve mount --rw: %s", m.Options)
	start = time.Now()
	acked, report, err := d.race(m)
	if err != nil {
		return err
	}
	total := 0
	for _, n := range acked {
		total += n
	}
	d.say(start, "eight writers in eight directories: %d files acknowledged as durable; then kill -9 of the mount",
		total)
	_, _ = fmt.Fprint(d.Out, indent(report))
	if out, err := exec.Command(d.Program, "umount", d.path("mnt")).CombinedOutput(); err != nil {
		return fmt.Errorf("free the dead mount: %w: %s", err, out)
	}
	start = time.Now()
	if m, err = d.mountLive(); err != nil {
		return err
	}
	d.say(start, "mounted again: %d blocks came from the journal, %d orphan inodes were finished", m.ReplayedBlocks,
		m.Orphans)
	start = time.Now()
	for i, n := range acked {
		for j := range n {
			if p, err := os.ReadFile(d.demoFile(i, j)); err != nil || string(p) != demoContents(i, j) {
				return errors.Join(fmt.Errorf("file %d of writer %d was acknowledged, and is wrong", j, i), err)
			}
		}
	}
	d.say(start, "every acknowledged file is there, with every byte")
	start = time.Now()
	if out, err := exec.Command(d.Program, "umount", d.path("mnt")).CombinedOutput(); err != nil {
		return fmt.Errorf("varve umount: %w: %s", err, out)
	}
	fsck := exec.Command("e2fsck", "-fn", d.path("image"))
	fsck.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin")
	out, err := fsck.CombinedOutput()
	if err != nil {
		return fmt.Errorf("e2fsck -fn: %w\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	d.say(start, "unmounted; e2fsck -fn finds nothing wrong: %s", lines[len(lines)-1])
	return nil
}

func indent(s string) string {
	return "             " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n             ") + "\n"
}

func (d *Demo) mountLive() (*daemon.Mounted, error) {
	cmd := exec.Command(d.Program, "mount", "--rw", "--json", d.path("image"), d.path("mnt"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, &daemon.MountError{Err: fmt.Errorf("%w: %s", err, stderr.String())}
	}
	var m daemon.Mounted
	return &m, json.Unmarshal(out, &m)
}

func (d *Demo) demoFile(writer, file int) string {
	return filepath.Join(d.path("mnt"), "race", fmt.Sprint("writer-", writer), fmt.Sprint("file-", file))
}

func demoContents(writer, file int) string {
	return strings.Repeat(fmt.Sprintf("writer %d, file %d\n", writer, file), 100)
}

// race has the writers write, and ends the daemon when half of the files are there. It returns how many files of each
// writer were acknowledged as durable, and the mount's statistics.
func (d *Demo) race(m *daemon.Mounted) (acked []int, report string, err error) {
	for i := range demoWriters {
		if err := os.MkdirAll(filepath.Dir(d.demoFile(i, 0)), 0o755); err != nil {
			return nil, "", err
		}
	}
	acked = make([]int, demoWriters)
	var wg sync.WaitGroup
	half := make(chan struct{}, demoWriters)
	for i := range demoWriters {
		wg.Go(func() {
			for j := range demoFiles {
				if j == demoFiles/2 {
					half <- struct{}{}
				}
				if d.writeDurable(i, j) != nil {
					return
				}
				acked[i] = j + 1
			}
		})
	}
	<-half
	if out, err := exec.Command(d.Program, "stats", d.path("mnt")).Output(); err == nil {
		report = string(out)
	}
	err = syscall.Kill(m.Pid, syscall.SIGKILL)
	wg.Wait()
	return acked, report, err
}

// writeDurable makes a file; its directory's fsync makes the name durable, too.
func (d *Demo) writeDurable(writer, file int) error {
	f, err := os.Create(d.demoFile(writer, file))
	if err != nil {
		return err
	}
	_, err = f.WriteString(demoContents(writer, file))
	return errors.Join(err, f.Sync(), f.Close())
}
