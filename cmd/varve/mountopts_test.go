package main

import (
	"io"
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
	for _, bad := range []string{"nosuid=1", "allow_other=yes", "part", "fsoffset=-1", "unknown", "remount", "overlay=", "rw,overlay=", "part=", "memory=4611686018427387904", "cache=1025G"} {
		if _, err := parseMountOptions([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestMountOptions_Contradictions refuses command lines that ask for a mount that writes, and for one that does not: none of them may end in writing to an image.
func TestMountOptions_Contradictions(t *testing.T) {
	for _, args := range [][]string{
		{"--rw", "-o", "ro"}, {"-o", "ro,overlay=/x"}, {"--overlay", "/x", "-o", "ro"}, {"--rw", "--overlay", ""}, {"--rw", "-o", "overlay="},
		{"--rw", "--commit", "-1"}, {"--rw", "--commit", "0"}, {"--rw", "--commit", "9223372036854775807"}, {"--commit", "5"}, {"--rw", "--data", ""},
	} {
		if code := run(append([]string{"varve", "mount", "/dev/null", "/"}, args...), io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	for _, list := range []string{"ro,rw", "ro,rw,overlay=/x"} {
		o, err := parseMountOptions([]string{list})
		if o.live = o.live || o.overlay != ""; err != nil || o.check() != nil || !o.live {
			t.Errorf("%s: %+v, %v, %v", list, o, err, o.check())
		}
	}
}
