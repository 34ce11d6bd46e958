package output

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"unicode/utf8"
)

// SchemaVersion counts incompatible changes of the JSON that varve prints (docs/cli.md, "Output").
const SchemaVersion = 1

// WriteJSON prints one JSON document.
func WriteJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := Raw(w).Write(EscapeJSON(b.Bytes()))
	return err
}

// EscapeJSON escapes the characters of a JSON document that a terminal could obey. Such characters stand in strings
// only, and JSON has no bytes that are not UTF-8.
func EscapeJSON(p []byte) []byte {
	plain := true
	for _, c := range p {
		plain = plain && c < 0x7f
	}
	if plain {
		return p
	}
	var out []byte
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		switch {
		case r < ' ' || strconv.IsPrint(r):
			out = append(out, p[:n]...)
		case r > 0xffff:
			out = append(out, jsonUnit(0xd800+(r-0x10000)>>10)...)
			out = append(out, jsonUnit(0xdc00+(r-0x10000)&0x3ff)...)
		default:
			out = append(out, jsonUnit(r)...)
		}
		p = p[n:]
	}
	return out
}

// jsonUnit is one UTF-16 unit as an escape.
func jsonUnit(r rune) string {
	s := strconv.FormatInt(int64(r), 16)
	return `\u` + "0000"[len(s):] + s
}
