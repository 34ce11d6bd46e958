package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/internal/volume"
)

// TestCLI_Read reads an image without a mount.
func TestCLI_Read(t *testing.T) {
	image := smallImage(t)
	for _, c := range []struct {
		args   []string
		stdout string
	}{
		{[]string{"cat", image, "/hello"}, "hello, world\n"},
		{[]string{"cat", image, "link", "dir/inner"}, "hello, world\ninner\n"},
		{[]string{"ls", image}, "dir\nhello\nlink\nlost+found\n"},
		{[]string{"ls", "-a", image, "dir"}, ".\n..\ninner\nsub\n"},
		{[]string{"tree", image, "/dir"}, "/dir/\n  inner\n  sub/\n    deep\n"},
		{[]string{"tree", "-L", "1", image, "/dir"}, "/dir/\n  inner\n  sub/\n"},
	} {
		if r := must(t, c.args...); r.Stdout != c.stdout || r.Stderr != "" {
			t.Errorf("varve %s prints %q, %q; expected %q", strings.Join(c.args, " "), r.Stdout, r.Stderr, c.stdout)
		}
	}
}

// TestCLI_JSON prints documents that say their version, on standard output alone.
func TestCLI_JSON(t *testing.T) {
	image, out := smallImage(t), t.TempDir()
	for _, args := range [][]string{{"info", image}, {"ls", image}, {"stat", image, "/hello"}, {"tree", image}, {"version"}, {"cp", image, "/dir", out}} {
		r := must(t, append(args, "--json")...)
		var doc map[string]any
		if err := json.Unmarshal([]byte(r.Stdout), &doc); err != nil {
			t.Errorf("%v: %v: %s", args, err, r.Stdout)
			continue
		}
		if doc["schema_version"] != float64(output.SchemaVersion) {
			t.Errorf("%v: schema_version is %v", args, doc["schema_version"])
		}
		for key := range doc {
			if strings.ToLower(key) != key {
				t.Errorf("%v: %q is not in snake_case", args, key)
			}
		}
	}
	var n node
	if err := json.Unmarshal([]byte(must(t, "stat", image, "/link", "--json").Stdout), &n); err != nil {
		t.Fatal(err)
	}
	if n.Type != "symlink" || n.Target == nil || *n.Target != "hello" || n.Mode != "0777" {
		t.Errorf("stat of a symlink: %+v", n)
	}
}

// TestCLI_InfoWriting has varve info say which images a read-write mount takes, and be right about it.
func TestCLI_InfoWriting(t *testing.T) {
	for _, c := range []struct {
		mkfs           string
		writable, text string
	}{
		{"", writableInPlace, "read-write with --rw"},
		{"^has_journal", writableOverlay, "tune2fs -j"},
		{"bigalloc", writableNo, "bigalloc"},
	} {
		image := smallImage(t)
		if c.mkfs != "" {
			image = smallImage(t, "-O", c.mkfs)
		}
		var i imageInfo
		if err := json.Unmarshal([]byte(must(t, "info", "--json", image).Stdout), &i); err != nil {
			t.Fatal(err)
		}
		if out := must(t, "info", image).Stdout; i.Writable != c.writable || !strings.Contains(out, c.text) {
			t.Errorf("%q: %s; expected %s and %q\n%s", c.mkfs, i.Writable, c.writable, c.text, out)
		}
		w, err := volume.OpenWritable(volume.Spec{Image: image}, volume.WriteOptions{})
		if (err == nil) != (c.writable == writableInPlace) {
			t.Errorf("%q: opening it for writing: %v", c.mkfs, err)
		}
		if err == nil {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestCLI_ExitCodes are those of docs/cli.md, each with words that say what and what to do.
func TestCLI_ExitCodes(t *testing.T) {
	image, dir := smallImage(t), t.TempDir()
	write := func(name string, contents []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, contents, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	empty := write("empty", nil)
	short := write("short", make([]byte, 1500))
	xfs := write("xfs", append([]byte("XFSB"), make([]byte, 8192)...))
	gz := write("gz", append([]byte("\x1f\x8b"), make([]byte, 8192)...))
	damaged := corrupt(t, image, func(p []byte) { binary.LittleEndian.PutUint32(p[1024+0x18:], 77) })
	unknown := corrupt(t, smallImage(t, "-O", "^metadata_csum"), func(p []byte) { p[1024+0x61] |= 0x08 })
	compressed := corrupt(t, smallImage(t, "-O", "^metadata_csum"), func(p []byte) { p[1024+0x60] |= 0x01 })
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{}, exitOK, ""},
		{[]string{"nonsense"}, exitUsage, "unknown command"},
		{[]string{"ls"}, exitUsage, "usage"},
		{[]string{"ls", "--nonsense", image}, exitUsage, "nonsense"},
		{[]string{"mount", image, dir, "-o", "nonsense=1"}, exitUsage, `"nonsense=1"`},

		{[]string{"mount", image, dir, "-o", "cache=many"}, exitUsage, "size"},
		{[]string{"mount", image, dir, "-o", "max_background=0"}, exitUsage, "1 to 65535"},
		{[]string{"mount", image, filepath.Join(dir, "missing")}, exitMount, "no such file"},
		{[]string{"mount", image, empty}, exitMount, "not a directory"},
		{[]string{"mount", xfs, dir}, exitMount, "XFS"},
		{[]string{"umount", dir}, exitMount, "is not mounted"},
		{[]string{"umount", "/proc"}, exitMount, "type proc"},
		{[]string{"ls", filepath.Join(dir, "missing")}, exitSystem, "no such file"},
		{[]string{"ls", dir}, exitSystem, "is a directory"},
		{[]string{"ls", "/dev/null"}, exitSystem, "character device"},
		{[]string{"ls", empty}, exitSystem, "is empty"},
		{[]string{"ls", short}, exitDamaged, "ends before"},
		{[]string{"ls", xfs}, exitDamaged, "XFS"},
		{[]string{"ls", gz}, exitDamaged, "gzip"},
		{[]string{"ls", damaged}, exitDamaged, "block size"},
		{[]string{"info", unknown}, exitOK, ""},
		{[]string{"ls", unknown}, exitUnsupported, "FEATURE_I11"},
		{[]string{"ls", compressed}, exitUnsupported, "compression"},
		{[]string{"mount", compressed, dir}, exitMount, "compression"},
		{[]string{"cat", image, "/missing"}, exitNotFound, "does not exist"},
		{[]string{"cat", image, "/hello/below"}, exitNotFound, "not a directory"},
		{[]string{"cat", image, "/dir"}, exitSystem, "is a directory"},
		{[]string{"ls", "--offset", "99999999999", image}, exitSystem, "not within the image"},
		{[]string{"ls", "--part", "1", image}, exitSystem, "partition table"},
	} {
		r := varve(t, c.args...)
		if r.Code != c.code || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("varve %s: exit code %d, %q; expected %d, and %q in it", strings.Join(c.args, " "), r.Code, r.Stderr, c.code, c.says)
		}
		if c.code != exitOK && r.Stdout != "" {
			t.Errorf("varve %s fails, but prints %q on standard output", strings.Join(c.args, " "), r.Stdout)
		}
	}
	if r := must(t, "info", unknown); !strings.Contains(r.Stdout, "FEATURE_I11") || !strings.Contains(r.Stdout, "cannot read it") {
		t.Errorf("info of an unsupported image prints %s", r.Stdout)
	}
}

// corrupt copies an image and changes it.
func corrupt(t testing.TB, image string, change func([]byte)) string {
	t.Helper()
	p, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	to := filepath.Join(t.TempDir(), "changed")
	if err := os.WriteFile(to, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestCLI_Backup finds the backup superblock of an image whose primary one is lost, and reads by it.
func TestCLI_Backup(t *testing.T) {
	image := corrupt(t, smallImage(t, "-b", "1024"), func(p []byte) { copy(p[1024:2048], make([]byte, 1024)) })
	r := varve(t, "ls", image)
	if r.Code != exitDamaged || !strings.Contains(r.Stderr, "sb=8193") {
		t.Fatalf("%+v", r)
	}
	oracle.NeedFUSE(t)
	dir, _ := mountImage(t, image, "-o", "sb=8193")
	if _, err := os.Stat(filepath.Join(dir, "hello")); err != nil {
		t.Error(err)
	}
}

// TestCLI_Partitions reads file systems out of GPT and MBR images.
func TestCLI_Partitions(t *testing.T) {
	oracle.Need(t, "sfdisk")
	fs, err := os.ReadFile(smallImage(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"gpt", "dos"} {
		disk := filepath.Join(t.TempDir(), label)
		table := "label: " + label + "\nsize=4M\nsize=16M\nsize=4M\n"
		if err := errors.Join(os.WriteFile(disk, nil, 0o644), os.Truncate(disk, 40<<20)); err != nil {
			t.Fatal(err)
		}
		script := filepath.Join(t.TempDir(), "table")
		if err := os.WriteFile(script, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
		oracle.MustRun(t, "sh", "-c", "sfdisk -q "+disk+" < "+script)
		f, err := os.OpenFile(disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		const second = (2048 + 8192) * 512
		if _, err := f.WriteAt(fs, second); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for _, args := range [][]string{{"--part", "2"}, {"--part", "auto"}, {"--offset", "5242880"}} {
			if r := must(t, append([]string{"cat", disk, "hello"}, args...)...); r.Stdout != "hello, world\n" {
				t.Errorf("%s %v: %+v", label, args, r)
			}
		}
		if r := varve(t, "ls", disk); r.Code == exitOK || !strings.Contains(r.Stderr, "--part auto") {
			t.Errorf("%s without --part: %+v", label, r)
		}
		if r := varve(t, "ls", disk, "--part", "9"); r.Code != exitSystem || !strings.Contains(r.Stderr, "no partition 9") {
			t.Errorf("%s --part 9: %+v", label, r)
		}
		oracle.NeedFUSE(t)
		dir, unmount := mountImage(t, disk, "-o", "part=2")
		if _, err := os.Stat(filepath.Join(dir, "hello")); err != nil {
			t.Error(err)
		}
		unmount()
	}
}

// TestCLI_CopyAndTar copies a whole tree out of an image in both ways, and compares it with the kernel's mount.
func TestCLI_CopyAndTar(t *testing.T) {
	oracle.NeedRoot(t)
	image := oracle.NewImage(t, 128<<20)
	kernel, unmount := oracle.MountKernel(t, image, "")
	oracle.Fill(t, kernel, oracle.Filling{Wide: 100, Xattrs: true})
	unmount()
	kernel, _ = oracle.MountKernel(t, image, "ro")
	want := oracle.Tree(t, kernel)
	out := filepath.Join(t.TempDir(), "out")
	if r := must(t, "cp", image, "/", out); r.Stderr != "" {
		t.Errorf("cp: %s", r.Stderr)
	}
	got := oracle.Tree(t, out)
	for _, m := range []oracle.Manifest{want, got} { // directories differ in size between file systems, and atimes move
		for p, n := range m {
			if n.Mode&syscall.S_IFMT == syscall.S_IFDIR {
				n.Size, n.Links = 0, 0
			}
			n.Atime, n.Ctime, n.Blocks = "", "", 0
			m[p] = n
		}
	}
	oracle.Compare(t, "kernel", want, "cp", got)

	archive := filepath.Join(t.TempDir(), "tar")
	must(t, "tar", image, "-o", archive)
	back := filepath.Join(t.TempDir(), "back")
	if err := os.Mkdir(back, 0o755); err != nil {
		t.Fatal(err)
	}
	oracle.MustRun(t, "tar", "--xattrs", "--xattrs-include=*", "--acls", "-xpf", archive, "-C", back)
	got = oracle.Tree(t, back)
	delete(want, "types/socket") // no archive can hold one
	for p, n := range got {
		if n.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			n.Size, n.Links = 0, 0
		}
		n.Atime, n.Ctime, n.Blocks = "", "", 0
		got[p] = n
	}
	oracle.Compare(t, "kernel", want, "tar", got)
	first := must(t, "tar", image, "/names")
	if h, err := tar.NewReader(strings.NewReader(first.Stdout)).Next(); err != nil || h.Name != "./" {
		t.Errorf("the archive begins with %+v, %v", h, err)
	}
}

// TestCLI_DamagedTree reads around damage, reports it, and says so with its exit code.
func TestCLI_DamagedTree(t *testing.T) {
	image := corrupt(t, smallImage(t), func(p []byte) {
		at := bytes.Index(p, []byte("\x05\x01inner")) // the name in its directory entry
		if at < 0 {
			t.Fatal("no entry for inner")
		}
		p[at+2] = '/'
	})
	for _, args := range [][]string{{"tree", image}, {"tar", image}, {"cp", image, "/", filepath.Join(t.TempDir(), "out")}} {
		r := varve(t, args...)
		if r.Code != exitDamaged || !strings.Contains(r.Stderr, "checksum") {
			t.Errorf("varve %s: %d, %s", args[0], r.Code, r.Stderr)
		}
		if args[0] == "tree" && !strings.Contains(r.Stdout, "hello") {
			t.Errorf("the rest of the tree is missing: %s", r.Stdout)
		}
	}
}

// TestCLI_ManPages and completions are generated.
func TestCLI_ManPages(t *testing.T) {
	dir := t.TempDir()
	must(t, "man", dir)
	page, err := os.ReadFile(filepath.Join(dir, "varve-mount.8"))
	if err != nil || !bytes.Contains(page, []byte("allow_other")) {
		t.Errorf("varve-mount.8: %v", err)
	}
	if !bytes.Contains(page, []byte("\n.EX\nro, rw  ")) {
		t.Error("varve-mount.8: the list of options is a filled paragraph")
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := must(t, "completion", shell); !strings.Contains(r.Stdout, "varve") {
			t.Errorf("no completion for %s", shell)
		}
	}
}

// TestCLI_BlockDevice reads a block device as it reads a file.
func TestCLI_BlockDevice(t *testing.T) {
	device, _ := oracle.Loop(t, smallImage(t))
	if r := must(t, "cat", device, "/hello"); r.Stdout != "hello, world\n" {
		t.Errorf("%+v", r)
	}
	oracle.NeedFUSE(t)
	dir, _ := mountImage(t, device)
	if p, err := os.ReadFile(filepath.Join(dir, "hello")); err != nil || string(p) != "hello, world\n" {
		t.Errorf("read %q, %v", p, err)
	}
}
