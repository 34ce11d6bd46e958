// Package failpoint names the moments inside operations at which a test can end the process, in a test build (-tags
// testhooks). In a normal build At is empty, and the compiler removes it.
package failpoint
