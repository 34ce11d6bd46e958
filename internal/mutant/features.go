package mutant

// Promises of features of a file system that only some files have.
const (
	// Verity: the contents of files under verity are not verified.
	Verity Promise = "verity"
)
