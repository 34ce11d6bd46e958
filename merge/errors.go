package merge

import "errors"

// Errors of Apply and Resolve: why an edit does not stand on the bytes at hand.
var (
	// ErrChanged: another transaction changed bytes which the edit needs as they were (Resolve only).
	ErrChanged = errors.New("another transaction changed the bytes")
	// ErrOutside: the edit, or one of its fields, lies outside the block, or is malformed.
	ErrOutside = errors.New("the edit lies outside the block")
	// ErrBounds: the sum of an Add leaves its bounds.
	ErrBounds = errors.New("the sum leaves the bounds")
	// ErrRoom: an Append finds no room.
	ErrRoom = errors.New("there is no room left to append")
	// ErrAsserted: a bit is not what SetBits or ClearBits asserts.
	ErrAsserted = errors.New("a bit is not what the edit asserts")
	// ErrCheck: the predicate of a Check is false.
	ErrCheck = errors.New("the check does not hold")
	// ErrPanic: the function of a Check or a Reapply panicked.
	ErrPanic = errors.New("the edit's function panicked")
	// ErrKind: the edit was not made by a function of this package.
	ErrKind = errors.New("there is no such type of edit")
)
