package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/ondisk"
)

// Tags of POSIX ACL entries that carry an id, and the versions of both forms.
const (
	aclUser         = 0x2
	aclGroup        = 0x8
	aclDiskVersion  = 1
	aclXattrVersion = 2
	aclUndefinedID  = 0xffffffff
)

// ACLToXattr turns a POSIX ACL from its form on disk (version 1; tag and permissions in 16 bits each, and an id only
// where the tag takes one) into the form of getxattr(2) (version 2; every entry with an id; acl(5) and the kernel's
// posix_acl_xattr.h).
func ACLToXattr(p []byte) ([]byte, error) {
	const where = "POSIX ACL"
	le := binary.LittleEndian
	if len(p) < 4 || le.Uint32(p) != aclDiskVersion {
		return nil, ondisk.Corruptf(where, "has no header of version %d", aclDiskVersion)
	}
	out := le.AppendUint32(nil, aclXattrVersion)
	for p = p[4:]; len(p) > 0; {
		if len(p) < 4 {
			return nil, ondisk.Corruptf(where, "entry of %d bytes", len(p))
		}
		tag, id := le.Uint16(p), uint32(aclUndefinedID)
		size := 4
		if tag == aclUser || tag == aclGroup {
			size = 8
			if len(p) < size {
				return nil, ondisk.Corruptf(where, "entry of %d bytes", len(p))
			}
			id = le.Uint32(p[4:])
		}
		out = append(out, p[:4]...)
		out = le.AppendUint32(out, id)
		p = p[size:]
	}
	return out, nil
}
