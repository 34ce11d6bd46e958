package ondisk

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// TestErrors_Families: each error is of its own family alone, also below wrapping, and says what and where.
func TestErrors_Families(t *testing.T) {
	for _, c := range []struct {
		err                  error
		says                 string
		corrupt, unsupported bool
	}{
		{Corruptf("inode 12", "%d links, %s", 3, "and no name"), "inode 12: 3 links, and no name", true, false},
		{Checksum("block 7", 0xab, 0x12345678), "block 7: checksum is 0x000000ab, expected 0x12345678", true, false},
		{&UnsupportedError{Feature: "dirdata"}, "unsupported: dirdata", false, true},
		{&UnsupportedError{Feature: "mmp", Advice: "read it"}, "unsupported: mmp; read it", false, true},
		{io.ErrUnexpectedEOF, "unexpected EOF", false, false},
	} {
		for _, err := range []error{c.err, fmt.Errorf("mount: %w", c.err), errors.Join(io.EOF, c.err)} {
			if errors.Is(err, ErrCorrupt) != c.corrupt || errors.Is(err, ErrUnsupported) != c.unsupported {
				t.Errorf("%v: corrupt %v, unsupported %v", err, errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported))
			}
		}
		if c.err.Error() != c.says {
			t.Errorf("%q, expected %q", c.err, c.says)
		}
	}
	var details *CorruptError
	if !errors.As(fmt.Errorf("read: %w", Corruptf("group 3", "overlaps")), &details) || details.Where != "group 3" {
		t.Errorf("the place is lost: %+v", details)
	}
}
