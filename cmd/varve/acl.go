package main

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// aclRecords are the pax records that archivers keep POSIX ACLs in, by the attribute that holds the ACL.
var aclRecords = map[string]string{
	"system.posix_acl_access":  "SCHILY.acl.access",
	"system.posix_acl_default": "SCHILY.acl.default",
}

// aclText is a POSIX ACL, in the form of getxattr(2), as text (acl(5), "SHORT TEXT FORM", with numeric ids).
func aclText(p []byte) (string, error) {
	const header, entry = 4, 8
	if len(p) < header || (len(p)-header)%entry != 0 {
		return "", fmt.Errorf("POSIX ACL of %d bytes", len(p))
	}
	tags := map[uint16]string{
		0x1:  "user::",
		0x2:  "user:%d:",
		0x4:  "group::",
		0x8:  "group:%d:",
		0x10: "mask::",
		0x20: "other::",
	}
	var out []string
	for p = p[header:]; len(p) > 0; p = p[entry:] {
		form, ok := tags[binary.LittleEndian.Uint16(p)]
		if !ok {
			return "", fmt.Errorf("POSIX ACL with tag %d", binary.LittleEndian.Uint16(p))
		}
		if strings.Contains(form, "%d") {
			form = fmt.Sprintf(form, binary.LittleEndian.Uint32(p[4:]))
		}
		rwx := []byte("rwx")
		for i := range rwx {
			if p[2]&(4>>i) == 0 {
				rwx[i] = '-'
			}
		}
		out = append(out, form+string(rwx))
	}
	return strings.Join(out, ","), nil
}
