//go:build !testhooks

package failpoint

// At does nothing in a normal build.
func At(operation, stage string) {}
