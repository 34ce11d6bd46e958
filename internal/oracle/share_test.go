package oracle

import (
	"slices"
	"testing"
)

// TestShare: in as many days as there are parts each form has its turn once, and the first ones have theirs every day.
func TestShare(t *testing.T) {
	forms := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	turns := map[string]int{}
	for day := range 3 {
		share := shareOf(day+100, 1, 3, forms)
		if share[0] != "a" || len(share) > 4 {
			t.Errorf("day %d has %v", day, share)
		}
		for _, f := range share {
			turns[f]++
		}
	}
	for _, f := range forms {
		if want := map[bool]int{true: 3, false: 1}[f == "a"]; turns[f] != want {
			t.Errorf("%s had %d turns in three days, expected %d", f, turns[f], want)
		}
	}
	t.Setenv("VARVE_ALL_FORMS", "1")
	if all := Share(1, 3, forms); !slices.Equal(all, forms) {
		t.Errorf("with VARVE_ALL_FORMS=1: %v", all)
	}
}
