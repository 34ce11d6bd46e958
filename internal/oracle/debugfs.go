package oracle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Debugfs reads a tree with debugfs: for each of the given paths what its stat command prints, and for files a dump of
// the contents. Attributes are not compared this way.
func Debugfs(t testing.TB, image string, paths []string) Manifest {
	t.Helper()
	m := Manifest{}
	dir := t.TempDir()
	var script strings.Builder
	for i, p := range paths {
		fmt.Fprintf(&script, "stat %s\n", quote(p))
		fmt.Fprintf(&script, "dump %s %s\n", quote(p), filepath.Join(dir, strconv.Itoa(i)))
	}
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("debugfs", "-f", file, image)
	cmd.Env = append(os.Environ(), "DEBUGFS_PAGER=__none__")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("debugfs: %v", err)
	}
	parts := strings.Split(string(out), "debugfs: stat ")
	if len(parts) != len(paths)+1 {
		t.Fatalf("debugfs described %d of %d paths", len(parts)-1, len(paths))
	}
	for i, p := range paths {
		n, err := parseStat(parts[i+1])
		if err != nil {
			t.Fatalf("debugfs, %s: %v\n%s", p, err, parts[i+1])
		}
		if n.Mode&unix.S_IFMT == unix.S_IFREG {
			if n.SHA256, err = hashFile(filepath.Join(dir, strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		m[p] = n
	}
	return m
}

func quote(p string) string {
	return `"/` + strings.ReplaceAll(strings.TrimPrefix(p, "."), `"`, `""`) + `"`
}

var (
	statHead  = regexp.MustCompile(`Type: (\S+(?: \S+)*?)\s+Mode:\s+(\d+)\s+Flags`)
	statOwner = regexp.MustCompile(`User:\s+(-?\d+)\s+Group:\s+(-?\d+)(?:\s+Project:\s+\d+)?\s+Size: (\d+)`)
	statLinks = regexp.MustCompile(`Links: (\d+)\s+Blockcount: (\d+)`)
	statTime  = regexp.MustCompile(`(?m)^\s*([acm]time): 0x([0-9a-f]+)(?::([0-9a-f]+))?`)
	statLink  = regexp.MustCompile(`Fast link dest: "(.*)"`)
	statDev   = regexp.MustCompile(`Device major/minor number: (\d+):(\d+)`)
)

var statTypes = map[string]uint32{"regular": unix.S_IFREG, "directory": unix.S_IFDIR, "symlink": unix.S_IFLNK,
	"character special": unix.S_IFCHR, "block special": unix.S_IFBLK, "FIFO": unix.S_IFIFO, "socket": unix.S_IFSOCK}

func parseStat(out string) (n Node, err error) {
	number := func(s string) uint64 {
		v, e := strconv.ParseInt(s, 10, 64) // ids are printed as signed numbers
		if e != nil && err == nil {
			err = e
		}
		return uint64(v)
	}
	head, owner := statHead.FindStringSubmatch(out), statOwner.FindStringSubmatch(out)
	links := statLinks.FindStringSubmatch(out)
	if head == nil || owner == nil || links == nil {
		return n, fmt.Errorf("not understood")
	}
	kind, ok := statTypes[head[1]]
	if !ok {
		return n, fmt.Errorf("type %q", head[1])
	}
	mode, err := strconv.ParseUint(head[2], 8, 32)
	n.Mode = kind | uint32(mode)
	n.UID, n.GID, n.Size = uint32(number(owner[1])), uint32(number(owner[2])), number(owner[3])
	n.Links, n.Blocks = number(links[1]), number(links[2])
	for _, m := range statTime.FindAllStringSubmatch(out, -1) {
		sec, _ := strconv.ParseUint(m[2], 16, 32)
		at := int64(int32(sec))
		extra, _ := strconv.ParseUint(m[3], 16, 32)
		s := stamp(at+int64(extra&3)<<32, int64(extra>>2))
		switch m[1] {
		case "atime":
			n.Atime = s
		case "mtime":
			n.Mtime = s
		case "ctime":
			n.Ctime = s
		}
	}
	if m := statLink.FindStringSubmatch(out); m != nil {
		n.Target = m[1]
	}
	if m := statDev.FindStringSubmatch(out); m != nil {
		n.Rdev = unix.Mkdev(uint32(number(m[1])), uint32(number(m[2])))
	}
	return n, err
}
