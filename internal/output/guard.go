// Package output is the form of all that varve prints: text that a terminal cannot misread, and JSON documents that
// have a version.
package output

import (
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"
)

// Guard is the writer for text that people read: names, messages, tables. An image and a daemon may supply characters
// that a terminal obeys. A Guard writes each character that is not printable, other than blank, tab and end of line, as
// an escape of Go's. Contents of files and archives go past it (Raw), and JSON has escapes of its own (WriteJSON).
type Guard struct {
	w       io.Writer
	pending []byte // the beginning of a character whose rest comes with the next write
	err     error  // of the first write that failed: most commands print without a look at each line's error
}

// NewGuard guards w.
func NewGuard(w io.Writer) *Guard { return &Guard{w: w} }

// Write follows io.Writer.
func (g *Guard) Write(p []byte) (int, error) {
	b := append(g.pending, p...)
	whole := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole -= i
			}
			break
		}
	}
	g.pending = bytes.Clone(b[whole:])
	if err := g.pass(b[:whole]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// pass writes to the writer below, and remembers the first failure.
func (g *Guard) pass(p []byte) error {
	_, err := g.w.Write(printable(p))
	if g.err == nil {
		g.err = err
	}
	return err
}

// Flush writes the beginning of a character whose rest never came. It returns the first error of any write.
func (g *Guard) Flush() error {
	if len(g.pending) > 0 {
		_ = g.pass(g.pending)
		g.pending = nil
	}
	return g.err
}

// Raw is the writer below a Guard, for contents that are written as they are. Any other writer is returned itself.
func Raw(w io.Writer) io.Writer {
	if g, ok := w.(*Guard); ok {
		return g.w
	}
	return w
}

// Quote puts a name that a terminal could misread in quotes.
func Quote(name string) string {
	if q := strconv.Quote(name); len(q) != len(name)+2 {
		return q
	}
	return name
}

// printable escapes the characters that a terminal could obey.
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
