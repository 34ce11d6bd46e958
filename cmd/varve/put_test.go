package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvefs/varve/internal/oracle"
	"github.com/varvefs/varve/internal/program"
)

// importArgs are the options of tar(1) that keep all of a tree.
var tarAll = []string{"--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"}

// TestCLI_PutAndImport copies a whole tree into images, from a folder and from an archive of tar(1), and compares what
// the kernel's mount shows with the tree.
func TestCLI_PutAndImport(t *testing.T) {
	oracle.NeedRoot(t)
	source := oracle.NewImage(t, 128<<20)
	kernel, _ := oracle.MountKernel(t, source, "")
	oracle.Fill(t, kernel, oracle.Filling{Wide: 100, Xattrs: true})
	want := oracle.Kept(oracle.Tree(t, kernel))
	delete(want, "types/socket") // no archive can hold one, and put leaves them out
	archive := filepath.Join(t.TempDir(), "archive.tar")
	oracle.MustRun(t, "tar", append(tarAll, "-S", "-C", kernel, "-cf", archive, ".")...)
	for name, into := range map[string]func(image string) program.Result{
		"put":    func(image string) program.Result { return varve(t, "put", image, kernel, "/copy") },
		"import": func(image string) program.Result { return varve(t, "import", image, archive, "/copy") },
	} {
		image := oracle.NewImage(t, 128<<20)
		if name == "import" {
			must(t, "mkdir", image, "/copy")
		}
		if r := into(image); r.Code != exitOK {
			t.Fatalf("%s: %+v", name, r)
		}
		oracle.Clean(t, image)
		dir, unmount := oracle.MountKernel(t, image, "ro")
		oracle.Compare(t, "source", want, name, oracle.Kept(oracle.Tree(t, filepath.Join(dir, "copy"))))
		unmount()
	}
}

// TestCLI_PutRules refuses to replace files, replaces them at once with --force, and takes standard input.
func TestCLI_PutRules(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	image := rwImage(t, "16M")
	file := filepath.Join(t.TempDir(), "file")
	fatal(t, os.WriteFile(file, []byte("one"), 0o640))
	must(t, "put", image, file, "/name", "--owner", "7:8")
	fatal(t, os.WriteFile(file, []byte("two"), 0o640))
	if r := varve(t, "put", image, file, "/name"); r.Code != exitSystem || !strings.Contains(r.Stderr, "exists") {
		t.Errorf("over a file: %+v", r)
	}
	if r := must(t, "cat", image, "/name"); r.Stdout != "one" {
		t.Errorf("%+v", r)
	}
	must(t, "put", "-f", image, file, "/name")
	must(t, "put", image, file, "/lost+found") // a directory: into it
	for _, path := range []string{"/name", "/lost+found/file"} {
		if r := must(t, "cat", image, path); r.Stdout != "two" {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if r := must(t, "tree", image, "/"); r.Stdout != "/\n  lost+found/\n    file\n  name\n" {
		t.Errorf("%q", r.Stdout)
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"put", image, file + ".not", "/x"}, exitSystem},
		{[]string{"put", image, file, "/no/x"}, exitNotFound},
		{[]string{"put", image, file, "/name/x"}, exitNotFound},
		{[]string{"put", image, file, "/x", "--owner", "root"}, exitUsage},
		{[]string{"import", image, file}, exitSystem}, // no archive
		{[]string{"import", image, file, "/no"}, exitNotFound},
	} {
		if r := varve(t, c.args...); r.Code != c.code || r.Stderr == "" {
			t.Errorf("%v: %+v, expected %d", c.args, r, c.code)
		}
	}
	oracle.Clean(t, image)
}

// tarOf makes an archive of headers, each with its contents.
func tarOf(t *testing.T, entries ...*tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range entries {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "contents of " + h.Name
		}
		h.Size = int64(len(body))
		fatal(t, w.WriteHeader(h))
		_, err := w.Write([]byte(body))
		fatal(t, err)
	}
	fatal(t, w.Close())
	fatal(t, z.Close())
	path := filepath.Join(t.TempDir(), "archive.tgz")
	fatal(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

// TestCLI_ImportHostile: names of an archive do not leave the directory that it is extracted to.
func TestCLI_ImportHostile(t *testing.T) {
	oracle.Need(t, "mkfs.ext4", "e2fsck")
	image := rwImage(t, "16M")
	must(t, "mkdir", "-p", image, "/etc", "/in/dir")
	link := &tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "/etc"}
	for _, c := range []struct {
		name    string
		entries []*tar.Header
	}{
		{"dots", []*tar.Header{{Name: "../etc/evil", Typeflag: tar.TypeReg}}},
		{"symlink", []*tar.Header{link, {Name: "out/evil", Typeflag: tar.TypeReg}}},
		{"hard link", []*tar.Header{{Name: "evil", Typeflag: tar.TypeLink, Linkname: "../etc/none"}}},
		{"owner", []*tar.Header{{Name: "x", Typeflag: tar.TypeReg, Uid: -5}}},
		{"device", []*tar.Header{{Name: "x", Typeflag: tar.TypeChar, Devmajor: 1 << 20}}},
		{"long name", []*tar.Header{{Name: strings.Repeat("x", 256), Typeflag: tar.TypeReg}}},
	} {
		if r := varve(t, "import", image, tarOf(t, c.entries...), "/in"); r.Code == exitOK || r.Stderr == "" {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	if r := must(t, "ls", image, "/etc"); r.Stdout != "" {
		t.Errorf("in /etc: %q", r.Stdout)
	}
	// At the root a symlink leads on within the image, as with a system whose /lib is usr/lib.
	must(t, "import", image, tarOf(t, link, &tar.Header{Name: "out/good", Typeflag: tar.TypeReg, Mode: 0o644}))
	if r := must(t, "cat", image, "/etc/good"); r.Stdout != "contents of out/good" {
		t.Errorf("%+v", r)
	}
	oracle.Clean(t, image)
}
