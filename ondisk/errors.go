// Package ondisk holds the error families that the decoders of on-disk formats share.
//
// A decoder's error is one of three families: corrupt (what is wrong, and where), unsupported (which feature), or I/O
// (an error of the device, wrapped). errors.Is finds the family, errors.As the details.
package ondisk

import (
	"errors"
	"fmt"
)

// The families, for errors.Is.
var (
	ErrCorrupt     = errors.New("corrupt")
	ErrUnsupported = errors.New("unsupported")
)

// CorruptError says that a structure violates the format.
type CorruptError struct {
	Where string // the structure and its place, such as "inode 12" or "directory 2, block 3 at offset 40"
	What  string // what is wrong with it
}

func (e *CorruptError) Error() string { return e.Where + ": " + e.What }

// Is puts the error into the family ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Corruptf makes a CorruptError.
func Corruptf(where, format string, args ...any) error {
	return &CorruptError{Where: where, What: fmt.Sprintf(format, args...)}
}

// Checksum makes the CorruptError of a checksum that does not match.
func Checksum(where string, stored, computed uint32) error {
	return Corruptf(where, "checksum is 0x%08x, expected 0x%08x", stored, computed)
}

// UnsupportedError says that a structure is sound but asks for something that varve does not do.
type UnsupportedError struct {
	Feature string // the feature by the name that e2fsprogs prints
	Advice  string // what is possible instead, and what to do
}

func (e *UnsupportedError) Error() string {
	if e.Advice == "" {
		return "unsupported: " + e.Feature
	}
	return "unsupported: " + e.Feature + "; " + e.Advice
}

// Is puts the error into the family ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }
