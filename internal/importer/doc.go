// Package importer copies trees into a file system that is open for writing: from a tar archive, or from a folder.
//
// An Importer takes one Entry after the other. Each operation on the file system is one of ext4.Writable's, so what is
// there after a crash is what it was after one of them. With Atomic a file appears with all of its contents and
// attributes at once. Directories get their attributes and times when all in them is there (Finish).
package importer
