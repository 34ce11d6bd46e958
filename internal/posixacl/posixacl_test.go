package posixacl

import (
	"slices"
	"testing"
)

// TestText writes ACLs as acl(5) does, and refuses bytes that are none.
func TestText(t *testing.T) {
	head := "\x02\x00\x00\x00"
	for _, c := range []struct{ in, want string }{
		{head, ""},
		{head + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x00\x00\xff\xff\xff\xff" +
			"\x08\x00\x05\x00\xe9\x03\x00\x00" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x01\x00\xff\xff\xff\xff",
			"user::rw-,user:1000:r--,group::---,group:1001:r-x,mask::rwx,other::--x"},
	} {
		if got, err := Text([]byte(c.in)); err != nil || got != c.want {
			t.Errorf("%q: %q, %v; expected %q", c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "\x02", head + "\x01", head + "\x03\x00\x06\x00\xff\xff\xff\xff"} {
		if got, err := Text([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %q", bad, got)
		}
	}
}

// TestParse reads what Text writes, forms of other archivers, and refuses what is no ACL.
func TestParse(t *testing.T) {
	const all = "user::rw-,user:1000:r--,group::---,group:1001:r-x,mask::rwx,other::--x"
	for _, in := range []string{
		all,
		"user::rw-,group::---,other::--x,user:1000:r--,group:1001:r-x,mask::rwx",
		"user::rw-\nuser:alice:r--:1000\ngroup::---\ngroup:staff:r-x:1001 # the staff\nmask::rwx\nother::--x\n",
		"u::rw,u:1000:r,g::,g:1001:rx,m::rwx,o::x",
	} {
		p, err := Parse(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got, err := Text(p); err != nil || got != all {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if p, err := Parse("user:root:r--,group:root:-w-"); err != nil ||
		!slices.Equal(p, []byte{2, 0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 0}) {
		t.Errorf("names: %x, %v", p, err)
	}
	if p, err := Parse(""); err != nil || !slices.Equal(p, []byte{2, 0, 0, 0}) {
		t.Errorf("an empty ACL: %x, %v", p, err)
	}
	for _, bad := range []string{
		"user", "user:rwx", "user::rwz", "user:no such user:r--", "mask:7:rwx", "nobody::rwx", "user:4294967296:r--",
		"user:1:r:2:3",
	} {
		if p, err := Parse(bad); err == nil {
			t.Errorf("%q is taken for %x", bad, p)
		}
	}
}
