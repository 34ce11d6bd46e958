package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvefs/varve/internal/oracle"
)

// quotasOf is what varve quota says, by "type id": bytes, soft and hard limit in KiB, inodes, soft and hard limit.
func quotasOf(t *testing.T, image string) map[string]string {
	t.Helper()
	r := command(t, "quota", "--json", image)
	var q quotaReport
	if err := json.Unmarshal([]byte(r.Stdout), &q); err != nil || r.Code != exitOK {
		t.Fatalf("%v: %+v", err, r)
	}
	out := map[string]string{}
	for _, typ := range q.Quotas {
		for _, e := range typ.Entries {
			out[fmt.Sprintf("%s %d", typ.Type, e.ID)] = fmt.Sprint(e.Space, e.SpaceSoft>>10, e.SpaceHard>>10, e.Inodes,
				e.InodeSoft, e.InodeHard)
		}
	}
	return out
}

// byDebugfs is the same by debugfs.
func byDebugfs(t *testing.T, image string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, typ := range []string{"user", "group", "project"} {
		for _, line := range strings.Split(oracle.MustRun(t, "debugfs", "-R", "list_quota "+typ, image), "\n") {
			f := strings.Fields(line)
			if len(f) != 7 {
				continue
			}
			if _, err := strconv.Atoi(f[0]); err == nil {
				out[typ+" "+f[0]] = strings.Join(f[1:], " ")
			}
		}
	}
	return out
}

func sameQuotas(t *testing.T, image string) map[string]string {
	t.Helper()
	mine, theirs := quotasOf(t, image), byDebugfs(t, image)
	if fmt.Sprint(mine) != fmt.Sprint(theirs) || len(mine) == 0 {
		t.Errorf("varve quota:\n%v\ndebugfs:\n%v", mine, theirs)
	}
	return mine
}

// TestQuota_Commands sets limits of an image that is not mounted, and shows them as debugfs does.
func TestQuota_Commands(t *testing.T) {
	oracle.Need(t, "debugfs", "e2fsck")
	image := rwImage(t, "16M", "-O", "quota,project")
	plainImage := rwImage(t, "16M")
	checkCommands(t, []commandCase{
		{[]string{"quota", "set", "-u", "--soft", "1M", "--hard", "2M", "--inodes-hard", "7", image, "1000"}, exitOK, "", ""},
		{[]string{"quota", "set", "-g", "-p", "--inodes-soft", "3", image, "70000"}, exitOK, "", ""},
		{[]string{"quota", "-u", image, "1000"}, exitOK, "1000    0  1024  2048      -       0     0     7      -", ""},
		{[]string{"quota", image}, exitOK, "project", ""},
		{[]string{"quota", plainImage}, exitSystem, "", "keeps no such quotas"},
		{[]string{"quota", "set", "-u", "--soft", "1", plainImage, "1"}, exitUnsupported, "", "quotas of users"},
		{[]string{"quota", "set", image, "1", "--soft", "1"}, exitUsage, "", "-u, -g or -p was expected"},
		{[]string{"quota", "set", "-u", image, "1"}, exitUsage, "", "a limit was expected"},
		{[]string{"quota", "set", "-u", image}, exitUsage, "", "usage: varve quota set"},
		{[]string{"quota", image, "root"}, exitUsage, "", "expected an id"},
		{[]string{"quota", t.TempDir()}, exitSystem, "", "is no mount of varve's"},
	})
	mine := sameQuotas(t, image)
	if mine["user 1000"] != "0 1024 2048 0 0 7" || mine["project 70000"] != "0 0 0 0 3 0" {
		t.Errorf("limits: %v", mine)
	}
	oracle.Clean(t, image)
}

// letIn lets all users into a mount, and write there.
func letIn(t *testing.T, dir string) {
	t.Helper()
	fatal(t, os.Chmod(dir, 0o777))
	for _, above := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		fatal(t, os.Chmod(above, 0o755))
	}
}

// TestRW_Quota: through a mount an ordinary user is refused with EDQUOT, root is not, and the report of the mount is
// that of the image afterwards.
func TestRW_Quota(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	image := rwImage(t, "32M", "-O", "quota,project")
	must(t, "quota", "set", "-u", "--hard", "100K", "--inodes-hard", "3", image, "1000")
	must(t, "quota", "set", "-p", "--hard", "40K", image, "5")
	dir, unmount := mountImage(t, image, "-o", "rw,allow_other")
	letIn(t, dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.EDQUOT) {
			t.Errorf("%s: %v, expected EDQUOT", what, err)
		}
	}
	refused("write", as(t, plain, func() error { return os.WriteFile(at("a"), make([]byte, 200<<10), 0o644) }))
	if st, err := os.Stat(at("a")); err != nil || st.Size() != 100<<10 {
		t.Errorf("of a write over the limit %v, %v", st, err)
	}
	refused("fallocate", as(t, plain, func() error {
		return withFile(at("a"), unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, 0, 100<<10, 4096) })
	}))
	refused("mkdir", as(t, plain, func() error { return os.Mkdir(at("d"), 0o755) }))
	fatal(t, as(t, plain, func() error { return os.Truncate(at("a"), 0) }))
	fatal(t, as(t, plain, func() error { return os.Mkdir(at("d"), 0o755) }))
	fatal(t, as(t, plain, func() error { return os.Symlink("target", at("l")) }))
	refused("a fourth inode", as(t, plain, func() error { return unix.Mkfifo(at("f"), 0o644) }))
	if mayGive(t, unix.CAP_SYS_RESOURCE) { // as root has it, but in some containers
		mighty := user{uid: 1000, gid: 1000, resource: true}
		fatal(t, as(t, mighty, func() error { return unix.Mkfifo(at("f"), 0o644) }))
	}
	fatal(t, as(t, plain, func() error { return os.WriteFile(at("a"), make([]byte, 60<<10), 0o644) }))
	oracle.MustRun(t, "chattr", "-p", "6", at("a"))
	fatal(t, os.Mkdir(at("project"), 0o777))
	fatal(t, os.Chmod(at("project"), 0o777))
	oracle.MustRun(t, "chattr", "+P", "-p", "5", at("project"))
	if err := os.Rename(at("a"), at("project/a")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("rename into another project: %v", err)
	}
	if err := os.Link(at("a"), at("project/a")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("link into another project: %v", err)
	}
	refused("project", as(t, user{uid: 7, gid: 7}, func() error {
		return os.WriteFile(at("project/x"), make([]byte, 50<<10), 0o644)
	}))
	fatal(t, os.Chown(at("a"), 2000, 3000))
	must(t, "sync", dir)
	live := must(t, "quota", dir).Stdout
	unmount()
	oracle.Clean(t, image)
	sameQuotas(t, image)
	if later := must(t, "quota", image).Stdout; later != live || !strings.Contains(later, "2000") {
		t.Errorf("the mount said\n%s\nthe image says\n%s", live, later)
	}
}

// TestRW_QuotaOptions: options say which limits count; those of other forms of quotas are refused by name.
func TestRW_QuotaOptions(t *testing.T) {
	oracle.NeedFUSE(t)
	oracle.NeedRoot(t)
	image := rwImage(t, "16M", "-O", "quota")
	must(t, "quota", "set", "-u", "--inodes-hard", "1", image, "1000")
	for options, want := range map[string]error{
		"": syscall.EDQUOT, ",usrquota": syscall.EDQUOT, ",quota": syscall.EDQUOT, ",grpquota": nil, ",noquota": nil,
	} {
		dir, unmount := mountImage(t, image, "-o", "rw,allow_other"+options)
		letIn(t, dir)
		name := filepath.Join(dir, "file")
		err := as(t, plain, func() error { return errors.Join(os.WriteFile(name, nil, 0o644), os.Mkdir(name+"d", 0o755)) })
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("with rw%s: %v, expected %v", options, err, want)
		}
		for _, made := range []string{name, name + "d"} {
			if err := os.Remove(made); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		}
		unmount()
		oracle.Clean(t, image)
	}
	for _, options := range []string{"usrjquota=aquota.user", "grpjquota=aquota.group", "jqfmt=vfsv1"} {
		if r := varve(t, "mount", "--rw", image, t.TempDir(), "-o", options); r.Code != exitUsage ||
			!strings.Contains(r.Stderr, strings.Split(options, "=")[0]) {
			t.Errorf("%s: %+v", options, r)
		}
	}
	if r := varve(t, "mount", "--rw", rwImage(t, "16M"), t.TempDir(), "-o", "usrquota"); r.Code != exitMount ||
		!strings.Contains(r.Stderr, "limits of users") {
		t.Errorf("usrquota without the feature: %+v", r)
	}
}
