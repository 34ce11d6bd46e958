package fuse

import (
	"bytes"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// TestIoctl_Padding: answers to ioctls have nothing of earlier requests, whose memory is used again.
func TestIoctl_Padding(t *testing.T) {
	f := liveFront(t)
	for name, cmd := range map[string]uint32{"flags": fsIocGetFlags, "version": fsIocGetVersion,
		"fsxattr": fsIocGetXattr} {
		out := bytes.Repeat([]byte{0xa5}, int(cmd>>16&0x3fff))
		if s := f.Ioctl(nil, &gofuse.IoctlIn{InHeader: root(), Cmd: cmd}, nil, new(gofuse.IoctlOut), out); !s.Ok() {
			t.Fatalf("%s: %v", name, s)
		}
		if bytes.Contains(out, []byte{0xa5}) {
			t.Errorf("%s: %x", name, out)
		}
	}
}
