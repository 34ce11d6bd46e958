package oracle

import (
	"os"
	"slices"
	"time"
)

// Share is the part of a test's forms that make test runs today: the first ones, as many as always says, and one of
// parts of the others, another part each day. With VARVE_ALL_FORMS=1 (make forms) it is all of them.
func Share[T any](always, parts int, forms []T) []T {
	if os.Getenv("VARVE_ALL_FORMS") == "1" {
		return forms
	}
	return shareOf(time.Now().YearDay(), always, parts, forms)
}

func shareOf[T any](day, always, parts int, forms []T) []T {
	out := slices.Clone(forms[:always])
	for i, f := range forms[always:] {
		if (i+day)%parts == 0 {
			out = append(out, f)
		}
	}
	return out
}
