package fuse

import (
	"fmt"
	"os"
	"testing"
)

// TestRights reads groups and capabilities as /proc gives them.
func TestRights(t *testing.T) {
	for _, c := range []struct {
		groups, caps    string
		gid             uint32
		member, capable bool
	}{
		{"4 20 2000 ", "0000000000000000", 2000, true, false},
		{"4 20 12000 ", "0000000000000000", 2000, false, false},
		{"0 ", "0000000000000000", 0, false, false},
		{"", "0000000001000000", 2000, false, true},
		{"", "000001fffeffffff", 2000, false, false},
		{"", "000001ffffffffff", 0, false, true},
	} {
		status := fmt.Sprintf("Name:\tx\nGroups:\t%s\nCapPrm:\t000001ffffffffff\nCapEff:\t%s\n", c.groups, c.caps)
		if member, capable := rightsIn([]byte(status), c.gid); member != c.member || capable != c.capable {
			t.Errorf("%q, group %d: %v, %v", status, c.gid, member, capable)
		}
	}
	if !sameUsers(fmt.Sprint("/proc/", os.Getpid())) {
		t.Error("this process is in another user namespace than itself")
	}
	if mayUseReserved(1<<31-1, 4) {
		t.Error("a thread that does not exist may use reserved blocks")
	}
}
