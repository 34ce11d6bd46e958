package ext4

import (
	"bytes"
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
	out := make([]byte, 0, len(name))
	for len(name) > 0 {
		end := bytes.IndexFunc(name, newer)
		if end < 0 {
			return foldOld(out, name)
		}
		_, size := utf8.DecodeRune(name[end:])
		out = append(foldOld(out, name[:end]), name[end:end+size]...)
		name = name[end+size:]
	}
	return out
}

// foldOld appends the folded form of a name without characters that are newer than the kernel's tables.
func foldOld(out, name []byte) []byte {
	s := cases.Fold().Bytes(norm.NFD.Bytes(name))
	kept := s[:0:0]
	for _, r := range string(s) {
		if !ignorable(r) {
			kept = utf8.AppendRune(kept, r)
		}
	}
	return append(out, norm.NFD.Bytes(kept)...)
}

// newer reports whether a character came after Unicode 12.1, the version of the kernel's tables, and is folded or
// decomposed, or combines, since: there it stands for itself.
func newer(r rune) bool { return r >= 0x898 && unicode.Is(newerThan12, r) }

// newerThan12 has those of Unicode 15, the version of golang.org/x/text.
var newerThan12 = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x898, 0x89f, 1}, {0x8ca, 0x8d2, 1}, {0xc3c, 0xc3c, 1}, {0x1715, 0x1715, 1}, {0x1abf, 0x1ace, 1},
		{0x1dfa, 0x1dfa, 1}, {0x2c2f, 0x2c2f, 1}, {0xa7c0, 0xa7c0, 1}, {0xa7c7, 0xa7c7, 1}, {0xa7c9, 0xa7c9, 1},
		{0xa7d0, 0xa7d0, 1}, {0xa7d6, 0xa7d6, 1}, {0xa7d8, 0xa7d8, 1}, {0xa7f5, 0xa7f5, 1}, {0xa82c, 0xa82c, 1},
	},
	R32: []unicode.Range32{
		{0x10570, 0x1057a, 1}, {0x1057c, 0x1058a, 1}, {0x1058c, 0x10592, 1}, {0x10594, 0x10595, 1},
		{0x10eab, 0x10eac, 1}, {0x10efd, 0x10eff, 1}, {0x10f82, 0x10f85, 1}, {0x11070, 0x11070, 1},
		{0x11938, 0x11938, 1}, {0x1193d, 0x1193e, 1}, {0x11943, 0x11943, 1}, {0x11f41, 0x11f42, 1},
		{0x16ff0, 0x16ff1, 1}, {0x1e08f, 0x1e08f, 1}, {0x1e2ae, 0x1e2ae, 1}, {0x1e4ec, 0x1e4ef, 1},
	},
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
