// Package posixacl converts POSIX ACLs between the form of getxattr(2) and text (acl(5)).
package posixacl

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	osuser "os/user"
	"slices"
	"strconv"
	"strings"
)

// Records are the pax records that archivers keep ACLs in as text, by the attribute that holds the ACL.
var Records = map[string]string{
	"system.posix_acl_access":  "SCHILY.acl.access",
	"system.posix_acl_default": "SCHILY.acl.default",
}

const header, entry = 4, 8 // bytes

// Tags of entries (kernel, include/uapi/linux/posix_acl.h).
const (
	userObj, user, groupObj, group, mask, other = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
)

// Text is an ACL as text (acl(5), "SHORT TEXT FORM", with numeric ids).
func Text(p []byte) (string, error) {
	if len(p) < header || (len(p)-header)%entry != 0 {
		return "", fmt.Errorf("POSIX ACL of %d bytes", len(p))
	}
	tags := map[uint16]string{
		userObj: "user::", user: "user:%d:", groupObj: "group::", group: "group:%d:", mask: "mask::", other: "other::",
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

// noID is the id of entries that need none.
const noID = 1<<32 - 1

// parsed is one entry.
type parsed struct {
	tag, perm uint16
	id        uint32
}

// Parse is Text's inverse. Entries are separated by commas or ends of lines; what follows "#" is ignored. The fourth
// part of an entry, which star writes, is the id; otherwise users and groups are numbers, or names of this machine, as
// GNU tar writes them.
func Parse(text string) ([]byte, error) {
	var out []parsed
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		item, _, _ = strings.Cut(item, "#")
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		e, err := parseEntry(item)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", item, err)
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b parsed) int { // as the kernel wants them
		return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id))
	})
	p := binary.LittleEndian.AppendUint32(nil, 2) // the version
	for _, e := range out {
		p = binary.LittleEndian.AppendUint16(p, e.tag)
		p = binary.LittleEndian.AppendUint16(p, e.perm)
		p = binary.LittleEndian.AppendUint32(p, e.id)
	}
	return p, nil
}

func parseEntry(item string) (parsed, error) {
	parts := strings.Split(item, ":")
	if len(parts) < 3 || len(parts) > 4 {
		return parsed{}, errors.New("no entry of an ACL: it has the form user:1000:rwx")
	}
	e := parsed{id: noID}
	who := parts[1]
	if len(parts) == 4 {
		who = parts[3]
	}
	tags := map[string][2]uint16{ // without and with an id
		"user": {userObj, user}, "u": {userObj, user}, "group": {groupObj, group}, "g": {groupObj, group},
		"mask": {mask, 0}, "m": {mask, 0}, "other": {other, 0}, "o": {other, 0},
	}
	pair, ok := tags[parts[0]]
	if !ok {
		return e, errors.New("an entry is one of user, group, mask and other")
	}
	if e.tag = pair[0]; who != "" {
		id, err := number(pair[1], who)
		if err != nil {
			return e, err
		}
		e.tag, e.id = pair[1], id
	}
	for _, c := range parts[2] {
		i := strings.IndexRune("xwr", c)
		switch {
		case i >= 0:
			e.perm |= 1 << i
		case c != '-':
			return e, errors.New("permissions are made of r, w, x and -")
		}
	}
	return e, nil
}

// number is the id of a user or group.
func number(tag uint16, who string) (uint32, error) {
	text := who
	if _, err := strconv.ParseUint(who, 10, 32); err != nil && tag == user {
		if found, err := osuser.Lookup(who); err == nil {
			text = found.Uid
		}
	} else if err != nil && tag == group {
		if found, err := osuser.LookupGroup(who); err == nil {
			text = found.Gid
		}
	}
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || tag == 0 {
		return 0, fmt.Errorf("%q is no user or group of this machine, and no number of one", who)
	}
	return uint32(id), nil
}
