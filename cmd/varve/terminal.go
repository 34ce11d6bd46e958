package main

import (
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// human is where everything goes that is meant to be read: names, messages, tables. What an image or a daemon says may have characters that a terminal obeys, so
// each that is not printable, other than blank, tab and end of line, is written as an escape of Go's. Contents of files and archives go past it, see data; JSON has
// escapes of its own.
type human struct {
	w       io.Writer
	pending []byte // the beginning of a character whose rest comes with the next write
	err     error  // of the first write that failed: most commands print without a look at each line's error
}

// Write follows io.Writer.
func (h *human) Write(p []byte) (int, error) {
	b := append(h.pending, p...)
	whole := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole -= i
			}
			break
		}
	}
	h.pending = bytes.Clone(b[whole:])
	if err := h.pass(b[:whole]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// pass writes to what lies below, and remembers the first failure.
func (h *human) pass(p []byte) error {
	_, err := h.w.Write(printable(p))
	if h.err == nil {
		h.err = err
	}
	return err
}

// flush writes what will never be whole. It returns the first error of any write.
func (h *human) flush() error {
	if len(h.pending) > 0 {
		_ = h.pass(h.pending)
		h.pending = nil
	}
	return h.err
}

// printable escapes what a terminal could obey.
func printable(p []byte) []byte {
	plain := true
	for _, c := range p {
		plain = plain && (c >= ' ' && c < 0x7f || c == '\n' || c == '\t')
	}
	if plain {
		return p
	}
	var out []byte
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		switch {
		case r == '\n' || r == '\t' || strconv.IsPrint(r) && (r != utf8.RuneError || n > 1):
			out = append(out, p[:n]...)
		default:
			q := strconv.Quote(string(p[:n]))
			out = append(out, q[1:len(q)-1]...)
		}
		p = p[n:]
	}
	return out
}

// data is where a command writes contents as they are.
func data(cmd *cobra.Command) io.Writer { return unguarded(cmd.OutOrStdout()) }

// unguarded is what lies below a human.
func unguarded(w io.Writer) io.Writer {
	if h, ok := w.(*human); ok {
		return h.w
	}
	return w
}

// escapeJSON escapes what JSON may have as it is, and a terminal could obey: such characters are in strings only. Bytes that are no UTF-8 do not occur in JSON.
func escapeJSON(p []byte) []byte {
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

func jsonUnit(r rune) string {
	s := strconv.FormatInt(int64(r), 16)
	return `\u` + "0000"[len(s):] + s
}
