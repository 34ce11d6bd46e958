package mutant

// Promises of a file system that is open for writing.
const (
	// DamageMarks: damage leaves no mark in the superblock.
	DamageMarks Promise = "damage-marks"
	// FirstUse: features are not turned on at their first use.
	FirstUse Promise = "first-use"
	// LabelCopies: a label is set in the first superblock only.
	LabelCopies Promise = "label-copies"
	// HtreeLevels: hash trees get a third level without large_dir.
	HtreeLevels Promise = "htree-levels"
	// SyncFlags: chattr +S and +D, and the options sync and dirsync, do nothing.
	SyncFlags Promise = "sync-flags"
	// OrphanList: an orphan for which the orphan file has no slot is not noted.
	OrphanList Promise = "orphan-list"
	// BitmapSum: bitmaps are believed with wrong checksums.
	BitmapSum Promise = "bitmap-sum"
	// UnusedSlots: slots of inodes that a lazily made table never had, and that the used ones leave out, are not zeroed.
	UnusedSlots Promise = "unused-slots"
	// GroupChecks: descriptors of groups are believed with wrong checksums, and with tables at any place.
	GroupChecks Promise = "group-checks"
	// XattrBlock: a block that an inode names is taken for one of attributes.
	XattrBlock Promise = "xattr-block"
	// OwnBlocks: a damaged file writes over the file system's own blocks, and frees them.
	OwnBlocks Promise = "own-blocks"
)
