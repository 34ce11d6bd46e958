package mutant

// Promises of features of a file system that only some files have.
const (
	// Verity: the contents of files under verity are not verified.
	Verity Promise = "verity"
	// ValueCount: two transactions that each leave the other's reference to an attribute's value both stand.
	ValueCount Promise = "value-count"
	// ValueShared: an inode is shared for the value of an attribute that it held, though it may hold another one at the
	// commit.
	ValueShared Promise = "value-shared"
	// ResizeAtomic: the superblock says the new size before the descriptors of the new groups are there.
	ResizeAtomic Promise = "resize-atomic"
	// ResizeZeros: inode tables of new groups keep what the device had there.
	ResizeZeros Promise = "resize-zeros"
)
