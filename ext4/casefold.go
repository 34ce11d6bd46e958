package ext4

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// fold is the form in which a case-folded directory compares and hashes names: canonical decomposition, full case
// folding, and without the code points that are ignorable by default (the kernel's "NFDICF", fs/unicode). A name that
// is not UTF-8 stands for itself, and nil is returned.
func fold(name []byte) []byte {
	if !utf8.Valid(name) {
		return nil
	}
	s := cases.Fold().Bytes(norm.NFD.Bytes(name))
	out := make([]byte, 0, len(s))
	for _, r := range string(s) {
		if !ignorable(r) {
			out = utf8.AppendRune(out, r)
		}
	}
	return norm.NFD.Bytes(out)
}

// ignorable is Default_Ignorable_Code_Point as Unicode's DerivedCoreProperties.txt derives it.
func ignorable(r rune) bool {
	if r < 0xad {
		return false
	}
	if unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Variation_Selector, r) {
		return true
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) &&
		(r < 0xfff9 || r > 0xfffb) && (r < 0x13430 || r > 0x1345f)
}
