package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// TestGuard_Pieces: a character that comes in pieces is one.
func TestGuard_Pieces(t *testing.T) {
	var b bytes.Buffer
	g := NewGuard(&b)
	for _, c := range []byte("grün €\u009b\x1b \x9b\x9b\U0001f600 é") {
		if n, err := g.Write([]byte{c}); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	_, _ = g.Write([]byte("\xe2\x82"))
	_ = g.Flush()
	if want := "grün €\\u009b\\x1b \\x9b\\x9b\U0001f600 é\\xe2\\x82"; b.String() != want {
		t.Errorf("%q, expected %q", b.String(), want)
	}
}

type full struct{}

var errFull = errors.New("no room")

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestGuard_Error: the error of the writer below is the Guard's, and is remembered.
func TestGuard_Error(t *testing.T) {
	g := NewGuard(full{})
	if n, err := g.Write([]byte("x")); n != 0 || !errors.Is(err, errFull) {
		t.Errorf("%d, %v", n, err)
	}
	if err := g.Flush(); !errors.Is(err, errFull) {
		t.Errorf("Flush forgets the error: %v", err)
	}
	if err := WriteJSON(NewGuard(full{}), 1); !errors.Is(err, errFull) {
		t.Errorf("JSON: %v", err)
	}
}

// TestRaw goes past a Guard, and leaves other writers alone.
func TestRaw(t *testing.T) {
	var b bytes.Buffer
	_, _ = Raw(NewGuard(&b)).Write([]byte("\x1b"))
	_, _ = Raw(&b).Write([]byte("\x07"))
	if b.String() != "\x1b\x07" {
		t.Errorf("%q", b.String())
	}
}

// TestQuote puts names in quotes where a terminal, or a reader, could misread them.
func TestQuote(t *testing.T) {
	for name, want := range map[string]string{
		"plain": "plain", "with blank": "with blank", "grün": "grün", "": "",
		"line\nend": `"line\nend"`, `qu"ote`: `"qu\"ote"`, `back\slash`: `"back\\slash"`, "\x1b[31m": `"\x1b[31m"`,
		"\u202egnp": `"\u202egnp"`,
	} {
		if got := Quote(name); got != want {
			t.Errorf("%q: %s, expected %s", name, got, want)
		}
	}
}

// TestWriteJSON writes characters that a terminal could obey as escapes, from which a reader gets them back.
func TestWriteJSON(t *testing.T) {
	if got := string(EscapeJSON([]byte(
		"\"\u009b\x7f\u202e\U000e0041 é\"\n"))); got != "\"\\u009b\\u007f\\u202e\\udb40\\udc41 é\"\n" {
		t.Errorf("%q", got)
	}
	want := map[string]string{"name": "<a&b> \u009b\x7f\u202e\U000e0041\x1b é"}
	var b bytes.Buffer
	if err := WriteJSON(NewGuard(&b), want); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.String() {
		if r == '\u009b' || r == '\x7f' || r == '\u202e' || r == '\U000e0041' || r == '\x1b' {
			t.Errorf("%q has %q", b.String(), r)
		}
	}
	var got map[string]string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["name"] != want["name"] {
		t.Errorf("%q, %v", got, err)
	}
	if err := WriteJSON(&b, func() {}); err == nil {
		t.Error("a function has JSON")
	}
}

// TestList writes a document that any reader of JSON takes, with no element, one, and many.
func TestList(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		var b bytes.Buffer
		l, err := BeginList(NewGuard(&b), "rows", Field{"path", "a\u202e"}, Field{"size", 7})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := l.Add(map[string]any{"n": i, "text": "\u009b"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.End(); err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Version int `json:"schema_version"`
			Path    string
			Size    int
			Rows    []struct{ N int }
		}
		err = json.Unmarshal(b.Bytes(), &doc)
		if err != nil || doc.Version != SchemaVersion || doc.Path != "a\u202e" || doc.Size != 7 || len(doc.Rows) != n {
			t.Errorf("%d elements: %v, %+v\n%s", n, err, doc, b.String())
		}
		if bytes.ContainsAny(b.Bytes(), "\u202e\u009b") {
			t.Errorf("%q", b.String())
		}
	}
	if _, err := BeginList(&bytes.Buffer{}, "rows", Field{"bad", func() {}}); err == nil {
		t.Error("a function has JSON")
	}
}

// TestList_Error: a full device is reported by the end at the latest.
func TestList_Error(t *testing.T) {
	l, err := BeginList(full{}, "rows")
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		if err := l.Add(1); err != nil {
			break
		}
	}
	if err := l.End(); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}
