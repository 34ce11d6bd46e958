package ondisk

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Form says how the bytes of a stored field read.
type Form byte

// The forms.
const (
	Number Form = iota // an unsigned integer in the layout's byte order
	Hex                // the same, of bits rather than a count
	Octal              // the same, a mode
	Time               // seconds since 1970
	Text               // characters up to a zero byte
	ID                 // a UUID
	Bytes              // anything else
)

// Field is a stored field by the name that the kernel's documentation has for it, and its place in its structure.
type Field struct {
	Name      string
	Off, Size int // bytes
	Form      Form
}

// Layout is the fields of a structure in the order in which they are stored. The decoders do not use it: they check
// and join what they read. A layout is for showing what is stored, whatever that is.
type Layout struct {
	Order  binary.ByteOrder
	Fields []Field
}

// NewLayout makes a layout from fields that follow one another without gaps, each "name size" or "name size form".
// The forms are x (Hex), o (Octal), t (Time), s (Text), u (ID) and b (Bytes).
func NewLayout(order binary.ByteOrder, fields string) Layout {
	forms := map[string]Form{"x": Hex, "o": Octal, "t": Time, "s": Text, "u": ID, "b": Bytes}
	l, at := Layout{Order: order}, 0
	for line := range strings.SplitSeq(fields, ",") {
		w := strings.Fields(line)
		f := Field{Off: at}
		var err error
		switch len(w) {
		case 3:
			form, ok := forms[w[2]]
			if !ok {
				panic(fmt.Sprintf("layout: no form %q", w[2]))
			}
			f.Form = form
			fallthrough
		case 2:
			f.Name = w[0]
			f.Size, err = strconv.Atoi(w[1])
		default:
			panic(fmt.Sprintf("layout: %q", line))
		}
		if err != nil {
			panic(fmt.Sprintf("layout: %q: %v", line, err))
		}
		l.Fields = append(l.Fields, f)
		at += f.Size
	}
	return l
}

// Size is the length of the structure in bytes.
func (l Layout) Size() int {
	last := l.Fields[len(l.Fields)-1]
	return last.Off + last.Size
}

// Within returns the fields that lie in the first n bytes.
func (l Layout) Within(n int) Layout {
	for i, f := range l.Fields {
		if f.Off+f.Size > n {
			return Layout{l.Order, l.Fields[:i]}
		}
	}
	return l
}

// Uint reads a field of 1, 2, 4 or 8 bytes from the structure's bytes.
func (l Layout) Uint(f Field, p []byte) uint64 {
	switch q := p[f.Off : f.Off+f.Size]; f.Size {
	case 1:
		return uint64(q[0])
	case 2:
		return uint64(l.Order.Uint16(q))
	case 4:
		return uint64(l.Order.Uint32(q))
	default:
		return l.Order.Uint64(q)
	}
}
