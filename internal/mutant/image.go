package mutant

// Promises about other users of an image.
const (
	// ImageShared: a mount that reads is not refused where another one writes, and keeps no other one from it.
	ImageShared Promise = "image-shared"
	// LoopMounted: an image that the kernel has mounted through a loop device is taken.
	LoopMounted Promise = "loop-mounted"
)
