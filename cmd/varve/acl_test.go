package main

import "testing"

// TestACLText writes ACLs as acl(5) does, and refuses bytes that are none.
func TestACLText(t *testing.T) {
	head := "\x02\x00\x00\x00"
	for _, c := range []struct{ in, want string }{
		{head, ""},
		{head + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x00\x00\xff\xff\xff\xff" +
			"\x08\x00\x05\x00\xe9\x03\x00\x00" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x01\x00\xff\xff\xff\xff",
			"user::rw-,user:1000:r--,group::---,group:1001:r-x,mask::rwx,other::--x"},
	} {
		if got, err := aclText([]byte(c.in)); err != nil || got != c.want {
			t.Errorf("%q: %q, %v; expected %q", c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "\x02", head + "\x01", head + "\x03\x00\x06\x00\xff\xff\xff\xff"} {
		if got, err := aclText([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %q", bad, got)
		}
	}
}
