package output

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// List writes one JSON document whose last field is an array of any length, element by element: memory does not grow
// with the array.
type List struct {
	out   *bufio.Writer
	count int
}

// Field is a field of a document.
type Field struct {
	Name  string
	Value any
}

// BeginList writes a document up to the array: schema_version, the fields, and the array's name.
func BeginList(w io.Writer, array string, fields ...Field) (*List, error) {
	l := &List{out: bufio.NewWriter(Raw(w))}
	fmt.Fprint(l.out, "{\n")
	for _, f := range append([]Field{{"schema_version", SchemaVersion}}, fields...) {
		p, err := json.Marshal(f.Value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(l.out, "  %q: %s,\n", f.Name, EscapeJSON(p))
	}
	_, err := fmt.Fprintf(l.out, "  %q: [", array)
	return l, err
}

// BeginListIn is BeginList with the fields of a document: of a struct or a map that has some.
func BeginListIn(w io.Writer, array string, doc any) (*List, error) {
	p, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, err
	}
	p, ok := bytes.CutSuffix(p, []byte("\n}"))
	if !ok {
		return nil, fmt.Errorf("%T is no document with fields", doc)
	}
	l := &List{out: bufio.NewWriter(Raw(w))}
	_, _ = l.out.Write(EscapeJSON(p)) // a writer with an error keeps it
	_, err = fmt.Fprintf(l.out, ",\n  %q: [", array)
	return l, err
}

// Add writes an element.
func (l *List) Add(v any) error {
	p, err := json.MarshalIndent(v, "    ", "  ")
	if err != nil {
		return err
	}
	comma := ","
	if l.count++; l.count == 1 {
		comma = ""
	}
	_, err = fmt.Fprintf(l.out, "%s\n    %s", comma, EscapeJSON(p))
	return err
}

// End ends the array and the document.
func (l *List) End() error {
	if l.count > 0 {
		fmt.Fprint(l.out, "\n  ")
	}
	fmt.Fprint(l.out, "]\n}\n")
	return l.out.Flush()
}
