// Package dump shows what is stored in a file system, structure by structure, in records of named fields.
//
// The names are those of the kernel's documentation (Documentation/filesystems/ext4). A record has the bytes as they
// are, and beside them what the decoders of package ondisk find wrong: a damaged structure is shown as far as its
// bytes can be read. Only what cannot be found at all is an error.
package dump

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/varvefs/varve/internal/block"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/ondisk"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// Record is one structure, or one entry of one.
type Record struct {
	Kind     string  `json:"kind"`            // such as "superblock", "inode", "extent"
	Which    string  `json:"which,omitempty"` // which one, in words
	Block    *uint64 `json:"block,omitempty"` // where it lies; an entry lies in the structure before it
	Offset   int     `json:"offset_bytes"`    // within the block
	Fields   []Field `json:"fields"`
	Problem  string  `json:"problem,omitempty"`
	Hex      string  `json:"hex,omitempty"`
	Contents []byte  `json:"-"`

	line bool // an entry: one line of text
	err  error
}

// Field is a field of a record: a number, or text where it is no number; Note is what a number means.
type Field struct {
	Name   string `json:"name"`
	Offset *int   `json:"offset_bytes,omitempty"` // within the structure, of a field that is stored as it is shown
	Size   int    `json:"size_bytes,omitempty"`
	Number *int64 `json:"number,omitempty"`
	Text   string `json:"text,omitempty"`
	Note   string `json:"note,omitempty"`
	form   ondisk.Form
}

// Sink takes records one by one, so that memory does not grow with a structure. Its error ends the dump.
type Sink func(*Record) error

// at says where a record lies.
func (r *Record) at(n block.Number, offset int, p []byte) *Record {
	b := uint64(n)
	r.Block, r.Offset, r.Contents = &b, offset, p
	return r
}

// wrong notes what a decoder found.
func (r *Record) wrong(err error) *Record {
	switch {
	case err == nil:
		return r
	case r.err != nil:
		err = fmt.Errorf("%w; %w", r.err, err)
	}
	r.err, r.Problem = err, err.Error()
	return r
}

// Err is the problem as an error.
func (r *Record) Err() error { return r.err }

// number adds a decoded number.
func (r *Record) number(name string, v uint64) *Record {
	n := int64(v)
	r.Fields = append(r.Fields, Field{Name: name, Number: &n})
	return r
}

// text adds decoded text.
func (r *Record) text(name, v string) *Record {
	r.Fields = append(r.Fields, Field{Name: name, Text: v})
	return r
}

// note says what the number of the last field means.
func (r *Record) note(s string) *Record {
	r.Fields[len(r.Fields)-1].Note = s
	return r
}

// stored adds the fields of a layout, as far as p has them. notes explains some by name.
func (r *Record) stored(l ondisk.Layout, p []byte, notes map[string]string) *Record {
	for _, f := range l.Within(len(p)).Fields {
		off := f.Off
		out := Field{Name: f.Name, Offset: &off, Size: f.Size, Note: notes[f.Name], form: f.Form}
		q := p[f.Off : f.Off+f.Size]
		switch f.Form {
		case ondisk.Text:
			s, _, _ := strings.Cut(string(q), "\x00")
			out.Text = s
		case ondisk.ID:
			out.Text = disk.FormatUUID([16]byte(q))
		case ondisk.Bytes:
			out.Text = hexOf(q)
		default:
			v := int64(l.Uint(f, p))
			out.Number = &v
			if f.Form == ondisk.Time && v != 0 && out.Note == "" {
				out.Note = time.Unix(int64(int32(v)), 0).UTC().Format(time.RFC3339)
			}
		}
		r.Fields = append(r.Fields, out)
	}
	return r
}

// hexOf is bytes in hexadecimal digits; zeros alone are one word.
func hexOf(p []byte) string {
	if len(bytes.Trim(p, "\x00")) == 0 {
		return fmt.Sprintf("%d zero bytes", len(p))
	}
	return hex.EncodeToString(p)
}

// value is a field's value as text.
func (f *Field) value() string {
	if f.Number == nil {
		return output.Quote(f.Text)
	}
	switch f.form {
	case ondisk.Hex:
		return fmt.Sprintf("0x%0*x", 2*f.Size, uint64(*f.Number))
	case ondisk.Octal:
		return fmt.Sprintf("0%o", uint64(*f.Number))
	}
	return strconv.FormatInt(*f.Number, 10)
}

// Print writes a record as text, with its bytes where hex is set.
func (r *Record) Print(w io.Writer, withHex bool) error {
	if r.line {
		r.printLine(w)
	} else if err := r.printTable(w); err != nil {
		return err
	}
	if r.Problem != "" {
		fmt.Fprintf(w, "  problem: %s\n", r.Problem)
	}
	if withHex && len(r.Contents) > 0 {
		fmt.Fprint(w, hex.Dump(r.Contents))
	}
	return nil
}

func (r *Record) printLine(w io.Writer) {
	fmt.Fprintf(w, "  %s", r.Kind)
	for i := range r.Fields {
		f := &r.Fields[i]
		fmt.Fprintf(w, "  %s %s", f.Name, f.value())
		if f.Note != "" {
			fmt.Fprintf(w, " (%s)", f.Note)
		}
	}
	fmt.Fprintln(w)
}

func (r *Record) printTable(w io.Writer) error {
	fmt.Fprint(w, r.Kind)
	if r.Which != "" {
		fmt.Fprintf(w, " %s", r.Which)
	}
	if r.Block != nil {
		fmt.Fprintf(w, " (block %d, byte %d)", *r.Block, r.Offset)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range r.Fields {
		f := &r.Fields[i]
		place := ""
		if f.Offset != nil {
			place = fmt.Sprintf("0x%03x", *f.Offset)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s", place, f.Name, f.value())
		if f.Note != "" {
			fmt.Fprintf(t, "\t%s", f.Note)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// AddHex gives JSON the record's bytes, too.
func (r *Record) AddHex() { r.Hex = hex.EncodeToString(r.Contents) }
