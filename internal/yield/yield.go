// Package yield names the points at which a test's scheduler may let another goroutine run first, in a test build
// (-tags testhooks). In a normal build At is empty, and the compiler removes it.
package yield
