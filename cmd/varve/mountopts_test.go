package main

import (
	"strings"
	"testing"
)

// TestMountOptions_LaterCounts has the later of two options count, as mount(8) does, within a list and over several.
func TestMountOptions_LaterCounts(t *testing.T) {
	for _, c := range []struct {
		lists []string
		want  string // in the effective options
		not   string
	}{
		{nil, "nosuid,nodev", "noexec"},
		{[]string{"suid,dev"}, "suid,dev", "nosuid"},
		{[]string{"suid,nosuid,dev,nodev,noexec,exec"}, "nosuid,nodev", "noexec"},
		{[]string{"suid", "nosuid"}, "nosuid", ",suid"},
		{[]string{"nosuid,suid"}, ",suid", "nosuid"},
		{[]string{"cache=1M,cache=2M"}, "cache=2097152", "1048576"},
	} {
		o, err := parseMountOptions(c.lists)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.effective(); !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%v: %s; expected %q in it, and %q not", c.lists, got, c.want, c.not)
		}
	}
	for _, bad := range []string{"nosuid=1", "allow_other=yes", "part", "fsoffset=-1", "unknown"} {
		if _, err := parseMountOptions([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
