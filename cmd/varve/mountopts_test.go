package main

import (
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
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
		if got := o.inForce(); !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%v: %s; expected %q in it, and %q not", c.lists, got, c.want, c.not)
		}
	}
	for _, bad := range []string{"nosuid=1", "allow_other=yes", "part", "fsoffset=-1", "unknown", "remount",
		"overlay=", "rw,overlay=", "part=", "memory=4611686018427387904", "cache=1025G"} {
		if _, err := parseMountOptions([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestMountOptions_Contradictions refuses command lines that ask for a mount that writes, and for one that does not:
// none of them may end in writing to an image.
func TestMountOptions_Contradictions(t *testing.T) {
	for _, args := range [][]string{
		{"--rw", "-o", "ro"}, {"-o", "ro,overlay=/x"}, {"--overlay", "/x", "-o", "ro"}, {"--rw", "--overlay", ""},
		{"--rw", "-o", "overlay="},
		{"--rw", "--commit", "-1"}, {"--rw", "--commit", "0"}, {"--rw", "--commit", "9223372036854775807"},
		{"--commit", "5"}, {"--rw", "--data", ""},
	} {
		args = append([]string{"varve", "mount", "/dev/null", "/"}, args...)
		if code := run(args, io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	for _, list := range []string{"ro,rw", "ro,rw,overlay=/x"} {
		o, err := parseMountOptions([]string{list})
		if o.Writable = o.Writable || o.Overlay != ""; err != nil || o.check() != nil || !o.Writable {
			t.Errorf("%s: %+v, %v, %v", list, o, err, o.check())
		}
	}
}

// TestMountOptions_Docs: the list of options in docs/cli.md is the one that the table makes. With VARVE_UPDATE_DOCS=1
// it is written.
func TestMountOptions_Docs(t *testing.T) {
	const page = "../../docs/cli.md"
	const begin, end = "<!-- made from cmd/varve/mountopttable.go", "<!-- end of the mount options -->\n"
	p, err := os.ReadFile(page)
	fatal(t, err)
	head, rest, ok := strings.Cut(string(p), begin)
	line, rest, ok2 := strings.Cut(rest, "\n")
	list, tail, ok3 := strings.Cut(rest, end)
	if !ok || !ok2 || !ok3 {
		t.Fatalf("%s has no place for the list between %q and %q", page, begin, end)
	}
	if os.Getenv("VARVE_UPDATE_DOCS") == "1" {
		fatal(t, os.WriteFile(page, []byte(head+begin+line+"\n\n"+optionDocs()+"\n"+end+tail), 0o644))
		return
	}
	if strings.TrimSpace(list) != strings.TrimSpace(optionDocs()) {
		t.Errorf(
			"the list in %s is not current: run VARVE_UPDATE_DOCS=1 go test -run TestMountOptions_Docs ./cmd/varve",
			page,
		)
	}
}

// TestMountOptions_Table: every name leads to one row, each row is in the help, and the help has no line that is too
// long.
func TestMountOptions_Table(t *testing.T) {
	help := optionHelp()
	seen := map[string]bool{}
	for i := range optionTable {
		r := &optionTable[i]
		for _, name := range slices.Concat(r.names, r.also) {
			if seen[name] || slices.Contains(ignoredOptions, name) {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
			if findOption(name) != r {
				t.Errorf("%s leads to another row", name)
			}
		}
		if !strings.Contains(help, "  "+r.title()) || r.meaning == "" {
			t.Errorf("%s has no help", r.title())
		}
	}
	for line := range strings.Lines(help) {
		if len(line) > 120 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

// allOptions are values that differ from the defaults, for each option that a mount can show.
var allOptions = map[mountKind]string{
	allMounts: "suid,dev,noexec,allow_other,max_background=7,part=auto,fsoffset=512,cache=3M,trace=/t," +
		"no_lock,journal_path=/j,wal=/w",
	readOnlyOnly: "sb=32,norecovery",
	readWriteOnly: "rw,overlay=/o,overlay_adopt,data=journal,commit=9,strictatime,sync,dirsync,errors=remount-ro," +
		"usrquota,prjquota,memory=5M,policy=wait,writeback_cache,no_open,syncfs",
}

// TestMountOptions_InForce: the options in force are options that lead to the same mount, and each one that was given
// is there.
func TestMountOptions_InForce(t *testing.T) {
	for _, lists := range [][]string{nil, {allOptions[allMounts], allOptions[readOnlyOnly]}, {"rw"},
		{allOptions[allMounts], allOptions[readWriteOnly]},
		{"rw,auto_unmount,noatime"}, {"ro,auto_unmount,strictatime,sync"}} {
		o, err := parseMountOptions(lists)
		fatal(t, errors.Join(err, o.complete("image")))
		again, err := parseMountOptions([]string{o.InForce})
		fatal(t, errors.Join(err, again.complete("image")))
		same := again.InForce == o.InForce && reflect.DeepEqual(again.Spec, o.Spec) && again.Fuse == o.Fuse
		if o.Writable { // a read-only mount does not show what it accepts without effect
			same = same && reflect.DeepEqual(again.Write, o.Write) && again.Overlay == o.Overlay
		}
		if !same {
			t.Errorf("%v: %s, read again %s", lists, o.InForce, again.InForce)
		}
		for _, item := range strings.Split(strings.Join(lists, ","), ",") {
			name, value, _ := strings.Cut(item, "=")
			if row := findOption(name); row == nil || row.mounts == writing && !o.Writable {
				continue
			}
			if n, err := parseSize(value); err == nil && n > 0 {
				item = name + "=" + strconv.FormatInt(n, 10)
			}
			if !strings.Contains(","+o.InForce+",", ","+item+",") {
				t.Errorf("%s is not among the options in force: %s", item, o.InForce)
			}
		}
	}
	o, err := parseMountOptions(nil)
	fatal(t, errors.Join(err, o.complete("image")))
	if want := "ro,nosuid,nodev,default_permissions,max_background=64,cache=16777216"; o.InForce != want {
		t.Errorf("without options %s is in force, expected %s", o.InForce, want)
	}
}

// TestMountOptions_Values are at the bounds of what each option takes.
func TestMountOptions_Values(t *testing.T) {
	for item, ok := range map[string]bool{
		"commit=1": true, "commit=3600": true, "commit=0": false, "commit=3601": false, "commit=-1": false, "commit=x": false,
		"max_background=1": true, "max_background=65535": true, "max_background=0": false, "max_background=65536": false,
		"cache=4k": true, "cache=4M": true, "cache=4T": false, "cache=-1": false,
		"cache=9223372036854775807": false, "memory=1G": true,
		"sb=4503599627370496": true, "sb=9007199254740992": false, "data=ordered": true, "data=writeback": false,
		"policy=adaptive": true, "policy=hope": false, "errors=panic": true, "errors=never": false,
		"x-anything=1": true, "nofail": true,
	} {
		if _, err := parseMountOptions([]string{item}); (err == nil) != ok {
			t.Errorf("%s: %v", item, err)
		} else if err != nil && exitCode(err) != exitUsage {
			t.Errorf("%s: exit code %d", item, exitCode(err))
		}
	}
	for _, n := range []int64{0, 1, 1023, 1 << 10, 1<<10 + 1, 3 << 20, 1 << 30, 5 << 30} {
		if back, err := parseSize(formatSize(n)); err != nil || back != n {
			t.Errorf("%d is written as %s, and read as %d, %v", n, formatSize(n), back, err)
		}
	}
}
