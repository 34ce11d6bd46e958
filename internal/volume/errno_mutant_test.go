//go:build testhooks

package volume_test

import (
	"strings"
	"testing"

	"github.com/varvefs/varve/blockcache"
	"github.com/varvefs/varve/internal/mutant"
)

// TestJournalErrno_Mutant: a journal that does not record an error fails the same steps.
func TestJournalErrno_Mutant(t *testing.T) {
	mutant.Switch(mutant.JournalErrno)
	defer mutant.Switch(mutant.None)
	if then, next := abort(t, blockcache.FlushError); strings.Contains(then+next, "err") {
		t.Errorf("%q, and after the next mount %q", then, next)
	}
}
