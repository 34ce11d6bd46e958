package oracle

import (
	"testing"

	"golang.org/x/sys/unix"
)

const statFile = `Inode: 12   Type: regular    Mode:  0640   Flags: 0x80000
Generation: 0    Version: 0x00000000:00000001
User:  1000   Group:    -2   Project:     0   Size: 300
File ACL: 0
Links: 2   Blockcount: 8
Fragment:  Address: 0    Number: 0    Size: 0
 ctime: 0x66000000:00000004 -- Sun Mar 24 10:24:00 2024
 atime: 0xffffffff:00000000 -- Wed Dec 31 23:59:59 1969
 mtime: 0x00000000:0000000d -- Sun Feb  7 06:28:16 2106
Size of extra inode fields: 32
`

func TestParseStat_File(t *testing.T) {
	n, err := parseStat(statFile)
	if err != nil {
		t.Fatal(err)
	}
	want := Node{Mode: unix.S_IFREG | 0o640, UID: 1000, GID: 1<<32 - 2, Size: 300, Links: 2, Blocks: 8,
		Ctime: "1711276032.000000001", Atime: "-1.000000000", Mtime: "4294967296.000000003"}
	if n != want {
		t.Errorf("\n%+v instead of\n%+v", n, want)
	}
}

func TestParseStat_Kinds(t *testing.T) {
	stat := func(kind, rest string) string {
		return "Inode: 13   Type: " + kind + "    Mode:  0777   Flags: 0x0\n" +
			"User:     0   Group:     0   Size: 4\nLinks: 1   Blockcount: 0\n" + rest
	}
	link, err := parseStat(stat("symlink", "Fast link dest: \"a \"b\"\"\n"))
	if err != nil || link.Target != `a "b"` || link.Mode != unix.S_IFLNK|0o777 {
		t.Errorf("symlink: %+v, %v", link, err)
	}
	dev, err := parseStat(stat("character special", "Device major/minor number: 259:70000 (hex)\n"))
	if err != nil || dev.Rdev != unix.Mkdev(259, 70000) || dev.Mode != unix.S_IFCHR|0o777 {
		t.Errorf("device: %+v, %v", dev, err)
	}
	for name, text := range map[string]string{
		"nothing":         "",
		"an error":        "stat: File not found by ext2_lookup\n",
		"an unknown type": stat("bad type", ""),
	} {
		if n, err := parseStat(text); err == nil {
			t.Errorf("%s passes as %+v", name, n)
		}
	}
}

func TestQuote_Names(t *testing.T) {
	for path, want := range map[string]string{".": `"/"`, "a b": `"/a b"`, `a"b`: `"/a""b"`} {
		if got := quote(path); got != want {
			t.Errorf("%q becomes %s instead of %s", path, got, want)
		}
	}
}
