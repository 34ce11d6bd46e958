package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelTable is the kernel's table of mounts (proc(5), /proc/pid/mountinfo).
const kernelTable = "/proc/self/mountinfo"

// Info is one line of the kernel's table of mounts.
type Info struct {
	Dev   uint64
	Dir   string
	Type  string
	Owner uint32 // user_id of a FUSE mount

	ReadOnly bool // the file system, not this place of it alone
}

// Ours reports whether varve serves the mount, or did before it died.
func (i *Info) Ours() bool { return i.Type == "fuse.varve" || i.Type == "fuseblk.varve" }

// FindMount finds the mount that lies on a directory, the topmost one if there are several; nil if there is none. It
// asks the kernel's table only, so it works on dead mounts.
func FindMount(dir string) (*Info, error) {
	table, err := os.ReadFile(kernelTable)
	if err != nil {
		return nil, err
	}
	return findIn(string(table), func(i *Info) bool { return i.Dir == dir }), nil
}

// findOurs is FindMount of a directory that varve must have mounted.
func findOurs(dir string) (*Info, error) {
	dir, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	info, err := FindMount(dir)
	if err == nil && (info == nil || !info.Ours()) {
		err = fmt.Errorf("%s is no mount of varve's", dir)
	}
	return info, err
}

// mounted reports whether a device is mounted anywhere in this namespace.
func mounted(dev uint64) bool {
	table, err := os.ReadFile(kernelTable)
	return err == nil && findIn(string(table), func(i *Info) bool { return i.Dev == dev }) != nil
}

// findIn returns the last line of a table for which match is true.
func findIn(table string, match func(*Info) bool) (found *Info) {
	for line := range strings.Lines(table) {
		if i, ok := parseInfo(line); ok && match(i) {
			found = i
		}
	}
	return found
}

// parseInfo reads one line: id, parent, device, root, mount point, options, optional fields, "-", type, source,
// options of the file system.
func parseInfo(line string) (*Info, bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return nil, false
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(f[2], "%d:%d", &major, &minor); err != nil {
		return nil, false
	}
	i := &Info{Dev: unix.Mkdev(major, minor), Dir: unescape(f[4])}
	for at := 6; at+3 < len(f); at++ {
		if f[at] != "-" {
			continue
		}
		i.Type = f[at+1]
		for _, o := range strings.Split(f[at+3], ",") {
			i.ReadOnly = i.ReadOnly || o == "ro"
			if id, ok := strings.CutPrefix(o, "user_id="); ok {
				n, _ := strconv.ParseUint(id, 10, 32)
				i.Owner = uint32(n)
			}
		}
		break
	}
	return i, true
}

// unescape undoes the octal escapes of the tables of mounts.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escape writes a path as the tables of mounts do: blanks and backslashes by octal escapes.
func escape(path string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
}
