package top

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// counting is a source that gives n samples of a load, and then an error.
func counting(n int, end error) Source {
	i := 0
	return Source{"/mnt", func(context.Context) (*Sample, error) {
		if i++; i > n {
			return nil, end
		}
		return load(i), nil
	}}
}

// TestPrint prints a line of rates for each sample after the first, a header above each twenty, and ends by count.
func TestPrint(t *testing.T) {
	var out, errOut bytes.Buffer
	if err := Print(t.Context(), counting(100, nil), &out, &errOut, time.Microsecond, 21); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 23 || lines[0] != plainHeader || lines[21] != plainHeader || errOut.Len() > 0 {
		t.Fatalf("%d lines:\n%s%s", len(lines), &out, &errOut)
	}
	if want := "    408      76     32     24    8.0     12     32      0      -   54 slowing"; lines[1] != want {
		t.Errorf("the first line is\n%s\nexpected\n%s", lines[1], want)
	}
	for _, l := range lines {
		if len(l) > 80 {
			t.Errorf("a line of %d characters: %s", len(l), l)
		}
	}
}

// TestPrint_Ends: the end of a source is a message, another error an error, and a context ends, too.
func TestPrint_Ends(t *testing.T) {
	var out, errOut bytes.Buffer
	ended := fmt.Errorf("the mount on /mnt %w", ErrEnded)
	if err := Print(t.Context(), counting(3, ended), &out, &errOut, time.Microsecond, 0); err != nil ||
		errOut.String() != "varve: the mount on /mnt has ended\n" || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("%v, %q, %q", err, &out, &errOut)
	}
	failed := errors.New("its daemon does not answer")
	if err := Print(t.Context(), counting(2, failed), &out, &errOut, time.Microsecond, 0); !errors.Is(err, failed) {
		t.Errorf("a failure: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Print(ctx, counting(9, failed), &out, &errOut, time.Hour, 0); err != nil {
		t.Errorf("ended by its user: %v", err)
	}
	if err := Print(ctx, counting(9, failed), &out, &errOut, time.Hour, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before its count of lines: %v", err)
	}
}

// TestPrint_Notes: another version is said once, and a store that was replaced has no rates for a line.
func TestPrint_Notes(t *testing.T) {
	samples := []*Sample{load(5), load(6), load(1), load(2)}
	src := Source{"/mnt", func(context.Context) (*Sample, error) {
		s := *samples[0]
		s.Time = began.Add(time.Duration(10-len(samples)) * time.Second)
		s.Note = "another version"
		if samples = samples[1:]; len(samples) == 0 {
			return nil, ErrEnded
		}
		return &s, nil
	}}
	var out, errOut bytes.Buffer
	if err := Print(t.Context(), src, &out, &errOut, time.Microsecond, 0); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(errOut.String(), "another version"); n != 1 {
		t.Errorf("said %d times: %s", n, &errOut)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || strings.Fields(lines[1])[1] == "-" ||
		strings.Join(strings.Fields(lines[2])[:6], " ") != "- - - - - -" {
		t.Errorf("lines:\n%s", &out)
	}
}
