//go:build !race

package program

// Race reports that the tests, and so the program, have the race detector.
const Race = false
