// Package files loads a file system that is open for writing from outside: operations on a model tree, and crash states
// of what they wrote.
//
//	script or seed ─▶ operations ─▶ ext4.Writable over a recorded device ─▶ trace ─▶ crash states ─▶ recovery
//	                       └──────▶ Model: the tree after each operation ──── is compared with ─────────┘
//
// Nothing of the model comes from the file system. After each state varve, e2fsck and (for a sample) the kernel recover
// the image; all must come to one tree, and the model must allow it (W6).
package files
