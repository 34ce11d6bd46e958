//go:build !testhooks

package main

// tags are the build tags of the program that the tests start.
const tags = ""
