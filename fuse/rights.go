package fuse

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

const capSysResource = 24

// mayUseReserved reports whether a thread has CAP_SYS_RESOURCE, or belongs to a group, which is none where 0. A request
// has its thread's user and first group only, so the rest comes from /proc. A thread that is not seen there has
// nothing.
func mayUseReserved(thread, gid uint32) bool {
	dir := fmt.Sprintf("/proc/%d", thread)
	p, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	member, capable := rightsIn(p, gid)
	return member || capable && sameUsers(dir)
}

// rightsIn finds groups and effective capabilities in what /proc/PID/status gives (proc(5)).
func rightsIn(status []byte, gid uint32) (member, capable bool) {
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "Groups":
			member = gid != 0 && slices.Contains(strings.Fields(value), strconv.FormatUint(uint64(gid), 10))
		case "CapEff":
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			capable = err == nil && caps>>capSysResource&1 != 0
		}
	}
	return member, capable
}

// sameUsers reports whether a process is in this one's user namespace: capabilities in another one count there only.
func sameUsers(dir string) bool {
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return false
	}
	its, err := os.Readlink(dir + "/ns/user")
	return err == nil && its == own
}
