//go:build testhooks

package failpoint

import (
	"slices"
	"testing"
)

// TestAt: each stage is reported with its operation, by the goroutine that reaches it.
func TestAt(t *testing.T) {
	defer hook.Store(nil)
	At("rename", "before") // nothing is installed
	var got []string
	Set(func(operation, stage string) { got = append(got, operation+" "+stage) })
	At("rename", "source")
	At("rename", "commit")
	if !slices.Equal(got, []string{"rename source", "rename commit"}) {
		t.Errorf("%q", got)
	}
}
